//! What was decided becomes durable, then visible; and what people order.

use serde_json::json;
use understudy_capture::Record;
use understudy_policy::{Action, Decision, Event, Stage, TaskId};

use super::{Rehearsal, RehearsalError};

/// Whether it may take something back: a decision, or what was not a call's doing, as
/// when a version is gone.
fn decides(record: &Record) -> bool {
    match record {
        Record::Decision(_) => true,
        Record::Note { kind, .. } => kind == "event",
        _ => false,
    }
}

impl Rehearsal {
    /// What a person did. Durable and published when this returns.
    ///
    /// # Errors
    /// There is no such task, or the journal failed.
    pub async fn operate(
        &mut self,
        name: &str,
        action: Action,
        by: &str,
    ) -> Result<Vec<Decision>, RehearsalError> {
        let id = self.book.find(name).map(|t| t.id).ok_or_else(|| RehearsalError::NoTask(name.to_owned()))?;
        self.meet(id);
        let from = self.decisions.len();
        let event = Event::Operator { action, by: by.to_owned(), seq: self.folded };
        self.fold(id, vec![event]);
        self.flush().await?;
        Ok(self.decisions.get(from..).unwrap_or_default().to_vec())
    }

    /// Gives a task a name.
    ///
    /// # Errors
    /// There is no such task, another has the name, or the journal failed.
    pub async fn rename(&mut self, name: &str, to: &str) -> Result<(), RehearsalError> {
        let id = self.book.find(name).map(|t| t.id).ok_or_else(|| RehearsalError::NoTask(name.to_owned()))?;
        // Under its name another task would no longer be found by its id.
        let hides = self.book.tasks().iter().any(|t| t.id != id && t.id.to_string().starts_with(to));
        if hides || !self.book.rename(id, to) {
            return Err(RehearsalError::NameTaken(to.to_owned()));
        }
        self.pending.push(Record::Note { kind: "name".to_owned(), json: json!({"task": id, "name": to}) });
        self.bring_up_to_date();
        self.flush().await
    }

    /// The recorded calls end here: open conversations close.
    ///
    /// # Errors
    /// The journal failed.
    pub async fn end_of_file(&mut self) -> Result<(), RehearsalError> {
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in ids {
            self.fold(id, vec![Event::EndOfFile { seq: self.folded }]);
            self.propose(id);
        }
        self.flush().await
    }

    /// Flushes when there is enough, or when a decision waits.
    pub(super) async fn settle(&mut self) -> Result<(), RehearsalError> {
        let decided = self.pending.iter().any(|r| matches!(r, Record::Decision(_)));
        if decided || self.pending.len() >= self.settings.group {
            self.flush().await?;
        }
        Ok(())
    }

    /// Makes durable what waits, then publishes the roster if it changed.
    ///
    /// # Errors
    /// The journal failed: nothing new is published.
    pub async fn flush(&mut self) -> Result<(), RehearsalError> {
        if !self.pending.is_empty() {
            let before = self.saved.load_full();
            // Saved first: a volume that begins within this append then knows
            // all that the append says, and a replay passes over it.
            self.save();
            let mut records = std::mem::take(&mut self.pending);
            let decided = records.iter().any(decides);
            records.push(self.saved.load().note());
            let journal = self.journal.clone();
            let written = tokio::task::spawn_blocking(move || journal.append(records)).await;
            if !matches!(written, Ok(Ok(_))) {
                self.unsave(before, decided);
            }
            written.map_err(|_| RehearsalError::CutOff)??;
        }
        self.publish();
        Ok(())
    }

    /// Whether any task serves.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.tasks.values().any(|s| matches!(s.ledger.stage(), Stage::Canary { .. } | Stage::Live))
    }

    pub(super) fn publish(&mut self) {
        let tasks: Vec<_> = self
            .tasks
            .iter()
            .filter_map(|(id, state)| state.roster_task(self.book.task(*id)?, &self.settings, &self.cast))
            .collect();
        if tasks != self.roster.tasks {
            self.roster.tasks = tasks;
            self.roster.version += 1;
            (self.outlets.roster)(self.roster.clone());
        }
    }
}
