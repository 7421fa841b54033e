//! The tasks that were seen, with their names.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use understudy_call::{Credential, Exchange, FormHash, Tool};
use understudy_policy::TaskId;

use crate::effect::{Effect, reads_or_acts};
use crate::form::{Form, slug};
use crate::frame::Framing;
use crate::keys::task_id;

/// Most tasks at once: an agent that writes a new system text for every call
/// would otherwise fill the memory. Beyond it a new one takes the place of the
/// one with the fewest calls.
const MOST_TASKS: usize = 4096;

/// Calls from which on a task keeps its place, and its frame is looked for. One with fewer
/// has no evidence yet.
const ESTABLISHED: u64 = 10;

/// The name of a task of which nothing says what it is.
const UNTITLED: &str = "untitled";

/// A cluster of calls that share their form and purpose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its name for machines.
    pub id: TaskId,
    /// What its calls have in common.
    pub form: Form,
    /// Whose it is; `None` for a shared task.
    pub credential: Option<Credential>,
    /// Its name for people.
    pub name: String,
    /// The model that its calls ask for, as last seen.
    pub model: String,
    /// The provider that its calls go to, as last seen.
    pub provider: String,
    /// Calls seen.
    pub calls: u64,
    /// A reply was seen to call, or may call, a tool that acts.
    pub acts: bool,
    /// What the first user messages of its calls have in common.
    #[serde(default)]
    pub framing: Framing,
}

/// Which forms are one task whoever calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sharing {
    /// These; none by default.
    Forms(BTreeSet<FormHash>),
    /// All: every caller of the proxy is trusted with what the others sent.
    All,
}

impl Default for Sharing {
    fn default() -> Self {
        Self::Forms(BTreeSet::new())
    }
}

impl Sharing {
    fn holds(&self, form: FormHash) -> bool {
        match self {
            Self::Forms(forms) => forms.contains(&form),
            Self::All => true,
        }
    }
}

/// The tasks that were seen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TaskBook {
    tasks: HashMap<TaskId, Task>,
    /// Forms whose calls are one task whoever calls. The operator's word of today,
    /// as `declared` is: a book that was kept does not speak for it.
    #[serde(skip)]
    shared: Sharing,
    /// Names that people gave.
    names: HashMap<TaskId, String>,
    /// Tools that the operator declared, by name: `true` acts.
    #[serde(skip)]
    declared: HashMap<String, bool>,
    /// Tasks that lost their place, until someone asks.
    #[serde(skip)]
    forgotten: Vec<TaskId>,
}

impl TaskBook {
    /// Declares tools as reading or acting, against the guess.
    pub fn declare_tools(&mut self, tools: impl IntoIterator<Item = (String, Effect)>) {
        self.declared.extend(tools.into_iter().map(|(name, e)| (name, e == Effect::Acts)));
    }

    /// Says which forms are one task whoever calls.
    pub fn share(&mut self, sharing: Sharing) {
        self.shared = sharing;
    }

    /// Goes on from a book that was kept, without the tasks whose forms are shared
    /// now and were not, or the other way round.
    pub fn take_up(&mut self, kept: Self) {
        let same = |t: &Task| t.credential.is_none() == self.shared.holds(t.form.hash);
        let today = |t: Task| Task { acts: self.acts(&t.form), ..t };
        let tasks = kept.tasks.into_iter().filter(|(_, t)| same(t));
        self.tasks = tasks.map(|(id, t)| (id, today(t))).collect();
        self.names = kept.names;
    }

    /// The task of a captured call, met for the first time if need be. `None`
    /// where the call was not decoded, or the book is full of established tasks.
    pub fn assign(&mut self, exchange: &Exchange) -> Option<TaskId> {
        let request = exchange.request.as_ref()?;
        let form = exchange.meta.form?;
        let owner = self.owner(form, exchange);
        let id = task_id(form, owner);
        if !self.tasks.contains_key(&id) {
            if self.tasks.len() >= MOST_TASKS {
                self.forget_one()?;
            }
            let task = self.meet(id, Form { hash: form, ..Form::of(exchange.meta.dialect, request) }, owner);
            self.tasks.insert(id, task);
        }
        let task = self.tasks.get_mut(&id)?;
        task.calls += 1;
        let framed = task.calls > ESTABLISHED && task.framing.meet(request, exchange.meta.opening);
        if task.model != request.model {
            task.model.clone_from(&request.model);
        }
        if task.provider != exchange.meta.provider {
            task.provider.clone_from(&exchange.meta.provider);
        }
        if framed {
            self.name_by_frame(id);
        }
        Some(id)
    }

    /// Makes room; `None` where every task is established or has a person's name.
    fn forget_one(&mut self) -> Option<()> {
        let passing =
            self.tasks.values().filter(|t| t.calls < ESTABLISHED && !self.names.contains_key(&t.id));
        let id = passing.min_by_key(|t| (t.calls, t.id)).map(|t| t.id)?;
        self.tasks.remove(&id);
        self.forgotten.push(id);
        Some(())
    }

    /// The tasks that lost their place since this was last asked.
    pub fn take_forgotten(&mut self) -> Vec<TaskId> {
        std::mem::take(&mut self.forgotten)
    }

    /// The task that a captured call would be assigned to.
    #[must_use]
    pub fn id_of(&self, exchange: &Exchange) -> Option<TaskId> {
        exchange.request.as_ref()?;
        let form = exchange.meta.form?;
        Some(task_id(form, self.owner(form, exchange)))
    }

    fn owner(&self, form: FormHash, exchange: &Exchange) -> Option<Credential> {
        (!self.shared.holds(form)).then_some(exchange.meta.credential)
    }

    fn meet(&self, id: TaskId, form: Form, credential: Option<Credential>) -> Task {
        let name = self.free_name(form.suggested_name().as_deref().unwrap_or(UNTITLED));
        Task {
            id,
            acts: self.acts(&form),
            form,
            credential,
            name: self.names.get(&id).cloned().unwrap_or(name),
            model: String::new(),
            provider: String::new(),
            calls: 0,
            framing: Framing::default(),
        }
    }

    /// Names a task of which nothing else says what it is: what its messages begin with does.
    fn name_by_frame(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let is_named = self.names.contains_key(&id)
            || task.form.suggested_name().is_some()
            || !task.name.starts_with(UNTITLED);
        let words = task.framing.frame().map(|frame| slug(&frame.text()));
        let Some(words) = words.filter(|words| !is_named && !words.is_empty()) else { return };
        let name = self.free_name(&words);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.name = name;
        }
    }

    /// This name, or with a number that nothing else has.
    fn free_name(&self, suggested: &str) -> String {
        let taken: HashSet<&str> = self.tasks.values().map(|t| t.name.as_str()).collect();
        let mut name = suggested.to_owned();
        let mut n = 2;
        while taken.contains(name.as_str()) {
            name = format!("{suggested}-{n}");
            n += 1;
        }
        name
    }

    /// Whether a form offers a tool that acts.
    fn acts(&self, form: &Form) -> bool {
        form.tools.iter().any(|tool| self.effect(tool) == Effect::Acts)
    }

    /// What a tool does: by the operator's word where there is one, else by the guess.
    #[must_use]
    pub fn effect(&self, tool: &Tool) -> Effect {
        match self.declared.get(&tool.name) {
            Some(true) => Effect::Acts,
            Some(false) => Effect::Reads,
            None => reads_or_acts(tool),
        }
    }

    /// A task by its id.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    /// A task by its name, its id, or an unambiguous beginning of its id.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Task> {
        self.tasks.values().find(|t| t.name == name).or_else(|| {
            let mut hits = self.tasks.values().filter(|t| t.id.to_string().starts_with(name));
            let first = hits.next()?;
            hits.next().is_none().then_some(first)
        })
    }

    /// All tasks, most calls first.
    #[must_use]
    pub fn tasks(&self) -> Vec<&Task> {
        let mut all: Vec<&Task> = self.tasks.values().collect();
        all.sort_by(|a, b| b.calls.cmp(&a.calls).then(a.id.cmp(&b.id)));
        all
    }

    /// Gives a task a name; `false` when another task has it, or there is no such task.
    pub fn rename(&mut self, id: TaskId, name: &str) -> bool {
        if self.tasks.values().any(|t| t.name == name && t.id != id) {
            return false;
        }
        let Some(task) = self.tasks.get_mut(&id) else {
            return false;
        };
        name.clone_into(&mut task.name);
        self.names.insert(id, name.to_owned());
        true
    }
}
