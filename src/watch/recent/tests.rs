//! What hours read back as, and what is not read.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn totals()(
        cost in any::<i64>(), shares in any::<bool>(), quantity in 0_i64..1_000, counts in prop::array::uniform9(prop_oneof![Just(0_u64), any::<u64>()]),
        has_negative in any::<bool>(), times in (0_i64..4_000_000, 0_i64..4_000_000), revision in 0_u32..4,
        users in prop::collection::vec(("[a-c]{1,3}", any::<i32>()), 0..6),
    ) -> HourTotals {
        let of_users: i128 = users.iter().map(|(_, cost)| i128::from(*cost)).sum();
        HourTotals {
            cost: Nanos(if shares { of_users } else { i128::from(cost) }),
            quantity: Nanos(i128::from(quantity)),
            events: counts[0],
            unpriced_events: counts[1],
            requests: counts[2],
            tokens: [counts[3], counts[4], counts[5], counts[6], counts[7]],
            has_negative,
            last_event_time: Timestamp(times.0),
            last_ingest_time: Timestamp(times.1),
            users: users.into_iter().map(|(user, cost)| UserCost { user: user.as_str().into(), cost: Nanos(i128::from(cost)) }).collect(),
            revision,
        }
    }
}

proptest! {
    #[test]
    fn held_hours_read_back_as_they_were(all in prop::collection::vec(totals(), 1..50), from in -100_i64..500_000) {
        let held = Held { holds: &|_| true, onset: Hour(i64::MAX) };
        let mut recent = Recent::default();
        let hours: Vec<(Hour, HourTotals)> = (from..).step_by(2).map(Hour).zip(all).collect();
        for (hour, totals) in &hours {
            recent.put(*hour, totals.clone(), Hour(i64::MIN), &held);
        }
        prop_assert_eq!(recent.hours(), hours.clone());
        recent.forget(hours[hours.len() / 2].0, &held);
        prop_assert_eq!(&recent.hours()[..], &hours[hours.len() / 2 + 1..]);
    }

    #[test]
    fn what_is_copied_is_what_would_be_written_anew(
        all in prop::collection::vec((totals(), 0_i64..3), 1..60), holds in any::<u64>(), onset in 0_i64..70,
    ) {
        let is_held = |hour: Hour| holds >> (hour.0 % 64) & 1 == 1;
        let (mut recent, mut hour) = (Recent::default(), Hour(0));
        for (totals, later) in all {
            hour = Hour(hour.0 + later);
            let held = Held { holds: &is_held, onset: Hour(onset.min(hour.0 + 1)) };
            recent.put(hour, totals, Hour(hour.0 - 48), &held);
            prop_assert!(recent.is_readable());
            prop_assert_eq!(&recent.hours().into_iter().collect::<Recent>(), &recent);
            let known = recent.hours();
            prop_assert!(known.iter().all(|(hour, totals)| recent.get(*hour).as_ref() == Some(totals)));
            let mut costs = Vec::new();
            recent.each_cost(|hour, cost| costs.push((hour, cost)));
            prop_assert_eq!(costs, known.iter().map(|(hour, totals)| (*hour, totals.cost)).collect::<Vec<_>>());
            let short = |(hour, totals): &(Hour, HourTotals)| is_held(*hour) || totals.users.len() <= USUAL_USERS && !totals.has_times();
            prop_assert!(known.iter().all(short));
        }
    }

    #[test]
    fn foreign_bytes_never_panic_and_what_is_readable_is_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        all_is_read_or_none(bytes)?;
    }

    #[test]
    fn damaged_hours_are_found(all in prop::collection::vec(totals(), 1..4), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let recent: Recent = (0..).map(Hour).zip(all).collect();
        let mut bytes = recent.0.to_vec();
        *at.get_mut(&mut bytes) = byte;
        all_is_read_or_none(bytes)?;
    }
}

/// Whether the hours can be read, found out by reading them.
fn all_is_read_or_none(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let read = skim(&bytes).is_some_and(|(names, hours)| {
        let names: Vec<Text> = names.into_iter().map(Text::from).collect();
        hours.iter().all(|written| written.totals(|name| names.get(name).cloned()).is_some())
    });
    prop_assert_eq!(Recent(bytes.clone().into()).is_readable(), read);
    Ok(())
}

#[test]
fn what_no_episode_holds_keeps_the_largest_users_of_a_day() {
    let held = Held { holds: &|hour| hour == Hour(10), onset: Hour(40) };
    let users: Vec<UserCost> = (0..9).map(|n| UserCost { user: format!("u{n}").as_str().into(), cost: Nanos(n) }).collect();
    let totals = HourTotals { last_event_time: Timestamp(7), revision: 1, users, ..HourTotals::default() };
    let mut recent = Recent::default();
    for hour in 0..48 {
        recent.put(Hour(hour), totals.clone(), Hour(-1), &held);
    }
    for (hour, kept) in recent.hours() {
        let expected = if hour == Hour(10) {
            9
        } else if hour.0 < 40 - 26 {
            0
        } else {
            4
        };
        assert_eq!((kept.users.len(), kept.last_event_time.0 != 0), (expected, hour == Hour(10)), "{hour:?}");
        assert!(expected != 4 || kept.users[0].cost == Nanos(8));
    }
}
