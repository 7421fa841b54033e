//! A restart replays: the same events in the same order give the same state.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use understudy_call::Exchange;
use understudy_capture::{GapWhy, Journal, Record};
use understudy_cast::registry::NOTE_KIND;
use understudy_cast::{Example, Kind};
use understudy_policy::{Event, TaskId};

use super::adopt::{ADOPTION, Adoption, ORDERED, Ordered};
use super::report::tokens;
use super::saved::FOLDED;
use super::state::TaskState;
use super::{Mode, Rehearsal, RehearsalError, saved};

/// Records that are looked through first for the last note of what was folded: more than
/// a worker that keeps up leaves without one.
const LOOK_BACK: u64 = 1024;

/// A journal that `rehearse` wrote and a gateway goes on with has exchanges whose
/// lanes were drawn by the rehearsal: what was noted then counts, not what the
/// bare record of the call says.
fn keep_noted(events: &mut Vec<Event>) {
    let mut last: BTreeMap<u64, usize> = BTreeMap::new();
    for (i, event) in events.iter().enumerate() {
        if let Event::Exchange(seen) = event {
            last.insert(seen.seq, i);
        }
    }
    let mut i = 0;
    events.retain(|event| {
        let keep = match event {
            Event::Exchange(seen) => last.get(&seen.seq) == Some(&i),
            _ => true,
        };
        i += 1;
        keep
    });
}

/// Whether it followed a call, as orders do, and is not what the call itself says.
fn followed(event: &Event) -> bool {
    !matches!(event, Event::Exchange(_) | Event::Served(_) | Event::Trial(_))
}

/// Counts what a task's events say, call by call.
fn count_again(state: &mut TaskState, events: &[Event], sizes: &BTreeMap<u64, [u64; 3]>) {
    for of_call in events.chunk_by(|a, b| a.seq() == b.seq()) {
        let seen = of_call.iter().find_map(|e| if let Event::Exchange(seen) = e { Some(seen) } else { None });
        let served =
            of_call.iter().find_map(|e| if let Event::Served(served) = e { Some(served) } else { None });
        if let Some(seen) = seen {
            let tokens = sizes.get(&seen.seq).copied().unwrap_or_default();
            state.tally(tokens, seen, served, of_call);
        }
    }
}

/// The task that a note is about.
fn task_in(note: &serde_json::Value) -> Option<TaskId> {
    note.get("task")?.as_str()?.parse().ok()
}

/// The last exchange that an earlier run folded; 0 where none did, or where it was ended.
///
/// What the notes say only grows, so the last of them is looked for, from the journal's
/// end on and each time twice as far: a restart reads the whole journal once, not twice.
fn last_folded(journal: &Journal, ended: &(dyn Fn() -> bool + Sync)) -> Result<u64, RehearsalError> {
    let oldest = journal.oldest_seq().unwrap_or(1);
    let mut until = journal.durable_seq() + 1;
    let mut back = LOOK_BACK;
    loop {
        let from = until.saturating_sub(back).max(oldest);
        let mut folded = None;
        let mut cursor = journal.cursor(from);
        while !ended()
            && let Some((seq, record)) = cursor.next()?
            && seq < until
        {
            folded = folded.max(folded_in(&record));
        }
        if folded.is_some() || from <= oldest || ended() {
            return Ok(folded.unwrap_or(0));
        }
        until = from;
        back = back.saturating_mul(2);
    }
}

/// What a record says was folded, if it is such a note.
fn folded_in(record: &Record) -> Option<u64> {
    match record {
        Record::Note { kind, json } if kind == FOLDED => json.get("seq")?.as_u64(),
        _ => None,
    }
}

/// An event that is no record of its own.
#[derive(Deserialize)]
struct Noted {
    task: TaskId,
    event: Event,
}

impl Rehearsal {
    /// Reads the journal up to its last folded exchange and folds it again.
    /// Returns the place from which to read on. Exchanges after it that were
    /// captured but not folded are read by whoever reads on.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn restore(&mut self) -> Result<u64, RehearsalError> {
        let from = self.restore_unless(&|| false).await?;
        Ok(from.unwrap_or(self.folded + 1))
    }

    /// The same, given up where `ended` says so, which is asked at every record. It
    /// returns `None` then, and this worker is of no more use.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn restore_unless(
        &mut self,
        ended: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<u64>, RehearsalError> {
        let mut events: BTreeMap<TaskId, Vec<Event>> = BTreeMap::new();
        let mut written = 0usize;
        // Losses that an earlier start has drawn its conclusions from.
        let mut known: Vec<(u64, u64)> = Vec::new();
        let mut first = true;
        let mut numbers = BTreeMap::new();
        let folded = last_folded(&self.journal, ended)?;
        let mut sizes: BTreeMap<u64, [u64; 3]> = BTreeMap::new();
        let mut coming = BTreeSet::new();
        // The number of the state that is gone on from, and the last one given.
        let (mut at, mut last) = (0u64, 0u64);
        // Where a worker went on that had found a loss after the checkpoint.
        let (mut is_lost, mut went_back_to) = (false, u64::MAX);
        let mut cursor = self.journal.cursor(0);
        while let Some((seq, record)) = cursor.next()? {
            if ended() {
                return Ok(None);
            }
            match record {
                // Older volumes were let go: what was known then stands at the
                // beginning of the oldest that is left.
                Record::Checkpoint(state) if first && !state.is_null() => {
                    at = self.take_up(&state);
                    last = at;
                }
                Record::Exchange(exchange) if seq <= folded => {
                    sizes.insert(seq, tokens(&exchange));
                    self.remember(seq, &exchange, &mut events);
                }
                // Read on from there by whoever asked.
                Record::Exchange(exchange) => coming.extend(self.book.id_of(&exchange)),
                Record::Checkpoint(state) => {
                    saved::numbers(&state, &mut numbers);
                    last = last.max(saved::number(&state));
                }
                Record::Trial(trial) => events.entry(trial.task).or_default().push(Event::Trial(trial)),
                Record::EntryOpened(opened) => {
                    events.entry(opened.task).or_default().push(Event::EntryOpened(opened));
                }
                Record::Decision(_) => written += 1,
                Record::Note { kind, json } if kind == "lost" => {
                    known.extend(Vec::<(u64, u64)>::deserialize(json).unwrap_or_default());
                    is_lost = at > 0;
                }
                Record::Note { kind, json } if kind == FOLDED => {
                    let number = saved::noted_number(&json);
                    last = last.max(number);
                    if std::mem::take(&mut is_lost) {
                        // Its conclusions, and what followed, are new, though the checkpoint
                        // knew calls beyond that place.
                        went_back_to =
                            json.get("seq").and_then(serde_json::Value::as_u64).unwrap_or(went_back_to);
                    }
                    // It ends the append in the midst of which the checkpoint was taken,
                    // and which the checkpoint knows.
                    if (1..=at).contains(&number) {
                        let base = self.folded;
                        for of_task in events.values_mut() {
                            of_task.retain(|e| e.seq().is_none_or(|seq| seq > base));
                        }
                    }
                }
                Record::Note { kind, json } => self.note(&kind, &json, &mut events),
            }
            first = false;
        }
        let lost: Vec<(u64, u64)> = cursor
            .gaps()
            .iter()
            .filter(|g| g.why != GapWhy::Retired)
            .map(|g| (g.from, g.to))
            .filter(|gap| !known.contains(gap))
            .collect();
        let base = self.folded.min(went_back_to);
        let all = events.len();
        events.retain(|id, _| self.book.task(*id).is_some() || coming.contains(id));
        if events.len() < all {
            tracing::info!(
                tasks = all - events.len(),
                "events of tasks without calls, or whose calls are another task's now, are left out"
            );
        }
        let book = &self.book;
        self.adopting.keep(|id| book.task(id).is_some() || coming.contains(&id));
        let whole = base == 0 && events.len() == all;
        for (id, mut of_task) in events {
            if ended() {
                return Ok(None);
            }
            self.meet(id);
            // What followed the checkpoint's own call is taken where it is known not to be
            // in the checkpoint: an order, say, with no call since.
            let is_new = |e: &Event, seq: u64| seq > base || (seq == base && at > 0 && followed(e));
            of_task.retain(|e| e.seq().is_none_or(|seq| is_new(e, seq)));
            keep_noted(&mut of_task);
            understudy_policy::replay_order(&mut of_task);
            if let Some(state) = self.tasks.get_mut(&id) {
                count_again(state, &of_task, &sizes);
            }
            for event in &of_task {
                let Some(state) = self.tasks.get_mut(&id) else { continue };
                self.decisions.extend(state.ledger.apply(event));
            }
        }
        for (id, k) in numbers {
            if let Some(state) = self.tasks.get_mut(&id) {
                state.ledger.number_on_from(k);
            }
        }
        if whole && self.decisions.len() != written {
            tracing::warn!(written, again = self.decisions.len(), "replay made another number of decisions");
        }
        self.decisions.sort_by_key(|d| d.seq);
        self.folded = folded.max(base);
        // A volume that begins before the first flush is to know all this, too. It is
        // durable; what follows from it now is not yet.
        self.save_restored(last);
        self.journal.set_checkpoint(self.checkpoint());
        if !lost.is_empty() {
            tracing::error!(
                gaps = lost.len(),
                "the journal has lost records: tasks start again at shadowing"
            );
            let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
            for id in ids {
                self.fold(id, vec![Event::JournalLost { seq: self.folded }]);
            }
            self.pending.push(Record::Note { kind: "lost".to_owned(), json: serde_json::json!(lost) });
        }
        self.gone(self.folded);
        self.bring_up_to_date();
        for (id, state) in &mut self.tasks {
            // What was learnt as another task's, or while no engine was there, makes
            // versions with the next call and not only when it has doubled.
            let enough = state.learnt >= u64::from(state.ledger.policy().first_fit);
            // A remote is made without the engine, and says nothing of it.
            let none_made = self.cast.of_task(*id).iter().all(|m| m.kind == Kind::Remote);
            state.owed |= enough && state.tally.baselines.is_none() && none_made;
        }
        self.flush().await?;
        Ok(Some(self.folded + 1))
    }

    fn remember(&mut self, seq: u64, exchange: &Exchange, events: &mut BTreeMap<TaskId, Vec<Event>>) {
        let found = self.book.assign(exchange);
        self.forget_with_the_book();
        let Some(id) = found else {
            return;
        };
        self.meet(id);
        let acts = self.book.task(id).is_some_and(|t| t.acts);
        let live = self.settings.mode == Mode::Live;
        let most = self.settings.examples;
        let (base, example) = (self.folded, Example::of(seq, exchange));
        let Some(state) = self.tasks.get_mut(&id) else {
            return;
        };
        let seen = state.seen(seq, exchange, acts);
        if seq <= base {
            if let Some(example) = example {
                state.keep_example(example, most);
            }
            return;
        }
        if live {
            let served = state.served_live(seq, exchange);
            let of_task = events.entry(id).or_default();
            of_task.push(Event::Exchange(seen));
            of_task.extend(served.map(Event::Served));
        }
        if let Some(example) = example {
            let before = state.learnt;
            state.learn(example, most);
            // A fit that was due and of which no note tells is made up for with the next call.
            state.owed |= state.became_due(before);
        }
    }

    fn note(&mut self, kind: &str, json: &serde_json::Value, events: &mut BTreeMap<TaskId, Vec<Event>>) {
        match kind {
            "event" => match Noted::deserialize(json) {
                Ok(noted) => events.entry(noted.task).or_default().push(noted.event),
                Err(e) => {
                    tracing::warn!(error = %e, "an event in the journal is not readable: left out")
                }
            },
            "name" => {
                let task = task_in(json);
                if let (Some(task), Some(name)) = (task, json.get("name").and_then(|n| n.as_str())) {
                    self.book.rename(task, name);
                }
            }
            "baselines" => {
                let task = task_in(json);
                if let Some(state) = task.and_then(|t| self.tasks.get_mut(&t)) {
                    state.tally.baselines =
                        json.get("measured").and_then(|m| Deserialize::deserialize(m).ok());
                    // The fit was at work while exchanges came, by which another may be due.
                    let learnt = json.get("learnt").and_then(serde_json::Value::as_u64);
                    state.owed = learnt.is_some_and(|fitted| state.became_due(fitted));
                }
            }
            ORDERED => match Ordered::deserialize(json) {
                Ok(order) => {
                    self.adopting.take(order);
                }
                Err(e) => tracing::warn!(error = %e, "an adapter's order is not readable: left out"),
            },
            ADOPTION => match Adoption::deserialize(json) {
                Ok(adoption) => self.keep_adoption(adoption),
                Err(e) => tracing::warn!(error = %e, "a note on an adapter is not readable: left out"),
            },
            NOTE_KIND => {
                if let Err(e) = self.cast.from_note(json) {
                    tracing::warn!(error = %e, "a version of the cast is gone");
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
