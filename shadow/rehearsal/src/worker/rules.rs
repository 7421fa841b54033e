//! The rules that a task is under: its own where the configuration has some,
//! else everybody's.
//!
//! Which they are is an event of the task, so that a replay judges each call by
//! the rules of its day, whatever the configuration says now.

use serde_json::{Map, Value};
use understudy_policy::{Event, Ledger, TaskId, TaskPolicy};
use understudy_tasks::Task;

use super::state::TaskState;
use super::{Rehearsal, RehearsalError, Settings};

/// Keys of judgement that are laid over the configuration's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Amendment {
    /// The task, by its id or its name; all of them without it.
    pub task: Option<String>,
    /// Keys of [`TaskPolicy`].
    pub keys: Map<String, Value>,
}

impl Amendment {
    /// `base` with these keys instead of its own.
    ///
    /// # Errors
    /// A key that there is not, or a value of another kind.
    pub fn lay(&self, base: &TaskPolicy) -> Result<TaskPolicy, serde_json::Error> {
        let mut all = serde_json::to_value(base)?;
        if let Value::Object(all) = &mut all {
            all.extend(self.keys.clone());
        }
        serde_json::from_value(all)
    }

    fn is_for(&self, task: &Task) -> bool {
        self.task.as_ref().is_none_or(|which| *which == task.name || *which == task.id.to_string())
    }
}

impl Settings {
    fn rules_of(&self, task: &Task) -> TaskPolicy {
        let of = |name: &str| self.overrides.get(name);
        let own = of(&task.id.to_string()).or_else(|| of(&task.name)).or_else(|| of(&alike(&task.name)));
        let mut rules = own.unwrap_or(&self.policy).clone();
        for amendment in self.amendments.iter().filter(|a| a.is_for(task)) {
            match amendment.lay(&rules) {
                Ok(amended) => rules = amended,
                Err(error) => tracing::warn!(%error, "keys that cannot be laid over the rules"),
            }
        }
        rules
    }
}

/// A name as the configuration has it where it comes out of a variable: neither `-` nor
/// `.` nor a space can be in one, and it has no case.
#[must_use]
pub fn alike(name: &str) -> String {
    name.to_lowercase().replace(['-', '.', ' '], "_")
}

impl Rehearsal {
    /// A task's rules, with all that is laid over them.
    fn rules(&self, id: TaskId) -> TaskPolicy {
        self.book.task(id).map_or_else(|| self.settings.policy.clone(), |t| self.settings.rules_of(t))
    }

    /// A task's state.
    pub(super) fn meet(&mut self, id: TaskId) {
        if !self.tasks.contains_key(&id) {
            let rules = self.rules(id);
            self.tasks.insert(id, TaskState::new(Ledger::new(id, rules)));
        }
    }

    /// The same for a call of the present, whose rules are noted. Where its `opening`
    /// turns made it a task, the one that its agent's calls were of until now stays
    /// behind with what people gave it.
    pub(super) fn meet_now(&mut self, id: TaskId, seq: u64, opening: u16) {
        if !self.tasks.contains_key(&id) {
            if let Some(task) = self.book.task(id).filter(|_| opening > 0) {
                tracing::info!(
                    task = task.name,
                    opening,
                    "calls that begin with the same turns are a task of their own; the name, rules and pin of \
                     the task that they were of before are not its"
                );
            }
            self.meet(id);
            let policy = Box::new(self.rules(id));
            self.fold(id, vec![Event::Policy { policy, seq, afterwards: false }]);
        }
    }

    /// Lays other keys over the configuration's rules, instead of those before; they
    /// hold from the next call on.
    ///
    /// # Errors
    /// The journal failed.
    pub async fn amend(&mut self, amendments: Vec<Amendment>) -> Result<(), RehearsalError> {
        self.settings.amendments = amendments;
        self.bring_up_to_date();
        self.flush().await
    }

    /// Brings tasks under the rules that the configuration has now, from the next
    /// call on.
    pub(super) fn bring_up_to_date(&mut self) {
        let seq = self.folded;
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in ids {
            let rules = self.rules(id);
            if self.tasks.get(&id).is_some_and(|s| *s.ledger.policy() != rules) {
                tracing::info!(task = %id, "the task's rules have changed");
                self.fold(id, vec![Event::Policy { policy: Box::new(rules), seq, afterwards: true }]);
            }
        }
    }

    /// Lets go of tasks that lost their place in the book.
    pub(super) fn forget_with_the_book(&mut self) {
        let forgotten = self.book.take_forgotten();
        if !forgotten.is_empty() && !std::mem::replace(&mut self.told_full, true) {
            tracing::warn!(
                "more forms than can be tasks: a system text that is new with every call (a name, a number) makes \
                 each call a task of its own; those with the fewest calls are forgotten"
            );
        }
        for id in forgotten {
            self.tasks.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use understudy_call::{Dialect, Request};
    use understudy_tasks::Form;

    use super::*;

    #[test]
    fn a_name_out_of_a_variable_means_the_task_whose_hyphens_it_has_lost() {
        let named = |name: &str| Task {
            id: TaskId(7),
            form: Form::of(Dialect::OpenaiChat, &Request::default()),
            credential: None,
            name: name.to_owned(),
            model: "m".to_owned(),
            provider: "openai".to_owned(),
            calls: 0,
            acts: false,
            framing: Default::default(),
        };
        let rules = |tau| TaskPolicy { tau, ..TaskPolicy::default() };
        let overrides = [("look_up", rules(0.8)), ("find-table", rules(0.7)), ("find_table", rules(0.6))];
        let settings = Settings {
            policy: rules(0.9),
            overrides: overrides.map(|(name, own)| (name.to_owned(), own)).into(),
            ..Settings::default()
        };
        let tau = |name: &str| settings.rules_of(&named(name)).tau;
        for name in ["look-up", "look up", "Look.Up", "look_up"] {
            assert_eq!(tau(name), 0.8, "{name}");
        }
        // A whole name comes first.
        assert_eq!((tau("find-table"), tau("find_table")), (0.7, 0.6));
        assert_eq!(tau("lookup"), 0.9);
    }
}
