//! Where offsets are to go, and what must not be. Pure.

use crate::kafka::scan::Bounds;
use crate::model::counted::counted;
use crate::model::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Earliest,
    Latest,
    /// The first record stamped then or later.
    At(Timestamp),
    Offset(i64),
    /// Relative to where the group stands.
    ShiftBy(i64),
}

/// What there is to know of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub bounds: Bounds,
    pub committed: Option<i64>,
    /// Answer to `Target::At`; `None` = no record so young.
    pub at_time: Option<i64>,
    /// The name stands for another topic than the one that was read: offsets from before mean nothing.
    pub is_recreated: bool,
}

/// An offset that is in the log, or its end.
///
/// # Errors
/// Nothing to shift from.
pub fn target(target: Target, place: &Place) -> Result<i64, String> {
    let Bounds { low, stable, .. } = place.bounds;
    let wanted = match target {
        Target::Earliest => low,
        Target::Latest => stable,
        Target::At(_) => place.at_time.unwrap_or(stable),
        Target::Offset(offset) => offset,
        Target::ShiftBy(count) => {
            let from = place.committed.ok_or("the group has no offset to shift from; use --to-earliest or --to-latest")?;
            from.saturating_add(count)
        }
    };
    Ok(wanted.clamp(low, stable))
}

/// Whether intake alone may go there: what it has read stands in the shard log, so that reading it again counts it again.
///
/// # Errors
/// It would count records twice.
pub fn may_intake_move(place: &Place, to: i64) -> Result<(), String> {
    match place.committed {
        // What is in it now was never read.
        _ if place.is_recreated => Ok(()),
        // Beyond the end: recreated, too.
        Some(from) if from > place.bounds.high => Ok(()),
        Some(from) if to < from => Err(format!(
            "would count {} a second time; without --only all is computed anew from there",
            counted(from.min(place.bounds.high) - to, "record")
        )),
        _ => Ok(()),
    }
}

/// What makes state and offset agree again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    Agrees,
    /// The group's offset, to what the state says.
    Offset(i64),
    /// The state's position is lost, the group's offset says it.
    State(i64),
    /// Both, to the first record that is left.
    Skip(i64),
    /// No offset that the state fits to is in the log.
    Cannot(String),
}

/// `stored`: the position that the state itself was written at. It goes before the offset: sums and state were committed with it.
/// `skip_lost`: where the log no longer holds the next record, go on with the first that it holds.
pub fn repair_intake(place: &Place, stored: Option<i64>, skip_lost: bool) -> Repair {
    let Bounds { low, high, .. } = place.bounds;
    match stored.or(place.committed) {
        None => Repair::Agrees,
        Some(_) if place.is_recreated && skip_lost => Repair::Skip(low),
        Some(next) if place.is_recreated => Repair::Cannot(format!(
            "the topic was recreated since it was read up to {next}; `tollgate reset --repair --skip-lost` goes on with what is in it now"
        )),
        Some(next) if next < low && !skip_lost => Repair::Cannot(format!(
            "retention has removed {} that nobody counted; `tollgate reset --repair --skip-lost` goes on behind",
            counted(low - next, "record")
        )),
        Some(next) if next > high && !skip_lost => Repair::Cannot(format!(
            "the topic ends at {high}, before {next}: it was recreated; `tollgate reset --repair --skip-lost` goes on with what is in it now"
        )),
        Some(next) if next < low || next > high => Repair::Skip(low),
        Some(next) if stored.is_none() => Repair::State(next),
        Some(next) if place.committed == Some(next) => Repair::Agrees,
        Some(next) => Repair::Offset(next),
    }
}

/// As above; a shard without state cannot be given one.
pub fn repair_watch(place: &Place, stored: Option<i64>) -> Repair {
    let Bounds { low, high, .. } = place.bounds;
    match (stored, place.committed) {
        (None, None) => Repair::Agrees,
        // It has read nothing yet.
        (None, Some(committed)) if committed <= low => Repair::Agrees,
        (None, Some(_)) => Repair::Cannot(
            "its changelog is empty, the state is gone; `tollgate reset --to-earliest` computes all anew, `tollgate reset --only watch --to-earliest` from what the shard log still holds"
                .to_string(),
        ),
        (Some(position), _) if position < low || position > high => {
            Repair::Cannot(format!("the log holds {low} to {high}, the state stands at {position}; `tollgate reset --to-earliest` computes all anew"))
        }
        (Some(position), Some(committed)) if position == committed => Repair::Agrees,
        (Some(position), _) => Repair::Offset(position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that holds 10..100, with a transaction open at 90.
    fn place(committed: Option<i64>, at_time: Option<i64>) -> Place {
        Place { bounds: Bounds { low: 10, stable: 90, high: 100 }, committed, at_time, is_recreated: false }
    }

    #[test]
    fn targets_lie_in_the_log() {
        let here = place(Some(50), None);
        let cases = [
            (Target::Earliest, 10),
            (Target::Latest, 90),
            (Target::At(Timestamp(0)), 90),
            (Target::Offset(60), 60),
            (Target::Offset(0), 10),
            (Target::Offset(1_000), 90),
            (Target::ShiftBy(-5), 45),
            (Target::ShiftBy(-1_000), 10),
            (Target::ShiftBy(i64::MAX), 90),
        ];
        for (wanted, offset) in cases {
            assert_eq!(target(wanted, &here), Ok(offset), "{wanted:?}");
        }
        assert_eq!(target(Target::At(Timestamp(0)), &place(None, Some(33))), Ok(33));
        assert!(target(Target::ShiftBy(1), &place(None, None)).is_err());
    }

    #[test]
    fn intake_alone_goes_forward_only() {
        assert_eq!(may_intake_move(&place(Some(50), None), 50), Ok(()));
        assert_eq!(may_intake_move(&place(Some(50), None), 90), Ok(()));
        assert_eq!(may_intake_move(&place(Some(5), None), 10), Ok(()), "retention was faster");
        assert_eq!(may_intake_move(&place(None, None), 10), Ok(()));
        assert!(may_intake_move(&place(Some(50), None), 49).unwrap_err().contains("1 record a second time"));
        assert_eq!(may_intake_move(&place(Some(101), None), 10), Ok(()), "recreated");
    }

    #[test]
    fn repairs_of_intake() {
        let cases = [
            (None, None, Repair::Agrees),
            (Some(50), Some(50), Repair::Agrees),
            (Some(20), Some(50), Repair::Offset(50)),
            (None, Some(50), Repair::Offset(50)),
            (Some(50), None, Repair::State(50)),
        ];
        for (committed, stored, expected) in cases {
            assert_eq!(repair_intake(&place(committed, None), stored, false), expected, "{committed:?} {stored:?}");
            assert_eq!(repair_intake(&place(committed, None), stored, true), expected, "{committed:?} {stored:?}");
        }
        for (committed, stored, says) in
            [(Some(5), Some(5), "removed 5 records"), (Some(50), Some(101), "recreated"), (Some(101), None, "recreated")]
        {
            let Repair::Cannot(why) = repair_intake(&place(committed, None), stored, false) else { panic!("{committed:?} {stored:?}") };
            assert!(why.contains(says) && why.contains("tollgate reset --repair --skip-lost"), "{why}");
            assert_eq!(repair_intake(&place(committed, None), stored, true), Repair::Skip(10));
        }
    }

    #[test]
    fn offsets_of_a_topic_that_is_gone_mean_nothing() {
        let place = Place { is_recreated: true, ..place(Some(50), None) };
        let Repair::Cannot(why) = repair_intake(&place, Some(50), false) else { panic!("it agrees by chance only") };
        assert!(why.contains("recreated since it was read up to 50") && why.contains("tollgate reset --repair --skip-lost"), "{why}");
        assert_eq!(repair_intake(&place, Some(50), true), Repair::Skip(10));
        assert_eq!(may_intake_move(&place, 10), Ok(()));
    }

    #[test]
    fn repairs_of_watch() {
        let cases = [
            (None, None, Repair::Agrees),
            (Some(10), None, Repair::Agrees),
            (Some(50), Some(50), Repair::Agrees),
            (Some(20), Some(50), Repair::Offset(50)),
            (None, Some(50), Repair::Offset(50)),
        ];
        for (committed, stored, expected) in cases {
            assert_eq!(repair_watch(&place(committed, None), stored), expected, "{committed:?} {stored:?}");
        }
        for (committed, stored) in [(Some(50), None), (Some(50), Some(5)), (Some(50), Some(101))] {
            let Repair::Cannot(why) = repair_watch(&place(committed, None), stored) else { panic!("{committed:?} {stored:?}") };
            assert!(why.contains("tollgate reset"), "{why}");
        }
    }
}
