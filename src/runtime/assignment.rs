//! Which partitions are ours and how far each has come: a state machine without Kafka, clock or state of its own.
//!
//! ```text
//!            assigned      begins      restored      revoke       finished
//!     (gone) ───────> Waiting ──> Restoring ──> Running ──> Draining ──────> (gone)
//!                       └───────────┴─ revoke ──────────────────────────────> (gone): nothing to finish
//!                any of them ── lost ───────────────────────────────────────> (gone): nothing may be committed
//! ```

use std::collections::BTreeMap;

/// Where a partition of ours stands. One that is not ours is in no phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Ours; its state is not read yet, records wait.
    Waiting,
    /// Its state is being read. One partition at a time.
    Restoring,
    /// Records are taken.
    Running,
    /// Revoked: what was taken is committed or given up, nothing more is taken.
    Draining,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Assigned(Vec<i32>),
    /// The worker has time to restore one more.
    CanRestore,
    Restored(i32),
    Revoked(Vec<i32>),
    /// Others may own them already.
    Lost(Vec<i32>),
    /// What was taken of all draining partitions is committed, or its time was over.
    Finished,
    /// The process ends: as if everything were revoked.
    Closing,
}

/// What the worker has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin to fetch, without taking records yet.
    Fetch(Vec<i32>),
    /// Begin to read the state of this one.
    Restore(i32),
    /// Stop reading the state of this one.
    StopRestoring(i32),
    /// Commit what was taken of these, within a budget; then say `Finished`.
    Finish(Vec<i32>),
    /// Forget state and staged work of these. Nothing of theirs is committed from here on.
    Drop(Vec<i32>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    phases: BTreeMap<i32, Phase>,
}

impl Assignment {
    pub fn phase(&self, partition: i32) -> Option<Phase> {
        self.phases.get(&partition).copied()
    }

    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.phases.keys().copied()
    }

    pub fn in_phase(&self, phase: Phase) -> impl Iterator<Item = i32> {
        self.phases.iter().filter(move |(_, known)| **known == phase).map(|(partition, _)| *partition)
    }

    /// Everything that is ours takes records.
    pub fn is_running(&self) -> bool {
        self.phases.values().all(|phase| *phase == Phase::Running)
    }

    pub fn on(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::Assigned(partitions) => self.assigned(partitions),
            Event::CanRestore => self.restore_next(),
            Event::Restored(partition) => {
                // Revoked while its state was read: then there is nothing to run.
                if let Some(phase @ Phase::Restoring) = self.phases.get_mut(&partition) {
                    *phase = Phase::Running;
                }
                Vec::new()
            }
            Event::Revoked(partitions) => self.revoked(&partitions),
            Event::Lost(partitions) => self.lost(&partitions),
            Event::Finished => {
                let gone: Vec<i32> = self.in_phase(Phase::Draining).collect();
                self.phases.retain(|_, phase| *phase != Phase::Draining);
                some(gone, Action::Drop).collect()
            }
            Event::Closing => {
                let all: Vec<i32> = self.partitions().collect();
                self.revoked(&all)
            }
        }
    }

    /// A partition that is named twice stays as it is: its state and its position are newer than what the group knows.
    fn assigned(&mut self, partitions: Vec<i32>) -> Vec<Action> {
        let new: Vec<i32> = partitions.into_iter().filter(|partition| !self.phases.contains_key(partition)).collect();
        self.phases.extend(new.iter().map(|partition| (*partition, Phase::Waiting)));
        some(new, Action::Fetch).collect()
    }

    fn restore_next(&mut self) -> Vec<Action> {
        if self.in_phase(Phase::Restoring).next().is_some() {
            return Vec::new();
        }
        let next = self.phases.iter_mut().find(|(_, phase)| **phase == Phase::Waiting);
        next.map(|(partition, phase)| {
            *phase = Phase::Restoring;
            Action::Restore(*partition)
        })
        .into_iter()
        .collect()
    }

    fn revoked(&mut self, partitions: &[i32]) -> Vec<Action> {
        let (mut stop, mut drain, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for partition in partitions {
            match self.phases.get_mut(partition) {
                Some(Phase::Waiting) => gone.push(*partition),
                Some(Phase::Restoring) => {
                    stop.push(Action::StopRestoring(*partition));
                    gone.push(*partition);
                }
                Some(phase @ Phase::Running) => {
                    *phase = Phase::Draining;
                    drain.push(*partition);
                }
                Some(Phase::Draining) | None => {}
            }
        }
        self.phases.retain(|partition, _| !gone.contains(partition));
        stop.into_iter().chain(some(gone, Action::Drop)).chain(some(drain, Action::Finish)).collect()
    }

    fn lost(&mut self, partitions: &[i32]) -> Vec<Action> {
        let restoring = partitions.iter().filter(|partition| self.phase(**partition) == Some(Phase::Restoring));
        let stop: Vec<Action> = restoring.map(|partition| Action::StopRestoring(*partition)).collect();
        let gone: Vec<i32> = partitions.iter().copied().filter(|partition| self.phases.remove(partition).is_some()).collect();
        stop.into_iter().chain(some(gone, Action::Drop)).collect()
    }
}

/// No action for nobody.
fn some(partitions: Vec<i32>, action: fn(Vec<i32>) -> Action) -> impl Iterator<Item = Action> {
    (!partitions.is_empty()).then(|| action(partitions)).into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: i32 = 7;
    const PHASES: [Option<Phase>; 5] = [None, Some(Phase::Waiting), Some(Phase::Restoring), Some(Phase::Running), Some(Phase::Draining)];

    fn events() -> [Event; 7] {
        [
            Event::Assigned(vec![P]),
            Event::CanRestore,
            Event::Restored(P),
            Event::Revoked(vec![P]),
            Event::Lost(vec![P]),
            Event::Finished,
            Event::Closing,
        ]
    }

    /// Every phase against every event: the phase after it, and what is to be done.
    #[test]
    fn every_phase_against_every_event() {
        use Action::{Drop, Fetch, Finish, Restore, StopRestoring};
        use Phase::{Draining, Restoring, Running, Waiting};
        let gone = |actions: Vec<Action>| (None, actions);
        let stays = |phase: Phase| (Some(phase), Vec::new());
        let stopped = || gone(vec![StopRestoring(P), Drop(vec![P])]);
        let draining = || (Some(Draining), vec![Finish(vec![P])]);
        let nothing = || (None, Vec::new());
        let table = [
            // Assigned, CanRestore, Restored, Revoked, Lost, Finished, Closing
            [(Some(Waiting), vec![Fetch(vec![P])]), nothing(), nothing(), nothing(), nothing(), nothing(), nothing()],
            [
                stays(Waiting),
                (Some(Restoring), vec![Restore(P)]),
                stays(Waiting),
                gone(vec![Drop(vec![P])]),
                gone(vec![Drop(vec![P])]),
                stays(Waiting),
                gone(vec![Drop(vec![P])]),
            ],
            [stays(Restoring), stays(Restoring), stays(Running), stopped(), stopped(), stays(Restoring), stopped()],
            [stays(Running), stays(Running), stays(Running), draining(), gone(vec![Drop(vec![P])]), stays(Running), draining()],
            [
                stays(Draining),
                stays(Draining),
                stays(Draining),
                stays(Draining),
                gone(vec![Drop(vec![P])]),
                gone(vec![Drop(vec![P])]),
                stays(Draining),
            ],
        ];
        for (phase, row) in PHASES.into_iter().zip(table) {
            for (event, (after, actions)) in events().into_iter().zip(row) {
                let mut assignment = Assignment { phases: phase.map(|phase| (P, phase)).into_iter().collect() };
                assert_eq!(assignment.on(event.clone()), actions, "{phase:?} on {event:?}");
                assert_eq!(assignment.phase(P), after, "{phase:?} after {event:?}");
            }
        }
    }

    #[test]
    fn one_at_a_time_is_restored_and_others_are_left_alone() {
        let mut assignment = Assignment::default();
        assert_eq!(assignment.on(Event::Assigned(vec![1, 2])), vec![Action::Fetch(vec![1, 2])]);
        assert_eq!(assignment.on(Event::CanRestore), vec![Action::Restore(1)]);
        assert_eq!(assignment.on(Event::CanRestore), Vec::new());
        assert_eq!(assignment.on(Event::Restored(1)), Vec::new());
        assert_eq!(assignment.on(Event::CanRestore), vec![Action::Restore(2)]);
        assert!(!assignment.is_running());
        assert_eq!(
            assignment.on(Event::Revoked(vec![1, 2, 3])),
            vec![Action::StopRestoring(2), Action::Drop(vec![2]), Action::Finish(vec![1])]
        );
        assert_eq!(assignment.on(Event::Finished), vec![Action::Drop(vec![1])]);
        assert_eq!(assignment, Assignment::default());
    }
}
