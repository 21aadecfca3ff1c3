//! Hours, rotations, mutes and inhibitions, from settings to what deliver plans with.

use jiff::tz::TimeZone;

use crate::config::settings::{
    HoursSettings, InhibitSettings, MuteSettings, RotationSettings, ScheduleSettings, SelectSettings, WhenSettings,
};
use crate::deliver::calendar::{Rotation, Schedule, Swap};
use crate::deliver::inhibit::{Inhibit, Select};
use crate::deliver::render::when;
use crate::deliver::rules::{Hours, Mute, When};

fn zone(name: &str) -> TimeZone {
    when::zone(name)
}

fn schedule(settings: &ScheduleSettings) -> Schedule {
    let ScheduleSettings { time_zone, days, from, until, holidays, .. } = settings;
    Schedule { zone: zone(time_zone), days: days.clone(), from: *from, until: *until, holidays: holidays.clone() }
}

pub fn hours(settings: &HoursSettings) -> Hours {
    Hours { name: settings.schedule.name.clone(), schedule: schedule(&settings.schedule), outside: settings.outside }
}

pub fn rotation(settings: &RotationSettings) -> (String, Rotation) {
    let swaps = settings.swaps.iter().map(|swap| Swap { from: swap.from, until: swap.until, who: swap.who.clone() });
    let rotation = Rotation {
        zone: zone(&settings.time_zone),
        people: settings.people.clone(),
        starts: settings.starts,
        turn_days: settings.turn_days,
        swaps: swaps.collect(),
    };
    (settings.name.clone(), rotation)
}

pub fn mute(settings: &MuteSettings) -> Mute {
    Mute {
        teams: settings.teams.clone(),
        kinds: settings.kinds.clone(),
        only: settings.only.clone(),
        when: match &settings.when {
            WhenSettings::Between(from, until) => When::Between(*from, *until),
            WhenSettings::Hours(own) => When::Hours(hours(own)),
        },
        note: settings.note.clone(),
    }
}

pub fn inhibit(settings: &InhibitSettings) -> Inhibit {
    let InhibitSettings { by, of, equal, note } = settings;
    Inhibit { by: select(by), of: select(of), equal: equal.clone(), note: note.clone() }
}

fn select(settings: &SelectSettings) -> Select {
    let SelectSettings { teams, kinds, only, least_severity } = settings;
    Select { teams: teams.clone(), kinds: kinds.clone(), only: only.clone(), least_severity: *least_severity }
}
