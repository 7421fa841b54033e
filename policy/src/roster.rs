//! The roster: what the gateway is told of the tasks that serve.

use serde::{Deserialize, Serialize};
use understudy_call::{ConversationKey, Credential, FormHash, UnderstudyId};

use crate::{Stage, TaskId};

/// One task as the gateway sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RosterTask {
    /// The task.
    pub task: TaskId,
    /// Its human name.
    pub name: String,
    /// Its form.
    pub form: FormHash,
    /// Whose it is; `None` for a shared task.
    pub credential: Option<Credential>,
    /// Its stage.
    pub stage: Stage,
    /// Share of conversations that the understudy answers: the canary step, or 1.
    pub share: f64,
    /// Share of served calls that the provider answers too.
    pub audit: f64,
    /// Share of conversations that stay with the provider for good.
    pub control: f64,
    /// Milliseconds an understudy has: the provider's p50, or what the user set.
    pub budget_ms: f64,
    /// Who may answer, cheapest first.
    pub entries: Vec<RosterEntry>,
    /// Who is tried in their place, on some conversations.
    #[serde(default)]
    pub successor: Option<Successor>,
    /// The models, by their names in the requests, as which the provider answered this task;
    /// empty where that is not known.
    #[serde(default)]
    pub models: Vec<String>,
}

impl RosterTask {
    /// Whether the provider answered the task as this model. Another one it may refuse to
    /// this caller, and nobody was measured against it. Where no model is known, as after a
    /// state of an earlier version, any will do: the evidence stands.
    #[must_use]
    pub fn answered_as(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|known| known == model)
    }

    /// Who may answer in a conversation. Which of the two it is depends on the
    /// conversation alone, so that it stays with one of them.
    #[must_use]
    pub fn entries_for(&self, conversation: ConversationKey) -> &[RosterEntry] {
        match self.successor_for(conversation) {
            Some(successor) => std::slice::from_ref(&successor.entry),
            None => &self.entries,
        }
    }

    /// The successor, in a conversation that is its own.
    pub(crate) fn successor_for(&self, conversation: ConversationKey) -> Option<&Successor> {
        self.successor.as_ref().filter(|s| crate::lane::canary_drawn(conversation, s.share))
    }
}

/// An entry that goes through its canary while another one is live. Every call
/// that it serves is audited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Successor {
    /// Share of conversations that it answers.
    pub share: f64,
    /// The entry.
    pub entry: RosterEntry,
}

/// One understudy's right to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// The entry.
    pub k: u32,
    /// Who.
    pub understudy: UnderstudyId,
    /// From which confidence on.
    pub bar: f64,
    /// The strata that are allowed; any other is `rare` or `weak`.
    pub strata: Vec<String>,
    /// Of those not allowed, the ones that were seen often enough and agree too seldom.
    pub weak: Vec<String>,
}

/// Which task is at which stage: read by the gateway at every call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    /// Grows with each change.
    pub version: u64,
    /// The kill switch: everything goes to the provider.
    pub stopped: bool,
    /// Every task that serves (canary or live).
    pub tasks: Vec<RosterTask>,
}

impl Roster {
    /// Whether a call made with this credential could be one of a task that serves.
    #[must_use]
    pub fn serves(&self, credential: Credential) -> bool {
        !self.stopped && self.tasks.iter().any(|t| t.credential.is_none_or(|whose| whose == credential))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(credential: Option<Credential>) -> RosterTask {
        RosterTask {
            task: TaskId(1),
            name: "route".into(),
            form: FormHash([0; 16]),
            credential,
            stage: Stage::Live,
            share: 1.0,
            audit: 0.0,
            control: 0.0,
            budget_ms: 500.0,
            entries: Vec::new(),
            successor: None,
            models: Vec::new(),
        }
    }

    #[test]
    fn a_task_is_answered_as_the_models_that_are_known_or_as_any_where_none_is() {
        let of = |models: &[&str]| RosterTask {
            models: models.iter().map(|m| (*m).to_owned()).collect(),
            ..task(None)
        };
        let two = of(&["gpt-4o", "gpt-4o-mini"]);
        assert!(two.answered_as("gpt-4o") && two.answered_as("gpt-4o-mini") && !two.answered_as("gpt-4"));
        assert!(of(&[]).answered_as("gpt-4"));
    }

    #[test]
    fn a_roster_serves_those_whose_tasks_it_has_and_everyone_where_one_is_shared() {
        let (one, other) = (Credential([1; 16]), Credential([2; 16]));
        assert!(!Roster::default().serves(one));
        let own = Roster { tasks: vec![task(Some(one))], ..Roster::default() };
        assert!(own.serves(one) && !own.serves(other));
        let shared = Roster { tasks: vec![task(Some(one)), task(None)], ..Roster::default() };
        assert!(shared.serves(one) && shared.serves(other));
        let stopped = Roster { stopped: true, ..shared };
        assert!(!stopped.serves(one) && !stopped.serves(other));
    }
}
