//! Poison floods: when most of what comes in cannot be read, the producer or the schema is broken, and going on would only move the topic.

/// Counts over samples of a fixed number of records, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    ratio: f64,
    sample: u32,
    seen: u32,
    rejected: u32,
    /// Of the sample before this one.
    before: f64,
}

impl Guard {
    pub fn new(ratio: f64, sample: u32) -> Guard {
        Guard { ratio, sample: sample.max(1), seen: 0, rejected: 0, before: 0.0 }
    }

    /// Share of the last records, as many as a sample has: of those that this one does not have yet the sample before speaks, and before
    /// the first one all was well.
    pub fn share(&self) -> f64 {
        let missing = f64::from(self.sample - self.seen);
        (f64::from(self.rejected) + self.before * missing) / f64::from(self.sample)
    }

    /// Takes one record in; answers what to say when a whole sample was worse than allowed.
    pub fn observe(&mut self, is_rejected: bool) -> Option<String> {
        self.seen += 1;
        self.rejected += u32::from(is_rejected);
        if self.seen < self.sample {
            return None;
        }
        let (seen, rejected) = (self.seen, self.rejected);
        (self.seen, self.rejected, self.before) = (0, 0, f64::from(rejected) / f64::from(seen));
        let flooded = f64::from(rejected) > self.ratio * f64::from(seen);
        flooded.then(|| {
            format!(
                "{rejected} of the last {seen} records could not be read, intake.dead_letter_ratio allows {}: intake stops before the whole \
                 topic lands in dead-letter. Look at the header tollgate.reason there; raise the ratio to go on regardless",
                self.ratio
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_judged_when_it_is_complete() {
        let mut guard = Guard::new(0.5, 4);
        let verdicts: Vec<bool> = [true, true, true, true, true, false, true, false, true, true, true, false]
            .iter()
            .map(|bad| guard.observe(*bad).is_some())
            .collect();
        assert_eq!(verdicts, [false, false, false, true, false, false, false, false, false, false, false, true]);
        let mut guard = Guard::new(1.0, 4);
        let shares = [true, false, false, true, false, false].map(|bad| {
            guard.observe(bad);
            guard.share()
        });
        assert_eq!(shares, [0.25, 0.25, 0.25, 0.5, 0.375, 0.25], "it falls as good records come");
        let mut never = Guard::new(1.0, 1);
        assert!((0..100).all(|_| never.observe(true).is_none()));
    }
}
