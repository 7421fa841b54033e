//! Who there is to ask, and when there is someone new.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use understudy_call::{Embedder, Responder, UnderstudyId};
use understudy_policy::TaskId;
use understudy_tasks::Task;

use crate::baseline::Measured;
use crate::client::ChatModel;
use crate::example::Example;
use crate::head::{self, Head, HeadRules, HeadSnapshot, NotFitted, Rehearsed};
use crate::prompted::{PromptRules, Prompted, PromptedSnapshot};
use crate::recall::Recall;
use crate::remote::{Books, DailyMeter, Meter, Remote, RemoteConfig};
use crate::specialised::Specialised;

mod adopt;
mod examples;
mod member;
mod missed;
mod notes;

pub use adopt::{Lesson, Round};
use examples::{embed_missing, in_frame};
pub use member::{CastMember, Kind};
use missed::Missed;

/// The kind of the journal's notes that keep versions. They hold redacted
/// content, and are to be sealed as exchanges are.
pub const NOTE_KIND: &str = "cast-version";

/// How understudies are made.
#[derive(Debug, Clone, Default)]
pub struct CastConfig {
    /// Heads.
    pub head: HeadRules,
    /// Prompted understudies.
    pub prompt: PromptRules,
    /// Servers elsewhere.
    pub remotes: Vec<RemoteConfig>,
    /// Whether the engine is off by configuration: who needs it is kept, and neither made
    /// nor asked.
    pub engine_off: bool,
}

/// A version that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its name.
    pub id: UnderstudyId,
    /// Its examples, each judged by a fit that did not know it; empty for a
    /// kind that is not fitted.
    pub rehearsed: Vec<Rehearsed>,
}

/// What came of a fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The new versions, the cheapest first.
    pub made: Vec<Made>,
    /// Exact repeat and nearest neighbour on the latest examples, where these
    /// could be embedded.
    pub baselines: Option<[Measured; 2]>,
    /// The engine was away, so that nothing was made that needs it: the fit is still
    /// owed, and [`Cast::rests`] for a while.
    pub engine_away: bool,
}

/// Everyone there is to ask. Cheap to read from many threads.
pub struct Cast {
    config: CastConfig,
    embedder: Option<Arc<dyn Embedder>>,
    model: Option<Arc<dyn ChatModel>>,
    meters: BTreeMap<String, Arc<dyn Meter>>,
    members: RwLock<BTreeMap<UnderstudyId, Arc<Member>>>,
    missed: Missed,
}

struct Member {
    shown: CastMember,
    responder: Arc<dyn Responder>,
    keeps: Keeps,
}

/// What of a member a restart needs.
enum Keeps {
    Head(Arc<Head>),
    Prompted(Arc<Prompted>),
    Specialised(Arc<Specialised>),
    Remote(String),
    Nothing,
}

impl fmt::Debug for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cast").field("members", &self.all().len()).finish_non_exhaustive()
    }
}

impl Cast {
    /// A cast without members. Without an embedder there are only remotes,
    /// without a model no prompted ones. `books` are those of the remotes' budgets;
    /// a function that numbers the days will do.
    pub fn new(
        config: CastConfig,
        embedder: Option<Arc<dyn Embedder>>,
        model: Option<Arc<dyn ChatModel>>,
        books: impl Books + 'static,
    ) -> Self {
        let books: Arc<dyn Books> = Arc::new(books);
        let meter = |r: &RemoteConfig| {
            Arc::new(DailyMeter::new(&r.name, r.budget, Arc::clone(&books))) as Arc<dyn Meter>
        };
        Self {
            meters: config.remotes.iter().map(|r| (r.name.clone(), meter(r))).collect(),
            embedder: embedder.map(|e| Arc::new(Recall::new(e)) as Arc<dyn Embedder>),
            model,
            config,
            members: RwLock::default(),
            missed: Missed::default(),
        }
    }

    /// An understudy by its name.
    #[must_use]
    pub fn find(&self, id: &UnderstudyId) -> Option<Arc<dyn Responder>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).get(id).map(|m| Arc::clone(&m.responder))
    }

    /// A task's understudies, the cheapest first, of one kind the newest first.
    #[must_use]
    pub fn of_task(&self, task: TaskId) -> Vec<CastMember> {
        let mut of: Vec<CastMember> = self.all().into_iter().filter(|m| m.task == task).collect();
        of.sort_by(|a, b| (a.cost_rank, b.born_seq, &a.id).cmp(&(b.cost_rank, a.born_seq, &b.id)));
        of
    }

    /// Whether the engine is off by configuration: nothing that needs it is worth a try.
    #[must_use]
    pub fn engine_is_off(&self) -> bool {
        self.config.engine_off
    }

    /// Whether an understudy may be asked: while the engine is off, remotes only. What the
    /// others have earned stands.
    #[must_use]
    pub fn may_ask(&self, id: &UnderstudyId) -> bool {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        !self.engine_is_off() || members.get(id).is_none_or(|m| m.shown.kind == Kind::Remote)
    }

    /// Everyone.
    #[must_use]
    pub fn all(&self) -> Vec<CastMember> {
        self.members
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(|m| m.shown.clone())
            .collect()
    }

    /// Takes in an understudy that was made elsewhere.
    pub fn publish(
        &self,
        task: TaskId,
        kind: Kind,
        responder: Arc<dyn Responder>,
        born_seq: u64,
        version_note: &str,
    ) -> UnderstudyId {
        self.take(task, kind, responder, born_seq, version_note.to_owned(), Keeps::Nothing)
    }

    /// Lets an understudy go, with all it remembers; false if there is none.
    pub fn retire(&self, id: &UnderstudyId) -> bool {
        self.members.write().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }

    /// The cast's embedder, which remembers its latest vectors; what is embedded of an
    /// example is [`Example::seen`].
    #[must_use]
    pub fn embedder(&self) -> Option<&Arc<dyn Embedder>> {
        self.embedder.as_ref()
    }

    /// Makes the task's new versions out of `examples` up to `born_seq`,
    /// publishes them and returns their names. A kind that cannot be made now
    /// (replies not few, engine away or off) is left out. The fit runs on a blocking
    /// thread; embeddings are asked for as shadow work.
    ///
    /// A prompted version costs seconds a trial: while the newest is `undecided`
    /// no other takes its place, or none would ever have enough of them.
    pub async fn rehearse_fit(
        &self,
        task: &Task,
        examples: &[Example],
        born_seq: u64,
        undecided: &(dyn Fn(&UnderstudyId) -> bool + Sync),
    ) -> Fit {
        let prompted = self.of_task(task.id).into_iter().find(|m| m.kind == Kind::Prompted);
        let waits = prompted.is_some_and(|m| undecided(&m.id));
        let made = |id| Made { id, rehearsed: Vec::new() };
        let mut all: Vec<Made> = self.remotes(task, born_seq).into_iter().map(made).collect();
        let only = |made| Fit { made, baselines: None, engine_away: false };
        let away = |made| {
            self.missed.add(task.id, born_seq);
            Fit { made, baselines: None, engine_away: true }
        };
        if self.engine_is_off() {
            return only(all);
        }
        let of_task = |e: &&Example| e.seq <= born_seq && task.credential.is_none_or(|c| c == e.credential);
        let (mut own, frame) = in_frame(examples.iter().filter(of_task), task.framing.frame());
        let Some(embedder) = self.embedder.as_ref().filter(|_| !own.is_empty()) else {
            return only(all);
        };
        if let Err(e) = embed_missing(embedder.as_ref(), &mut own).await {
            tracing::warn!(task = %task.id, error = %e, "no new understudies: the examples could not be embedded");
            return away(all);
        }
        let embeds = embedder.id();
        if embeds.is_empty() {
            tracing::warn!(task = %task.id, "no new understudies: the engine was lost while it embedded");
            return away(all);
        }
        self.missed.forget(task.id);
        if let Some(model) = self.model.as_ref().filter(|_| !waits)
            && let Some(name) = model.model().await
        {
            let rules = &self.config.prompt;
            let snapshot = PromptedSnapshot::new(
                task.id,
                task.credential,
                (&task.form, frame),
                (&name, &embeds),
                &own,
                born_seq,
                rules,
            );
            all.extend(snapshot.and_then(|s| self.take_prompted(s)).map(made));
        }
        let (id, credential, rules) = (task.id, task.credential, self.config.head.clone());
        let frame = frame.cloned();
        let fitted = tokio::task::spawn_blocking(move || {
            let head = head::fit(id, credential, &embeds, &own, born_seq, &rules).map(|head| {
                // Without a second opinion on its examples a head still earns one by trials.
                let rehearsed = head::rehearse(&head, &own, &rules);
                (head.within(frame.as_ref()), rehearsed.unwrap_or_default())
            });
            (head, crate::baseline::measure(&own))
        });
        let (fitted, baselines) = match fitted.await {
            Ok((fitted, baselines)) => (Ok(fitted), Some(baselines)),
            Err(cut) => (Err(cut), None),
        };
        match fitted {
            Ok(Ok((snapshot, rehearsed))) => {
                all.extend(self.take_head(snapshot).map(|id| Made { id, rehearsed }));
            }
            Ok(Err(why @ NotFitted::NotFew { .. })) => tracing::debug!(task = %id, %why, "no head"),
            Ok(Err(why)) => tracing::warn!(task = %id, %why, "no head"),
            Err(_) => tracing::error!(task = %id, "the fit of a head was cut off"),
        }
        all.sort_by_key(|m| self.rank(&m.id));
        Fit { made: all, baselines, engine_away: false }
    }

    /// Whether the engine was away for the task's last fit, and it is too early in the
    /// journal for another: the pause grows with each.
    #[must_use]
    pub fn rests(&self, task: TaskId, seq: u64) -> bool {
        self.missed.rests(task, seq)
    }

    fn remotes(&self, task: &Task, born_seq: u64) -> Vec<UnderstudyId> {
        self.config.remotes.iter().filter_map(|r| self.take_remote(task.id, r, born_seq)).collect()
    }

    fn take_head(&self, snapshot: HeadSnapshot) -> Option<UnderstudyId> {
        let (task, born) = (snapshot.task, snapshot.born_seq);
        let note = format!("{} replies, {} exchanges", snapshot.labels.len(), snapshot.exchanges());
        let head = Arc::new(Head::new(snapshot, Arc::clone(self.embedder.as_ref()?))?);
        let responder: Arc<dyn Responder> = Arc::<Head>::clone(&head);
        Some(self.take(task, Kind::Head, responder, born, note, Keeps::Head(head)))
    }

    fn take_prompted(&self, snapshot: PromptedSnapshot) -> Option<UnderstudyId> {
        let (task, born) = (snapshot.task, snapshot.born_seq);
        let note = format!(
            "{} with {} nearest of {} exchanges",
            snapshot.model,
            snapshot.rules.k,
            snapshot.shown.len()
        );
        let (embedder, model) = (Arc::clone(self.embedder.as_ref()?), Arc::clone(self.model.as_ref()?));
        let prompted = Arc::new(Prompted::new(snapshot, embedder, model)?);
        let responder: Arc<dyn Responder> = Arc::<Prompted>::clone(&prompted);
        Some(self.take(task, Kind::Prompted, responder, born, note, Keeps::Prompted(prompted)))
    }

    /// A remote learns nothing, so it has one version, born at the first fit.
    fn take_remote(&self, task: TaskId, config: &RemoteConfig, born_seq: u64) -> Option<UnderstudyId> {
        let is_it = |m: &CastMember| m.kind == Kind::Remote && m.version_note == remote_note(config);
        if self.of_task(task).iter().any(is_it) {
            return None;
        }
        let meter = Arc::clone(self.meters.get(&config.name)?);
        let remote = match Remote::new(task, config.clone(), meter) {
            Ok(remote) => Arc::new(remote),
            Err(e) => {
                tracing::warn!(%task, error = %e, "remote left out");
                return None;
            }
        };
        let note = remote_note(config);
        Some(self.take(task, Kind::Remote, remote, born_seq, note, Keeps::Remote(config.name.clone())))
    }

    /// Takes a member in; one that is there already stays as it is.
    fn take(
        &self,
        task: TaskId,
        kind: Kind,
        responder: Arc<dyn Responder>,
        born_seq: u64,
        version_note: String,
        keeps: Keeps,
    ) -> UnderstudyId {
        let id = responder.id().clone();
        let shown =
            CastMember { id: id.clone(), task, kind, cost_rank: kind.cost_rank(), version_note, born_seq };
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.entry(id.clone()).or_insert_with(|| Arc::new(Member { shown, responder, keeps }));
        id
    }

    fn rank(&self, id: &UnderstudyId) -> u8 {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.get(id).map_or(u8::MAX, |m| m.shown.cost_rank)
    }
}

fn remote_note(config: &RemoteConfig) -> String {
    format!("{} at {}", config.model, config.name)
}

/// Whether new versions are due: a task's exchanges went from `before` to `now`,
/// and versions are made at `first`·2^i of them.
#[must_use]
pub fn is_due(first: u64, before: u64, now: u64) -> bool {
    let mut at = first.max(1);
    while at <= before {
        match at.checked_mul(2) {
            Some(next) => at = next,
            None => return false,
        }
    }
    at <= now
}

#[cfg(test)]
mod tests;
