//! Exchanges become examples, examples become versions, versions entries.

use serde_json::json;
use tracing::Instrument;
use understudy_call::UnderstudyId;
use understudy_capture::Record;
use understudy_cast::Example;
use understudy_cast::registry::{Fit, NOTE_KIND};
use understudy_policy::{Event, TaskId};
use understudy_tasks::Task;

use super::{Happened, Rehearsal, trials};

impl Rehearsal {
    pub(super) fn propose(&mut self, id: TaskId) {
        for member in self.cast.of_task(id) {
            let ledger = self.tasks.get(&id).map(|s| &s.ledger);
            let proposed =
                ledger.filter(|l| l.is_proposal_due(&member.id)).and_then(|l| l.propose_entry(&member.id));
            if let Some(mut opened) = proposed {
                opened.cost_rank = member.cost_rank;
                self.fold(id, vec![Event::EntryOpened(opened)]);
            }
        }
    }

    /// The exchange becomes an example; at each doubling new versions are made. Those
    /// that the engine was away for stay owed, and are tried again after a rest.
    pub(super) async fn learn(&mut self, task: &Task, seq: u64, example: Example) {
        let Some(state) = self.tasks.get_mut(&task.id) else {
            return;
        };
        let before = state.learnt;
        state.learn(example, self.settings.examples);
        state.owed |= state.became_due(before);
        if !state.owed || self.cast.rests(task.id, seq) {
            return;
        }
        let examples: Vec<Example> = state.examples.iter().cloned().collect();
        let (ledger, learnt) = (&state.ledger, state.learnt);
        let undecided = |id: &UnderstudyId| ledger.is_undecided(id);
        let span = tracing::info_span!("fit versions", task = %task.id, examples = examples.len());
        let fit = self.cast.rehearse_fit(task, &examples, seq, &undecided).instrument(span);
        let Fit { made, baselines, engine_away } = fit.await;
        if let Some(state) = self.tasks.get_mut(&task.id) {
            state.owed = engine_away;
            if let Some(measured) = baselines {
                state.tally.baselines = baselines;
                let json = json!({"task": task.id, "measured": measured, "learnt": learnt});
                self.pending.push(Record::Note { kind: "baselines".to_owned(), json });
            }
        }
        for one in &made {
            if let Some(note) = self.cast.to_note(&one.id) {
                self.pending.push(Record::Note { kind: NOTE_KIND.to_owned(), json: note });
            }
            if let Some(fitted) = trials::fitted(one, seq) {
                self.fold(task.id, vec![Event::Fitted(fitted)]);
            }
        }
        if !made.is_empty() {
            (self.outlets.told)(Happened::Made(made.into_iter().map(|m| m.id).collect()));
            self.propose(task.id);
        }
    }
}
