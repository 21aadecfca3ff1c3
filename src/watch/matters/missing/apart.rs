//! Days of a bill that are wrong for one reason have one alert: it opens with the first of them, is told again as they add up, and is over
//! with the first later day that is right. A day that is corrected takes its part back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter, Story};
use super::super::unwanted::given_up;
use super::super::{MatterKey, Matters};
use super::bill::{Day, DayName, KEPT_DAYS, Tolerance, Verdict};
use super::bill_words::{self, end_of, expected, start_of, story};
use crate::model::Text;
use crate::model::alert::AlertState;
use crate::model::effect::Effect;
use crate::model::money::{Currency, Nanos};
use crate::model::time::{DAY_MS, Hour, Timestamp};
use crate::watch::Moment;
use crate::watch::series::to_units;

/// Where so many days bring nothing more, it is over: bills come once a month at least.
const LATEST_BILL_DAYS: i64 = 35;

/// Why a day is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Wrong {
    /// No usage was seen.
    Unseen,
    /// Usage was seen that counts no money.
    Uncounted,
    /// It is missing on the bill.
    Unbilled,
    TooMuch,
    TooLittle,
}

const ALL: [Wrong; 5] = [Wrong::Unseen, Wrong::Uncounted, Wrong::Unbilled, Wrong::TooMuch, Wrong::TooLittle];

impl Wrong {
    fn as_str(self) -> &'static str {
        match self {
            Wrong::Unseen => "unseen",
            Wrong::Uncounted => "uncounted",
            Wrong::Unbilled => "unbilled",
            Wrong::TooMuch => "too much",
            Wrong::TooLittle => "too little",
        }
    }

    fn verdict(self, cached_twice: bool) -> Verdict {
        match self {
            Wrong::Unseen => Verdict::Unseen,
            Wrong::Uncounted => Verdict::Uncounted,
            Wrong::Unbilled => Verdict::Unbilled,
            Wrong::TooMuch | Wrong::TooLittle => Verdict::Far { cached_twice },
        }
    }
}

/// Team, currency, provider (under its common name), and why.
pub type ApartName = (Text, Currency, Text, Wrong);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Apart {
    /// By days since 1970.
    pub days: BTreeMap<i64, ApartDay>,
    pub matter: Option<Matter>,
}

/// A wrong day, as it was last judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApartDay {
    pub billed: Nanos,
    pub estimated: Nanos,
    pub expected: Nanos,
    /// Of the estimate: input and output.
    pub tokens: u64,
    pub cached_twice: bool,
    pub billed_at: Timestamp,
    /// The alert that told of it has ended.
    pub is_over: bool,
}

impl ApartDay {
    fn of(day: &Day, verdict: Verdict, tolerance: Tolerance) -> ApartDay {
        ApartDay {
            billed: day.billed,
            estimated: day.estimated,
            expected: expected(day, tolerance),
            tokens: day.tokens[0].saturating_add(day.tokens[1]),
            cached_twice: verdict == Verdict::Far { cached_twice: true },
            billed_at: day.billed_at,
            is_over: false,
        }
    }

    fn apart(&self) -> f64 {
        to_units(self.billed.saturating_sub(self.expected)).abs()
    }
}

/// What an alert's days come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub billed: Nanos,
    pub estimated: Nanos,
    pub expected: Nanos,
    pub tokens: u64,
    pub billed_at: Timestamp,
    pub first: i64,
    pub last: i64,
    pub days: i64,
    /// All of them look like that.
    pub cached_twice: bool,
}

impl Sum {
    fn of_day(day: &Day, number: i64, tolerance: Tolerance) -> Sum {
        Sum::default().with(number, &ApartDay::of(day, Verdict::Agrees, tolerance))
    }

    fn with(self, number: i64, day: &ApartDay) -> Sum {
        let is_first = self.days == 0;
        Sum {
            billed: self.billed.saturating_add(day.billed),
            estimated: self.estimated.saturating_add(day.estimated),
            expected: self.expected.saturating_add(day.expected),
            tokens: self.tokens.saturating_add(day.tokens),
            billed_at: self.billed_at.max(day.billed_at),
            first: if is_first { number } else { self.first.min(number) },
            last: if is_first { number } else { self.last.max(number) },
            days: self.days + 1,
            cached_twice: (is_first || self.cached_twice) && day.cached_twice,
        }
    }

    pub fn excess(&self) -> Nanos {
        self.billed.saturating_sub(self.expected)
    }
}

/// What the days that are judged in one hour say of one alert.
#[derive(Default)]
pub(super) struct Look {
    /// A day is wrong that it has not told of.
    is_new: bool,
    /// Of those that it tells of, one has changed or is right.
    is_changed: bool,
    /// One that is right by now, and the last one that is not wrong for this reason.
    corrected: Option<Other>,
    later: Option<Other>,
    /// As last used.
    tolerance: Option<Tolerance>,
}

/// A day that is not wrong for the alert's reason.
#[derive(Clone, Copy)]
struct Other {
    sum: Sum,
    verdict: Verdict,
    tolerance: Tolerance,
}

pub(super) type Looks = BTreeMap<ApartName, Look>;

/// A day was judged.
pub(super) fn take_day(matters: &mut Matters, name: &DayName, judged: (Verdict, Tolerance), growth: f64, looks: &mut Looks) {
    let Some(day) = matters.days.get(name) else { return };
    let ((verdict, tolerance), number) = (judged, name.3);
    let sum = Sum::of_day(day, number, tolerance);
    let own = verdict.wrong(sum.excess() > Nanos::ZERO);
    for wrong in ALL {
        let about = (name.0.clone(), name.1, name.2.clone(), wrong);
        if own == Some(wrong) {
            let look = looks.entry(about.clone()).or_default();
            matters.apart.entry(about).or_default().add(number, ApartDay::of(day, verdict, tolerance), growth, look);
            look.tolerance = Some(tolerance);
        } else if let Some(apart) = matters.apart.get_mut(&about) {
            let look = looks.entry(about).or_default();
            let other = Other { sum, verdict, tolerance };
            if apart.days.remove(&number).is_some_and(|known| !known.is_over) {
                (look.is_changed, look.corrected) = (true, Some(other));
            }
            if verdict.ends(wrong) && look.later.is_none_or(|later| later.sum.last < number) {
                look.later = Some(other);
            }
            look.tolerance = look.tolerance.or(Some(tolerance));
        }
    }
}

/// Whether an alert tells of a day, or has told of it.
pub(super) fn has_told(matters: &Matters, name: &DayName) -> bool {
    ALL.into_iter().any(|wrong| {
        let about = (name.0.clone(), name.1, name.2.clone(), wrong);
        matters.apart.get(&about).is_some_and(|apart| apart.days.contains_key(&name.3))
    })
}

/// All that settled with an hour is judged: each alert says once what that comes to.
pub(super) fn tell(matters: &mut Matters, looks: Looks, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    for (name, look) in looks {
        if let Some(apart) = matters.apart.get_mut(&name) {
            apart.tell(&name, look, moment, effects);
        }
        matters.changed.insert(MatterKey::Apart(name));
    }
}

impl Apart {
    fn add(&mut self, number: i64, day: ApartDay, growth: f64, look: &mut Look) {
        let known = self.days.get(&number);
        // What was told and is over begins nothing anew when it is restated, unless there is more of it.
        let is_over = known.is_some_and(|known| known.is_over && day.apart() < growth * known.apart());
        if !is_over {
            look.is_new |= known.is_none_or(|known| known.is_over);
            look.is_changed |= known.is_some_and(|known| (known.billed, known.expected) != (day.billed, day.expected));
        }
        self.days.insert(number, ApartDay { is_over, ..day });
    }

    fn sum(&self) -> Option<Sum> {
        let mut days = self.days.iter().filter(|(_, day)| !day.is_over).peekable();
        days.peek()?;
        Some(days.fold(Sum::default(), |sum, (number, day)| sum.with(*number, day)))
    }

    fn is_open(&self) -> bool {
        self.matter.as_ref().is_some_and(Matter::is_open)
    }

    fn end_days(&mut self) {
        self.days.values_mut().for_each(|day| day.is_over = true);
    }

    fn tell(&mut self, name: &ApartName, look: Look, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        let team = &name.0;
        let Some(sum) = self.sum() else {
            let Some(Other { sum, verdict, tolerance }) = look.corrected else { return };
            let story = story(&sum, name, verdict, tolerance, moment);
            matter::end(&mut self.matter, team, AlertState::Resolved, end_of(sum.last), story, moment, effects);
            return;
        };
        let Some(tolerance) = look.tolerance else { return };
        let limits = moment.rules.thresholds(team, "", "");
        let story = story(&sum, name, name.3.verdict(sum.cached_twice), tolerance, moment);
        // A day that is right ends only what was told before: else nobody would hear of it.
        if let Some(later) = look.later.filter(|later| self.is_open() && !look.is_new && later.sum.last > sum.last) {
            let story = Story { summary: bill_words::over(&sum, name, &later.sum, later.verdict, later.tolerance), ..story };
            matter::end(&mut self.matter, team, AlertState::Resolved, start_of(later.sum.last), story, moment, effects);
            self.end_days();
            return;
        }
        let was_open = self.is_open();
        if !(look.is_new || look.is_changed && was_open) {
            return;
        }
        // With its beginning: one that comes after this was forgotten is another one.
        let about: [&[u8]; 6] = [
            b"apart",
            name.3.as_str().as_bytes(),
            name.1.as_str().as_bytes(),
            name.2.as_bytes(),
            &sum.first.to_be_bytes(),
            &moment.shard_time.0.to_be_bytes(),
        ];
        let told = matter::tell(&mut self.matter, team, &about, story.clone(), limits.update_growth, moment, effects);
        if was_open && !told && look.is_changed {
            matter::amend(&mut self.matter, team, story, moment, effects);
        }
    }
}

/// A day is over: alerts end that no bill says anything of any more, and what has ended long ago goes.
pub(super) fn end_day(matters: &mut Matters, hour: Hour, today: i64, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let Matters { apart: all, changed, .. } = matters;
    all.retain(|name, apart| {
        let before = apart.days.len();
        let why = apart.sum().filter(|_| apart.is_open()).and_then(|sum| why_over(&sum, name, hour, today));
        if let (Some(why), Some(matter)) = (&why, apart.matter.as_mut()) {
            let story = given_up(matter, why, hour.end(), moment);
            matter::end_of(matter, &name.0, AlertState::Resolved, hour.end(), story, moment, effects);
            apart.end_days();
        }
        let is_open = apart.is_open();
        apart.days.retain(|number, day| *number >= today - KEPT_DAYS || (is_open && !day.is_over));
        let stays = !apart.days.is_empty() || apart.matter.as_ref().is_some_and(|matter| !matter.is_done_with(moment.shard_time));
        if why.is_some() || !stays || apart.days.len() != before {
            changed.insert(MatterKey::Apart(name.clone()));
        }
        stays
    });
}

fn why_over(sum: &Sum, name: &ApartName, hour: Hour, today: i64) -> Option<String> {
    if sum.last < today - KEPT_DAYS {
        return Some(format!("no bill changes after {KEPT_DAYS} days, so that the alert of {} ends", bill_words::when(sum)));
    }
    // A day that is left out may come for as long as bills are restated.
    let is_quiet = today - sum.last >= LATEST_BILL_DAYS && hour.start().0 - sum.billed_at.0 >= LATEST_BILL_DAYS * DAY_MS;
    (is_quiet && name.3 != Wrong::Unbilled).then(|| {
        let (team, provider, last) = (&name.0, &name.2, bill_words::date(sum.last));
        format!(
            "nothing worth a word is billed to {team} by {provider} after {last}, for {LATEST_BILL_DAYS} days now, so that this alert ends"
        )
    })
}

/// Nobody wants to know of them any more: what comes after that is told from its beginning.
pub(in crate::watch::matters) fn end_all(matters: &mut Matters) {
    let Matters { apart: all, changed, .. } = matters;
    for (name, apart) in all.iter_mut().filter(|(_, apart)| apart.days.values().any(|day| !day.is_over)) {
        apart.end_days();
        changed.insert(MatterKey::Apart(name.clone()));
    }
}
