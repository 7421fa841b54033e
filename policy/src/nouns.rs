//! The nouns of judgement.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use understudy_call::{ConversationKey, Declined, ExchangeId, UnderstudyId};

/// Names a task: a hash over its form and its credential (or the word that it is shared).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

impl FromStr for TaskId {
    type Err = std::num::ParseIntError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(s, 16).map(Self)
    }
}

impl TryFrom<String> for TaskId {
    type Error = std::num::ParseIntError;
    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Calls are counted; nobody rehearses yet.
    Observing,
    /// Understudies answer captured calls; the agent never sees it.
    Shadowing,
    /// A share of conversations is answered by the understudy, each call audited.
    /// `step` is the index into [`crate::TaskPolicy::steps`].
    Canary {
        /// Index into the steps.
        step: u8,
    },
    /// The understudy answers what it takes; a share is audited.
    Live,
}

impl Stage {
    /// The name used in records, tables and labels.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Observing => "observing",
            Self::Shadowing => "shadowing",
            Self::Canary { .. } => "canary",
            Self::Live => "live",
        }
    }
}

/// One judged (or declined) answer of one understudy to one captured call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The task.
    pub task: TaskId,
    /// Who answered.
    pub understudy: UnderstudyId,
    /// The captured call.
    pub exchange: ExchangeId,
    /// The captured call's place in the journal: order and cooldowns count by it.
    pub seq: u64,
    /// The call's conversation.
    pub conversation: ConversationKey,
    /// In the shadows, or served and examined.
    pub kind: TrialKind,
    /// How it went.
    pub outcome: Outcome,
    /// Milliseconds the understudy took.
    pub spent_ms: f64,
    /// Milliseconds the provider took for the same call; `None` where the record does not say.
    pub provider_ms: Option<f64>,
}

/// Where a trial comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialKind {
    /// On a call that the provider answered.
    Shadow,
    /// On a call that the understudy answered live, and the provider too.
    Audit,
}

/// How a trial went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The understudy answered.
    Answered {
        /// How far the replies agree, 0 to 1.
        score: f64,
        /// Whether the score reaches the pass mark.
        agrees: bool,
        /// How sure the understudy was.
        confidence: f64,
        /// The tool or label that it chose.
        stratum: String,
    },
    /// The understudy declined, whatever the bar.
    Declined(Declined),
}

/// One attempt of (task, understudy, bar) to be promoted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntryOpened {
    /// The task.
    pub task: TaskId,
    /// The k-th entry of this task, from 1.
    pub k: u32,
    /// Who.
    pub understudy: UnderstudyId,
    /// From which confidence on it takes a call.
    pub bar: f64,
    /// Only calls captured after this place in the journal count.
    pub after_seq: u64,
    /// Coverage that the development conversations promised, 0 to 1.
    pub expected_coverage: f64,
    /// Agreement among the taken development calls.
    pub expected_agreement: f64,
    /// Cost rank of the understudy: the cheapest is asked first.
    pub cost_rank: u8,
}

/// Why a decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// Enough calls for an understudy to rehearse on.
    EnoughCalls,
    /// Wealth against "agreement ≤ τ" reached 1/α of the entry.
    Evidence,
    /// A canary step was earned on audited conversations.
    StepEarned,
    /// Beside the entry that is live, another with more coverage has earned its
    /// evidence: its canary begins, the live one goes on.
    Successor,
    /// The successor has earned all its steps and takes the place.
    Succeeds,
    /// The evidence is there, a person has to approve.
    AwaitingApproval,
    /// A person approved.
    Approved,
    /// A person promoted or demoted.
    Operator,
    /// A person pinned the task to its stage.
    Pinned,
    /// A person let it go again.
    Unpinned,
    /// The change detector over audits crossed its limit.
    AuditsDisagree,
    /// Too many invalid answers.
    InvalidBudget,
    /// Too many late answers.
    LateBudget,
    /// The task's calls became slower than the provider's.
    Latency,
    /// The control group fares better.
    Control,
    /// Coverage fell under what is worth the delay.
    Coverage,
    /// The journal lost a volume: evidence starts again.
    JournalLost,
    /// The understudy's version is gone (model, adapter or engine changed).
    VersionGone,
    /// The task's target or permitted error was changed: evidence starts again. Or its
    /// rules no longer let the understudy answer.
    Policy,
}

impl Why {
    /// The name used in records, tables and labels.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::EnoughCalls => "enough_calls",
            Self::Evidence => "evidence",
            Self::StepEarned => "step_earned",
            Self::Successor => "successor",
            Self::Succeeds => "succeeds",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Approved => "approved",
            Self::Operator => "operator",
            Self::Pinned => "pinned",
            Self::Unpinned => "unpinned",
            Self::AuditsDisagree => "audits_disagree",
            Self::InvalidBudget => "invalid_budget",
            Self::LateBudget => "late_budget",
            Self::Latency => "latency",
            Self::Control => "control",
            Self::Coverage => "coverage",
            Self::JournalLost => "journal_lost",
            Self::VersionGone => "version_gone",
            Self::Policy => "policy",
        }
    }
}

/// A change of stage, or of who serves, with its reason and numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The task.
    pub task: TaskId,
    /// The place in the journal up to which the evidence was read.
    pub seq: u64,
    /// Stage before.
    pub from: Stage,
    /// Stage after.
    pub to: Stage,
    /// The reason.
    pub why: Why,
    /// The entry it is about, where it is about one.
    pub entry: Option<u32>,
    /// The understudy it is about.
    pub understudy: Option<UnderstudyId>,
    /// The numbers behind it, by name (`wealth`, `threshold`, `mean`, `conversations`, …).
    pub numbers: BTreeMap<String, f64>,
    /// Who, where a person did it.
    pub by: Option<String>,
}

/// What a person may do to a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Lets a task that waits for approval go on.
    Approve,
    /// Moves a task one stage up against the evidence; it is said so for good.
    Promote,
    /// Back to shadowing.
    Demote,
    /// Keeps the task at its stage, or frees it.
    Pin(bool),
}

/// A reading or acting tool, and who said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Tasks that may call acting tools wait for a person (the default).
    Acting,
    /// No task waits.
    Never,
    /// Every task waits.
    Always,
}
