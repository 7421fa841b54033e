//! What a volume of the journal begins with, so that older ones may be let go:
//! the tasks, their ledgers and tallies, and the cast.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use understudy_call::UnderstudyId;
use understudy_capture::Record;
use understudy_policy::{Event, Ledger, TaskId};
use understudy_tasks::TaskBook;

use super::Rehearsal;
use super::adopt::{Adoption, Ordered};
use super::report::Tally;
use super::state::{Models, TaskState};

/// The kind of the journal's notes that end an append of the worker's.
pub(super) const FOLDED: &str = "folded";

/// The worker's state as of one exchange.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    folded: u64,
    /// Each state that is saved has a greater one, and the note that ends an append has
    /// that of the state which knows the append. 0 in a journal from before there were any.
    #[serde(default)]
    number: u64,
    book: TaskBook,
    tasks: Vec<SavedTask>,
    /// Adapters on their way in.
    #[serde(default)]
    ordered: Vec<Ordered>,
    /// The versions that there were; what they are is asked of the cast.
    #[serde(skip)]
    versions: BTreeSet<UnderstudyId>,
}

impl Saved {
    /// The note that ends the append which this state knows.
    pub(super) fn note(&self) -> Record {
        Record::Note { kind: FOLDED.to_owned(), json: json!({ "seq": self.folded, "saved": self.number }) }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedTask {
    id: TaskId,
    ledger: Ledger,
    learnt: u64,
    tally: Tally,
    #[serde(default)]
    adoptions: Vec<Adoption>,
    /// A fit that the engine was away for.
    #[serde(default)]
    owed: bool,
    /// As which the provider answered.
    #[serde(default)]
    models: Models,
}

/// The number of each task's last entry, as a checkpoint knows it: of a volume that
/// was lost, the next one's checkpoint still says which shares of α were spent.
pub(super) fn numbers(checkpoint: &Value, into: &mut BTreeMap<TaskId, u32>) {
    let tasks = checkpoint.pointer("/saved/tasks").and_then(Value::as_array);
    for task in tasks.into_iter().flatten() {
        let id = task.get("id").and_then(|id| TaskId::deserialize(id).ok());
        let last = task.pointer("/ledger/last_k").and_then(Value::as_u64).and_then(|k| u32::try_from(k).ok());
        if let (Some(id), Some(last)) = (id, last) {
            let k = into.entry(id).or_default();
            *k = last.max(*k);
        }
    }
}

/// The number of a checkpoint's state.
pub(super) fn number(checkpoint: &Value) -> u64 {
    checkpoint.pointer("/saved/number").and_then(Value::as_u64).unwrap_or_default()
}

/// The number in a note of the kind [`FOLDED`].
pub(super) fn noted_number(note: &Value) -> u64 {
    note.get("saved").and_then(Value::as_u64).unwrap_or_default()
}

impl Rehearsal {
    /// Keeps the present state for the next volume.
    pub(super) fn save(&self) {
        let tasks = self.tasks.iter().map(|(id, s)| SavedTask {
            id: *id,
            ledger: s.ledger.clone(),
            learnt: s.learnt,
            tally: s.tally.clone(),
            adoptions: s.adoptions.clone(),
            owed: s.owed,
            models: s.models.clone(),
        });
        let saved = Saved {
            folded: self.folded,
            number: self.saved.load().number + 1,
            book: self.book.clone(),
            tasks: tasks.collect(),
            ordered: self.adopting.orders(),
            versions: self.cast.all().into_iter().map(|m| m.id).collect(),
        };
        self.saved.store(Arc::new(saved));
    }

    /// Saves what was read again, numbered on from the last number that was given.
    pub(super) fn save_restored(&self, last_number: u64) {
        self.saved.store(Arc::new(Saved { number: last_number, ..Saved::default() }));
        self.save();
    }

    /// After an append that failed: the next volume is to begin with what was durable
    /// `before` it, so that it knows nothing that the journal may not say. Nobody knows
    /// whether a decision of that append was written. A task that was taken back must not
    /// come back with an older state, so then it begins with nothing.
    pub(super) fn unsave(&self, before: Arc<Saved>, decided: bool) {
        let nothing = Saved { number: before.number, ..Saved::default() };
        self.saved.store(if decided { Arc::new(nothing) } else { before });
    }

    /// Gives what the journal's next volume is to begin with, null before the journal was
    /// read. It never waits for the worker, and outlives it.
    #[must_use]
    pub fn checkpoint(&self) -> Arc<dyn Fn() -> Value + Send + Sync> {
        let (saved, cast) = (Arc::clone(&self.saved), Arc::clone(&self.cast));
        Arc::new(move || {
            let saved = saved.load_full();
            if saved.folded == 0 {
                return Value::Null;
            }
            let known = saved.versions.iter();
            let versions: Vec<Value> = known.filter_map(|id| cast.to_note(id)).collect();
            json!({ "saved": &*saved, "cast": versions })
        })
    }

    /// Goes on from a checkpoint; gives its number.
    pub(super) fn take_up(&mut self, state: &Value) -> u64 {
        let saved = match state.get("saved").map(Saved::deserialize) {
            Some(Ok(saved)) => saved,
            _ => {
                tracing::error!(
                    "the journal's oldest checkpoint is not readable: evidence before it is gone"
                );
                return 0;
            }
        };
        let number = saved.number;
        self.folded = saved.folded;
        self.book.take_up(saved.book);
        for task in saved.tasks.into_iter().filter(|t| self.book.task(t.id).is_some()) {
            let mut state = TaskState::new(task.ledger);
            // What its tools do is as the operator declares it today.
            state.ledger.set_acting(self.book.task(task.id).is_some_and(|t| t.acts));
            state.learnt = task.learnt;
            state.tally = task.tally;
            state.adoptions = task.adoptions;
            state.owed = task.owed;
            state.models = task.models;
            self.tasks.insert(task.id, state);
        }
        for order in saved.ordered {
            self.adopting.take(order);
        }
        for note in state.get("cast").and_then(Value::as_array).into_iter().flatten() {
            if let Err(e) = self.cast.from_note(note) {
                tracing::warn!(error = %e, "a version of the cast is gone");
            }
        }
        number
    }

    /// Closes entries whose version can no longer answer.
    pub(super) fn gone(&mut self, seq: u64) {
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in ids {
            let open: Vec<_> = self
                .tasks
                .get(&id)
                .into_iter()
                .flat_map(|s| s.ledger.open_understudies())
                .filter(|u| self.cast.find(u).is_none())
                .cloned()
                .collect();
            for understudy in open {
                tracing::warn!(%understudy, "a version with an open entry is gone");
                self.fold(id, vec![Event::VersionGone { understudy, seq }]);
            }
        }
    }
}
