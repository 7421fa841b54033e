//! What the injector tells, and what of it can be followed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use understudy_call::UnderstudyId;
use understudy_policy::TaskPolicy;
use understudy_rehearsal::Amendment;

use crate::failure::Failure;
use crate::state;

/// Everything that holds for this pod. The later policies win.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    /// Differs where anything differs.
    pub(crate) version: String,
    pub(crate) policies: Vec<Told>,
}

/// One policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    /// `namespace/name`.
    pub(crate) name: String,
    /// The task, by name or id; all of them without it.
    pub(crate) task: Option<String>,
    /// Keys of `[policy]`.
    pub(crate) policy: Map<String, Value>,
    /// The stage that tasks are kept at.
    pub(crate) stage: Option<Pinned>,
}

/// A stage that tasks can be kept at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pinned {
    Shadowing,
    Live,
}

impl Document {
    /// What is laid over the configuration's rules: the policies that can be followed.
    pub(crate) fn amendments(&self) -> Vec<Amendment> {
        let can = |told: &&Told| told.problem().is_none() && !told.policy.is_empty();
        let amendment = |told: &Told| Amendment { task: told.task.clone(), keys: told.policy.clone() };
        self.policies.iter().filter(can).map(amendment).collect()
    }

    /// The others, with what is wrong.
    pub(crate) fn refused(&self) -> BTreeMap<String, String> {
        self.policies.iter().filter_map(|told| Some((told.name.clone(), told.problem()?))).collect()
    }

    /// The policy that keeps a task where it is, by id and name.
    pub(crate) fn pin_of(&self, id: &str, name: &str) -> Option<(&str, Pinned)> {
        let mut of_task = self.policies.iter().rev().filter(|told| told.is_for(id, name));
        let last = of_task.find_map(|told| Some((told, told.stage?)));
        last.map(|(told, stage)| (told.name.as_str(), stage))
    }

    /// Whether a task must not serve.
    pub(crate) fn holds_back(&self, id: &str, name: &str) -> bool {
        self.pin_of(id, name).is_some_and(|(_, stage)| stage == Pinned::Shadowing)
    }

    /// Whether a policy is for a task by its id or name.
    pub(crate) fn names(&self, id: &str, name: &str) -> bool {
        self.policies.iter().any(|told| told.task.is_some() && told.is_for(id, name))
    }

    /// Whether an understudy may answer a task, as far as a policy says who may.
    pub(crate) fn permits(&self, id: &str, name: &str, understudy: &UnderstudyId) -> bool {
        let mut of_task = self.policies.iter().rev().filter(|told| told.is_for(id, name));
        of_task.find_map(Told::who_may_answer).is_none_or(|rules| rules.permits(understudy))
    }
}

impl Told {
    fn is_for(&self, id: &str, name: &str) -> bool {
        self.task.as_ref().is_none_or(|t| t == id || t == name)
    }

    /// Its rules over the defaults.
    ///
    /// # Errors
    /// Why it cannot be followed.
    fn rules(&self) -> Result<TaskPolicy, String> {
        let amendment = Amendment { task: None, keys: self.policy.clone() };
        let rules = amendment.lay(&TaskPolicy::default()).map_err(|e| e.to_string())?;
        match rules.validate().first() {
            None => Ok(rules),
            Some((key, problem)) => Err(format!("{key}: {problem}")),
        }
    }

    /// Why it cannot be followed.
    fn problem(&self) -> Option<String> {
        self.rules().err()
    }

    /// Its rules, where it says who may answer and can be followed.
    fn who_may_answer(&self) -> Option<TaskPolicy> {
        self.policy.contains_key("models").then(|| self.rules().ok()).flatten()
    }
}

/// A document in the state folder, and when it was last confirmed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Unix seconds.
    pub(crate) heard_at: u64,
    pub(crate) document: Document,
}

impl Kept {
    /// `None` where there is none, or none that can be read: it is asked for anew.
    pub(crate) fn read(file: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    }

    /// Whole or not at all.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write(&self, file: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec(self).map_err(|e| Failure::Failed(e.to_string()))?;
        state::write_private(file, &text)
    }

    pub(crate) fn is_older(&self, age: Duration, now: u64) -> bool {
        now.saturating_sub(self.heard_at) > age.as_secs()
    }
}
