//! Billed money: a bill comes days after the hours that it is about and is restated for weeks, so that nothing waits for it and nothing
//! learns from it. Each change of it becomes a roll-up supplement, to be added to what the hour has; its days are held against the estimate.

use super::Shard;
use super::matters::missing::bill;
use super::rules::WatchRules;
use super::series::HourTotals;
use crate::model::effect::Effect;
use crate::model::partial::Partial;

pub(crate) fn roll_up(shard: &mut Shard, partial: &Partial, rules: &WatchRules, effects: &mut Vec<Effect>) {
    bill::add_billed(shard, partial, rules);
    shard.header.late_partials = shard.header.late_partials.saturating_add(1);
    let mut totals = HourTotals::default();
    totals.add(partial);
    let mut supplement = totals.roll_up(&partial.leaf, partial.minute.hour());
    supplement.revision = 0;
    let (shard, number) = (shard.header.shard, shard.header.late_partials);
    effects.push(Effect::RollupSupplement { shard, number, rollup: Box::new(supplement) });
}
