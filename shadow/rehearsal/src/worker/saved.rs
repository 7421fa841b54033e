//! What a volume of the journal begins with, so that older ones may be let go:
//! the tasks, their ledgers and tallies, and the cast.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use understudy_policy::{Event, Ledger, TaskId};
use understudy_tasks::TaskBook;

use super::Rehearsal;
use super::adopt::{Adoption, Ordered};
use super::report::Tally;
use super::state::TaskState;

/// The worker's state as of one exchange.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    folded: u64,
    book: TaskBook,
    tasks: Vec<SavedTask>,
    /// Adapters on their way in.
    #[serde(default)]
    ordered: Vec<Ordered>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedTask {
    id: TaskId,
    ledger: Ledger,
    learnt: u64,
    tally: Tally,
    #[serde(default)]
    adoptions: Vec<Adoption>,
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

impl Rehearsal {
    /// Keeps the present state for the next volume.
    pub(super) fn save(&self) {
        let tasks = self.tasks.iter().map(|(id, s)| SavedTask {
            id: *id,
            ledger: s.ledger.clone(),
            learnt: s.learnt,
            tally: s.tally.clone(),
            adoptions: s.adoptions.clone(),
        });
        let saved = Saved {
            folded: self.folded,
            book: self.book.clone(),
            tasks: tasks.collect(),
            ordered: self.adopting.orders(),
        };
        self.saved.store(Arc::new(saved));
    }

    /// Lets the journal ask for it: the closure never waits for the worker.
    pub(super) fn offer_checkpoint(&self) {
        let (saved, cast) = (Arc::clone(&self.saved), Arc::clone(&self.cast));
        self.journal.set_checkpoint(Arc::new(move || {
            let saved = saved.load_full();
            if saved.folded == 0 {
                return Value::Null;
            }
            let versions: Vec<Value> = cast.all().iter().filter_map(|m| cast.to_note(&m.id)).collect();
            json!({ "saved": &*saved, "cast": versions })
        }));
    }

    /// Goes on from a checkpoint.
    pub(super) fn take_up(&mut self, state: &Value) {
        let saved = match state.get("saved").map(Saved::deserialize) {
            Some(Ok(saved)) => saved,
            _ => {
                tracing::error!(
                    "the journal's oldest checkpoint is not readable: evidence before it is gone"
                );
                return;
            }
        };
        self.folded = saved.folded;
        self.book.take_up(saved.book);
        for task in saved.tasks.into_iter().filter(|t| self.book.task(t.id).is_some()) {
            let mut state = TaskState::new(task.ledger);
            state.learnt = task.learnt;
            state.tally = task.tally;
            state.adoptions = task.adoptions;
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
