//! The writer: a thread of low priority that takes what was offered and appended,
//! in order, and commits in groups.

mod volumes;

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::Shared;
use super::end::Durable;
use super::group::{Ack, Entry, Group};
use super::intake::{Intake, Printed};
use super::owner::Mark;
use super::space::Space;
use crate::redact::Redactor;
use crate::seal::KEPT;
use crate::volume::{FRAME, Pack, Volume, lock};
use crate::{Captured, DropReason, Hooks, JournalError, Record};

/// Between looks at the queue while calls come.
const POLL: Duration = Duration::from_millis(5);
/// And while none do.
const POLL_IDLE: Duration = Duration::from_millis(50);
/// Bytes of calls after which the writer gives way to others: some 60 µs of work. A
/// change of threads costs as much as sealing a short record, so not after each.
const GIVE_WAY_AFTER: usize = 8 << 10;

pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Entry>,
    intake: Intake,
    /// What waits for company. It is closed before each commit, so that none is durable
    /// in part.
    pack: Pack,
    volume: Option<Arc<Volume>>,
    next_seq: u64,
    floor: u64,
    group: Group,
    /// After a failure: when to try again.
    retry: Option<Instant>,
    /// What failed, until there is a volume to write again.
    failure: Option<JournalError>,
    plain: Vec<u8>,
    space: Space,
    /// Bytes of calls since it last gave way.
    worked: usize,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: Receiver<Entry>,
        hooks: Hooks,
        hash_key: [u8; 32],
    ) -> Result<Self, JournalError> {
        let intake = Intake {
            hooks,
            redactor: shared.config.redact.then(|| Redactor::new(hash_key)),
            body_limit: shared.config.body_limit,
        };
        let mark = shared.mark_at_open;
        let mut writer = Self {
            shared,
            queue,
            intake,
            pack: Pack::new()?,
            volume: None,
            next_seq: 1,
            floor: mark.map_or(0, |m| m.floor),
            group: Group::default(),
            retry: None,
            failure: None,
            plain: Vec::new(),
            space: Space::default(),
            worked: 0,
        };
        writer.take_up(mark.map_or(Durable::Unknown, |m| Durable::AtLeast(m.durable)), 2)?;
        Ok(writer)
    }

    pub(super) fn run(mut self) {
        let nice = i32::from(self.shared.config.nice.min(19));
        if nice > 0
            && let Err(e) = rustix::process::nice(nice)
        {
            tracing::debug!(error = %e, "the journal's writer keeps its priority");
        }
        let mut poll = POLL;
        loop {
            let mut busy = false;
            let open = loop {
                match self.queue.try_recv() {
                    Ok(Entry::Call(call)) => self.call(*call),
                    Ok(Entry::Append { records, ack }) => self.append(records, ack),
                    Ok(Entry::Close) | Err(TryRecvError::Disconnected) => break false,
                    Err(TryRecvError::Empty) => break true,
                }
                busy = true;
                self.commit_if_due();
                self.give_way();
            };
            self.commit_if_due();
            if !open {
                self.commit();
                *lock(&self.shared.writing) = None;
                return;
            }
            self.see_to_the_volume();
            poll = if busy { POLL } else { (poll * 2).min(POLL_IDLE) };
            // An append unparks: it is never kept waiting.
            let sleep = match self.group.since {
                Some(t) => poll.min(self.shared.config.commit_every.saturating_sub(t.elapsed())),
                None => poll,
            };
            self.shared.woken.store(false, Release);
            std::thread::park_timeout(sleep);
        }
    }

    /// The scheduler lets even a niced thread finish its slice of a millisecond or
    /// so while a call waits for its core. Not once the queue fills: under a load
    /// that leaves no core idle, whoever always gives way never gets through.
    fn give_way(&mut self) {
        if self.worked < GIVE_WAY_AFTER {
            return;
        }
        self.worked = 0;
        if self.shared.queued.load(Relaxed) < self.shared.config.queue_bytes / 8 {
            std::thread::yield_now();
        }
    }

    fn call(&mut self, call: Captured) {
        let weight = call.weight();
        self.worked = self.worked.saturating_add(weight);
        let done = if let Some(why) = self.still_blocked() {
            Err(why)
        } else {
            let mut ex = self.intake.read(call, &self.shared.counters);
            self.intake.finish(&mut ex, Printed::MayBe, &self.shared.counters);
            self.write(&Record::Exchange(ex)).map_err(|e| e.drop_reason())
        };
        self.shared.queued.fetch_sub(weight, AcqRel);
        match done {
            Ok(()) => self.group.calls += 1,
            Err(why) => self.shared.counters.drop_one(why),
        }
    }

    fn append(&mut self, records: Vec<Record>, ack: Ack) {
        let done = match &self.failure {
            // It only waits, for what is not written.
            Some(e) if records.is_empty() => Err(e.again()),
            _ if records.is_empty() => Ok(()),
            _ => {
                // Appends are few and their caller waits: they try a blocked disk at once.
                self.retry = None;
                self.write_all(records)
            }
        };
        match done {
            Ok(()) => {
                self.group.acks.push(ack);
                self.group.since.get_or_insert_with(Instant::now);
            }
            Err(e) => {
                ack.send(Err(e)).ok();
            }
        }
    }

    fn write_all(&mut self, records: Vec<Record>) -> Result<(), JournalError> {
        for mut record in records {
            if let Record::Exchange(ex) = &mut record {
                self.intake.finish(ex, Printed::Not, &self.shared.counters);
            }
            self.write(&record)?;
        }
        Ok(())
    }

    /// Gives a record the next number, in the pack that is being filled.
    fn write(&mut self, record: &Record) -> Result<(), JournalError> {
        let done = self.ready().and_then(|volume| self.put(&volume, record));
        match &done {
            Ok(()) | Err(JournalError::Record(_)) => {}
            Err(e) => self.fail(e),
        }
        done
    }

    fn put(&mut self, volume: &Volume, record: &Record) -> Result<(), JournalError> {
        self.plain.clear();
        ciborium::into_writer(record, &mut self.plain).map_err(|e| JournalError::Record(e.to_string()))?;
        // A short record is written later, but a full disk is told at once.
        self.enough_space(self.plain.len().min(FRAME))?;
        self.pack.add(&volume.ring, record.key_name(), self.next_seq, &self.plain)?;
        // Keeps the buffer of a usual record, not of the largest.
        self.plain.clear();
        self.plain.shrink_to(KEPT);
        self.put_ready(volume)?;
        self.next_seq += 1;
        self.group.records += 1;
        self.group.since.get_or_insert_with(Instant::now);
        if matches!(record, Record::Exchange(_)) {
            self.shared.counters.exchanges.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn put_ready(&mut self, volume: &Volume) -> Result<(), JournalError> {
        for value in self.pack.take_ready() {
            self.enough_space(value.bytes.len())?;
            volume.put_value(&value)?;
            self.group.bytes += value.bytes.len();
        }
        Ok(())
    }

    fn make_durable(&mut self, volume: &Volume) -> Result<(), JournalError> {
        self.pack.close(&volume.ring)?;
        self.put_ready(volume)?;
        volume.commit()
    }

    fn commit_if_due(&mut self) {
        let config = &self.shared.config;
        let waited = self.group.since.is_some_and(|t| t.elapsed() >= config.commit_every);
        if waited || !self.group.acks.is_empty() || self.group.bytes >= config.commit_bytes {
            self.commit();
        }
    }

    fn commit(&mut self) {
        if self.group.since.is_none() {
            return;
        }
        if self.group.records > 0
            && let Some(volume) = self.volume.clone()
        {
            if let Err(e) = self.make_durable(&volume) {
                self.fail(&e);
                return;
            }
            self.shared.counters.records.fetch_add(self.group.records, Relaxed);
            self.shared.counters.commits.fetch_add(1, Relaxed);
            self.told_durable(self.next_seq - 1);
        }
        let group = std::mem::take(&mut self.group);
        for ack in group.acks {
            ack.send(Ok(self.shared.durable_seq())).ok();
        }
    }

    fn told_durable(&self, seq: u64) {
        if let Err(e) = self.shared.head.write(Mark { durable: seq, floor: self.floor }) {
            tracing::warn!(error = %e, "the journal's head was not written");
        }
        self.shared.set_durable(seq);
    }

    /// A cursor may have found that the volume's database fails.
    fn see_to_the_volume(&mut self) {
        if self.volume.as_ref().is_some_and(|v| v.has_failed()) {
            self.fail(&JournalError::Volume {
                volume: String::new(),
                problem: "it failed while it was read".to_owned(),
            });
        }
        let due = self.retry.is_some_and(|t| t.elapsed() >= self.shared.config.retry_after);
        if due && self.volume.is_none() {
            match self.ready() {
                Ok(_) => self.commit(),
                Err(e) => self.fail(&e),
            }
        }
    }

    /// What was not committed is counted as dropped, and the disk is left alone for a
    /// while.
    fn fail(&mut self, e: &JournalError) {
        let why = e.drop_reason();
        self.pack.forget();
        self.space = Space::default();
        let group = std::mem::take(&mut self.group);
        tracing::warn!(reason = why.label(), error = %e, records = group.records, "the journal cannot be written for now");
        self.shared.counters.drop_many(why, group.calls);
        for ack in group.acks {
            ack.send(Err(e.again())).ok();
        }
        if let Some(volume) = self.volume.take() {
            // Opened anew, it shows whether the disk or the volume is to blame.
            if volume.has_failed()
                && let Err(e) = self.shared.shelf.spoilt(&volume)
            {
                tracing::warn!(error = %e, "a volume was not moved aside");
            }
        }
        *lock(&self.shared.writing) = None;
        self.shared.set_blocked(Some(why));
        self.failure = Some(e.again());
        self.retry = Some(Instant::now());
    }

    fn still_blocked(&self) -> Option<DropReason> {
        let resting = self.retry.is_some_and(|t| t.elapsed() < self.shared.config.retry_after);
        self.shared.blocked().filter(|_| resting)
    }

    fn enough_space(&mut self, bytes: usize) -> Result<(), JournalError> {
        self.space.take(&self.shared.config.dir, self.shared.free_floor.load(Relaxed), bytes)
    }
}
