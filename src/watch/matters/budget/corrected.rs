//! What was told of a budget and does not hold any more: its amount was raised, money came back, a bill was corrected.

use super::super::matter::{self, Matter};
use super::super::rules::{BudgetRule, Period};
use super::words::{self, Reason};
use super::{Budget, FALLEN, amount_at};
use crate::model::effect::Effect;
use crate::watch::Moment;
use crate::watch::series::to_units;

impl Budget {
    /// What a larger amount has not reached may be told again. If it has reached nothing, the alert ends with the hour, unless the forecast or
    /// the pace is still too high.
    pub(super) fn raise(
        &mut self,
        rule: &BudgetRule,
        today: i64,
        zone: &jiff::tz::TimeZone,
        moment: Moment<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let fewer = self.untell(rule, today, 1.0);
        (self.told_forecast, self.told_pace) = (false, false);
        if fewer {
            self.amend(rule, today, Reason::Raised, zone, moment, effects);
        }
    }

    /// Nothing that was told holds any more.
    pub(super) fn end_if_below(
        &mut self,
        rule: &BudgetRule,
        today: i64,
        zone: &jiff::tz::TimeZone,
        moment: Moment<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if self.told.is_empty() && !self.told_forecast && !self.told_pace {
            let span = self.judged(rule, today);
            self.end(rule, span, words::below(rule, self.spent(span), span), zone, moment, effects);
        }
    }

    /// Thresholds that the spend has fallen below: as days roll on, or as a month is corrected, which is said.
    pub(super) fn take_back(
        &mut self,
        rule: &BudgetRule,
        today: i64,
        zone: &jiff::tz::TimeZone,
        moment: Moment<'_>,
        effects: &mut Vec<Effect>,
    ) {
        // Where nothing is open, what earlier versions have told stays told.
        if rule.period == Period::Month && !self.matter.as_ref().is_some_and(Matter::is_open) {
            return;
        }
        let fewer = self.untell(rule, today, FALLEN);
        if let Period::Rolling(_) = rule.period {
            // Only a month has a forecast.
            self.told_forecast = false;
        } else if fewer {
            self.amend(rule, today, Reason::Fallen, zone, moment, effects);
        }
    }

    /// Lets go of thresholds of which less than this part is spent. Whether some are left, and fewer than before.
    fn untell(&mut self, rule: &BudgetRule, today: i64, part: f64) -> bool {
        let spent = to_units(self.spent(self.judged(rule, today)));
        let before = self.told.len();
        self.told.retain(|told| spent >= part * amount_at(rule, *told));
        !self.told.is_empty() && self.told.len() < before
    }

    fn amend(
        &mut self,
        rule: &BudgetRule,
        today: i64,
        reason: Reason,
        zone: &jiff::tz::TimeZone,
        moment: Moment<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let story = self.story(rule, self.judged(rule, today), Some(reason), None, zone);
        matter::amend(&mut self.matter, &rule.team, story, moment, effects);
    }
}
