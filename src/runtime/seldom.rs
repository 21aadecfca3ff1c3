//! What the log says once a minute however often it happens.

use std::time::Duration;

const SAID_EVERY: Duration = Duration::from_secs(60);

/// When it was said last, and how many have come since.
#[derive(Clone, Debug, Default)]
pub struct Seldom {
    said: Option<Duration>,
    unsaid: usize,
}

impl Seldom {
    /// Some have come; how many to speak of, if it is time to.
    pub fn say(&mut self, come: usize, uptime: Duration) -> Option<usize> {
        self.unsaid += come;
        let is_due = self.unsaid > 0 && self.said.is_none_or(|said| uptime.saturating_sub(said) >= SAID_EVERY);
        is_due.then(|| {
            self.said = Some(uptime);
            std::mem::take(&mut self.unsaid)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_the_others_together_a_minute_later() {
        let mut seldom = Seldom::default();
        let mut say = |come, second| seldom.say(come, Duration::from_secs(second));
        assert_eq!([say(0, 5), say(2, 6), say(1, 7), say(4, 65), say(1, 66), say(1, 67)], [None, Some(2), None, None, Some(6), None]);
    }
}
