//! Letters on their way: those that wait in their lanes, those under way on threads of their own, and those whose receipts are not
//! committed yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;

use super::channels::email::SendError;
use super::channels::{Channels, Letter};
use super::lane::{Due, Lane};
use super::render::Renderer;
use super::rules::Receiver;
use crate::clock;
use crate::model::time::Timestamp;

/// Renders and sends. Two: a picture takes some milliseconds of computing, and the next one need not wait for it.
const THREADS: usize = 2;
/// How long the loop waits for a letter to end before it looks at Kafka again ...
const FIRST: Duration = Duration::from_millis(5);
/// ... and from the first one on for others, so that they share a transaction.
const OTHERS: Duration = Duration::from_millis(10);
/// Letters under way are waited for so long when partitions go to somebody else: the others are sent again by the next owner.
const AT_THE_END: Duration = Duration::from_secs(3);

/// Letters that wait in one lane before it gives all but the first to receipts.
const MOST_WAITING: usize = 1_024;

/// What a letter needs to be written.
pub struct Desk {
    pub channels: Arc<Channels>,
    pub renderer: Arc<Renderer>,
    /// That holds the alerts.
    pub topic: String,
}

pub struct Ended {
    pub due: Due,
    /// Its id.
    pub sent: Result<String, SendError>,
}

pub struct Outbox {
    runtime: Runtime,
    desk: Arc<Desk>,
    /// By way out: `mail`, `hook:name`.
    lanes: BTreeMap<String, Lane>,
    sends: JoinSet<Result<String, SendError>>,
    under_way: HashMap<Id, Due>,
    /// Of these, whose partitions went to somebody else meanwhile: no receipt of ours is waited for.
    gone: HashSet<Id>,
    /// Ended, with receipts that are not committed: partition and lane.
    uncommitted: Vec<(i32, String)>,
}

impl Outbox {
    /// # Errors
    /// No threads.
    pub fn new(desk: Desk) -> Result<Outbox> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("send").enable_all().build();
        Ok(Outbox {
            runtime: runtime.context("cannot start the threads that send")?,
            desk: Arc::new(desk),
            lanes: BTreeMap::new(),
            sends: JoinSet::new(),
            under_way: HashMap::new(),
            gone: HashSet::new(),
            uncommitted: Vec::new(),
        })
    }

    pub fn add(&mut self, due: Due) {
        self.lanes.entry(way(&due.receiver)).or_default().waiting.push_back(due);
    }

    /// Whether a lane has more letters than it should keep.
    pub fn is_full(&self) -> bool {
        self.lanes.values().any(|lane| lane.waiting.len() >= MOST_WAITING)
    }

    /// Whether this receiver's lane takes another letter that is in no hurry.
    pub fn has_room(&self, receiver: &Receiver, most: usize, uptime: Duration) -> bool {
        self.lanes.get(&way(receiver)).is_none_or(|lane| lane.has_room(most, uptime))
    }

    /// Of this alert, being sent right now.
    pub fn is_sending(&self, alert_id: &str) -> bool {
        self.under_way.values().any(|due| due.names(alert_id))
    }

    /// What letters are about, waiting or being sent, and for whom they are.
    pub fn letters(&self) -> HashSet<(String, Receiver)> {
        let letters = self.lanes.values().flat_map(|lane| &lane.waiting).chain(self.under_way.values());
        letters.flat_map(Due::all).map(|due| (due.alert.id.clone(), due.receiver.clone())).collect()
    }

    /// Takes back what waits about this alert: there is something newer to say.
    pub fn withdraw(&mut self, alert_id: &str) -> Vec<Due> {
        self.take_back(|due| due.alert.id == alert_id)
    }

    /// Takes back the letters that wait and of which this is so.
    pub fn take_back(&mut self, is_meant: impl Fn(&Due) -> bool) -> Vec<Due> {
        let mut taken = Vec::new();
        for lane in self.lanes.values_mut().filter(|lane| lane.waiting.iter().any(|due| due.all().any(&is_meant))) {
            for due in std::mem::take(&mut lane.waiting) {
                let (meant, others): (Vec<Due>, Vec<Due>) = due.apart().into_iter().partition(&is_meant);
                taken.extend(meant);
                lane.waiting.extend(Due::together(others));
            }
        }
        taken
    }

    /// Whether anything is under way, or could be started now.
    pub fn has_work(&self, at_once: usize, uptime: Duration) -> bool {
        let channels = &self.desk.channels;
        !self.under_way.is_empty() || self.lanes.iter().any(|(name, lane)| lane.may_go(at_once, channels.per_minute(name), uptime))
    }

    /// Sends what may go now; `base_url`: of the web pages.
    pub fn start(&mut self, at_once: usize, uptime: Duration) {
        for (name, lane) in &mut self.lanes {
            let per_minute = self.desk.channels.per_minute(name);
            while let Some(due) = lane.next(at_once, per_minute, uptime) {
                let (desk, own) = (Arc::clone(&self.desk), due.clone());
                let send = async move { send(&desk, &own).await };
                let id = self.sends.spawn_on(send, self.runtime.handle()).id();
                self.under_way.insert(id, due);
            }
        }
    }

    /// What has ended since the last call; waits a little for it if anything is under way.
    pub fn ended(&mut self, at_once: usize, uptime: Duration) -> Vec<Ended> {
        self.collect(FIRST, OTHERS, at_once.div_ceil(2), uptime)
    }

    /// As [`Outbox::ended`], for as long as it takes, nearly.
    pub fn ended_at_last(&mut self, uptime: Duration) -> Vec<Ended> {
        self.collect(AT_THE_END, AT_THE_END, usize::MAX, uptime)
    }

    fn collect(&mut self, first: Duration, others: Duration, enough: usize, uptime: Duration) -> Vec<Ended> {
        let sends = &mut self.sends;
        let mut joined = Vec::new();
        self.runtime.block_on(async {
            let Ok(Some(one)) = timeout(first, sends.join_next_with_id()).await else { return };
            joined.push(one);
            let rest = async {
                while joined.len() < enough {
                    let Some(one) = sends.join_next_with_id().await else { break };
                    joined.push(one);
                }
            };
            drop(timeout(others, rest).await);
        });
        joined.into_iter().filter_map(|joined| self.end(joined, uptime)).collect()
    }

    fn end(&mut self, joined: Result<(Id, Result<String, SendError>), JoinError>, uptime: Duration) -> Option<Ended> {
        let (id, sent) = match joined {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(SendError::Unsendable { why: format!("sending it broke off: {error}") })),
        };
        let due = self.under_way.remove(&id)?;
        let name = way(&due.receiver);
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.ended(sent.as_ref().is_err_and(SendError::is_about_the_way), uptime);
        }
        if self.gone.remove(&id) {
            self.no_longer_under_way(&name);
        } else {
            self.uncommitted.push((due.partition, name));
        }
        Some(Ended { due, sent })
    }

    /// What receipts keep meanwhile, for how long and why: all that waits for a way out that is left alone, and what is too much for a
    /// lane, which keeps so many. Whatever else is read need not wait for it.
    pub fn postponed(&mut self, kept: usize, uptime: Duration) -> Vec<(Due, Duration, &'static str)> {
        let mut postponed = Vec::new();
        for (name, lane) in &mut self.lanes {
            let per_minute = self.desk.channels.per_minute(name);
            let (letters, why): (Vec<(Due, Duration)>, _) = match lane.left_alone(uptime) {
                Some(left) => {
                    let all = std::mem::take(&mut lane.waiting).into_iter().map(|due| (due, left)).collect();
                    (all, "too many failures in a row before it")
                }
                None => (lane.surplus(MOST_WAITING, kept, per_minute), "many others before it"),
            };
            postponed.extend(letters.into_iter().flat_map(|(letter, left)| letter.apart().into_iter().map(move |due| (due, left, why))));
        }
        postponed
    }

    /// The receipts of all that ended are committed: others may go.
    pub fn committed(&mut self) {
        for (_, name) in std::mem::take(&mut self.uncommitted) {
            self.no_longer_under_way(&name);
        }
    }

    /// These partitions are somebody else's now.
    pub fn forget(&mut self, partitions: &[i32]) {
        for lane in self.lanes.values_mut() {
            for due in std::mem::take(&mut lane.waiting) {
                let left = due.apart().into_iter().filter(|due| !partitions.contains(&due.partition)).collect();
                lane.waiting.extend(Due::together(left));
            }
        }
        self.gone.extend(self.under_way.iter().filter(|(_, due)| partitions.contains(&due.partition)).map(|(id, _)| *id));
        let all = std::mem::take(&mut self.uncommitted);
        let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(partition, _)| partitions.contains(partition));
        self.uncommitted = left;
        gone.into_iter().for_each(|(_, name)| self.no_longer_under_way(&name));
    }

    fn no_longer_under_way(&mut self, name: &str) {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.under_way = lane.under_way.saturating_sub(1);
        }
    }

    /// Closes connections that nobody has used for a while. With `alive`, the uptime, those who watch us are told that we are well: not by
    /// who has no alerts to tell, or stands beside a role that does not run, since nobody would miss anything of him.
    pub fn tidy(&self, alive: Option<Duration>) {
        let desk = Arc::clone(&self.desk);
        self.runtime.spawn(async move {
            desk.channels.tidy().await;
            if let Some(uptime) = alive {
                desk.channels.say_alive(uptime).await;
            }
        });
    }
}

async fn send(desk: &Desk, due: &Due) -> Result<String, SendError> {
    let date = clock::now();
    if due.with.is_empty() {
        return desk.channels.send(&letter(due, date), &desk.renderer, &desk.topic).await;
    }
    let letters: Vec<Letter<'_>> = due.all().map(|due| letter(due, date)).collect();
    desk.channels.send_digest(&letters, &desk.renderer).await
}

fn letter(due: &Due, date: Timestamp) -> Letter<'_> {
    Letter { alert: &due.alert, receiver: &due.receiver, earlier: due.earlier.as_ref(), date }
}

/// What a receiver shares with others: one mail server for all addresses, each webhook for itself.
fn way(receiver: &Receiver) -> String {
    match receiver {
        Receiver::Mail(_) => "mail".to_string(),
        Receiver::Hook(_) => receiver.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::render::sample;
    use crate::model::alert::Alert;

    #[test]
    fn a_lane_that_is_full_gives_what_is_too_much_to_receipts_and_the_others_keep_theirs() {
        let desk = Desk { channels: Arc::new(Channels::default()), renderer: Arc::new(Renderer::new().unwrap()), topic: String::new() };
        let mut outbox = Outbox::new(desk).unwrap();
        let (hook, ada) = (Receiver::Hook("slow".into()), Receiver::Mail("ada@x".into()));
        let due = |number: usize, receiver: &Receiver| Due {
            partition: 0,
            offset: Some(7),
            alert: Arc::new(Alert { id: format!("search/{number}"), ..sample::spike() }),
            receiver: receiver.clone(),
            earlier: None,
            with: Vec::new(),
        };
        outbox.add(due(0, &ada));
        (1..MOST_WAITING).for_each(|number| outbox.add(due(number, &hook)));
        assert!(!outbox.is_full() && outbox.postponed(10, Duration::ZERO).is_empty());
        outbox.add(due(MOST_WAITING, &hook));
        assert!(outbox.is_full());
        let postponed = outbox.postponed(10, Duration::ZERO);
        let ids: Vec<&str> = postponed.iter().map(|(due, ..)| due.alert.id.as_str()).collect();
        assert_eq!((ids.len(), ids[0], ids[MOST_WAITING - 11]), (MOST_WAITING - 10, "search/11", "search/1024"));
        assert!(!outbox.is_full() && outbox.letters().contains(&("search/0".to_string(), ada)));
        // Of each receiver for himself: what waits for one holds up nothing of the other.
        assert!(!outbox.letters().contains(&("search/0".to_string(), hook)));
    }

    #[test]
    fn what_hangs_while_its_partition_goes_leaves_its_lane_when_it_ends() {
        let desk = Desk { channels: Arc::new(Channels::default()), renderer: Arc::new(Renderer::new().unwrap()), topic: String::new() };
        let mut outbox = Outbox::new(desk).unwrap();
        let hook = Receiver::Hook("slow".into());
        let alert = Arc::new(sample::spike());
        outbox.add(Due { partition: 3, offset: Some(7), alert, receiver: hook.clone(), earlier: None, with: Vec::new() });
        outbox.start(1, Duration::ZERO);
        outbox.forget(&[3]);
        assert_eq!(outbox.ended_at_last(Duration::ZERO).len(), 1);
        assert_eq!(outbox.lanes[&way(&hook)].under_way, 0, "no commit of ours comes");
    }
}
