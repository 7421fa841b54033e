//! What the admin API answers, as the command line and the console read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How the process is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Its version.
    pub(crate) version: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Seconds since it began.
    pub(crate) up_seconds: u64,
    /// Where agents connect.
    pub(crate) listen: Vec<String>,
    /// Whether the kill switch is on.
    pub(crate) stopped: bool,
    /// `recording`, or why not.
    pub(crate) capture: String,
    /// `ready`, or why not.
    pub(crate) engine: String,
    /// `rehearsing`, or why not.
    pub(crate) worker: String,
    /// Whether it reads the journal or is down: nothing is served then, whatever its
    /// tasks had come to.
    #[serde(default)]
    pub(crate) worker_away: bool,
}

/// A share with its interval, all from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// The point estimate.
    pub(crate) mean: f64,
    /// The lower end at 95 %.
    pub(crate) low: f64,
    /// The upper end.
    pub(crate) high: f64,
}

/// A task in one line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskRow {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The requested model.
    pub(crate) model: String,
    pub(crate) stage: String,
    /// Of how many canary steps which one, from 1.
    pub(crate) step: Option<(u8, u8)>,
    pub(crate) pinned: bool,
    pub(crate) calls: u64,
    pub(crate) conversations: u64,
    /// Calls whose body was seen before within a day.
    pub(crate) repeats: u64,
    /// Share of calls that the best understudy takes.
    pub(crate) coverage: Option<f64>,
    /// Agreement among those, by conversation.
    pub(crate) agreement: Option<Interval>,
    /// The entry that both are about: the k-th of the task.
    #[serde(default)]
    pub(crate) entry: Option<u32>,
    /// Its understudy.
    pub(crate) understudy: Option<String>,
    /// Calls that are still needed at this agreement, where it suffices.
    pub(crate) needed: Option<u64>,
    /// What it waits for, in words.
    pub(crate) waits_for: Option<String>,
    /// Calls answered by an understudy.
    pub(crate) served: u64,
    pub(crate) provider_ms: Option<f64>,
    pub(crate) understudy_ms: Option<f64>,
    /// Net of audits, and of nothing else: what the machine and a remote
    /// understudy's trials cost is not taken off. `None` without a price.
    pub(crate) saved_usd: Option<f64>,
    /// Likewise in tokens, of prompt and reply together.
    #[serde(default)]
    pub(crate) saved_tokens: u64,
    /// The agreement that it has to keep.
    #[serde(default)]
    pub(crate) tau: f64,
    /// While it serves: the evidence against it, as a share of what demotes it.
    #[serde(default)]
    pub(crate) against: Option<f64>,
    /// While it serves: agreement of its audits, by conversation; none before the first.
    #[serde(default)]
    pub(crate) audited_agreement: Option<f64>,
    /// While it serves: the conversations that this is of.
    #[serde(default)]
    pub(crate) audited_conversations: Option<u64>,
}

/// An entry and its evidence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EntryRow {
    /// The k-th of its task.
    pub(crate) k: u32,
    pub(crate) understudy: String,
    pub(crate) bar: f64,
    pub(crate) coverage: Option<f64>,
    pub(crate) agreement: Option<Interval>,
    /// Judged conversations.
    pub(crate) conversations: u64,
    /// The betting process's wealth, and what opens the canary.
    pub(crate) wealth: f64,
    pub(crate) threshold: f64,
    pub(crate) state: String,
}

/// A stratum: the tool or label that an understudy chose.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StratumRow {
    pub(crate) stratum: String,
    pub(crate) conversations: u64,
    pub(crate) agreement: f64,
    /// `allowed`, `rare`, `weak`.
    pub(crate) state: String,
}

/// A task in full.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskPage {
    pub(crate) row: TaskRow,
    /// The hash of its form, by which `[worker] shared` names it.
    #[serde(default)]
    pub(crate) form_hash: String,
    /// Whether it is one task whoever calls.
    #[serde(default)]
    pub(crate) shared: bool,
    /// The beginning of its masked system prompt.
    pub(crate) form: String,
    /// Its tools, and whether they act.
    pub(crate) tools: Vec<(String, String)>,
    /// The rules: target, error, …
    pub(crate) rules: BTreeMap<String, String>,
    pub(crate) entries: Vec<EntryRow>,
    pub(crate) strata: Vec<StratumRow>,
    /// Why calls went to the provider, by reason.
    pub(crate) declined: BTreeMap<String, u64>,
    /// Exact repeat and nearest neighbour: coverage and agreement; never served.
    pub(crate) baselines: Vec<(String, Option<f64>, Option<f64>)>,
    /// The demotion process and its limit.
    pub(crate) cusum: Option<(f64, f64)>,
    pub(crate) decisions: Vec<DecisionRow>,
    /// Its understudies, the cheapest first, and adapters that were not adopted.
    #[serde(default)]
    pub(crate) understudies: Vec<UnderstudyRow>,
}

/// An understudy beside the others of its task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct UnderstudyRow {
    /// Its version, or the adapter that did not become one.
    pub(crate) name: String,
    pub(crate) kind: String,
    /// What it is made of.
    pub(crate) made_of: String,
    /// Judged development conversations, and how many a bar needs.
    pub(crate) development: Option<(u32, u32)>,
    /// Development: (bar, coverage, agreement), from the most cautious bar on.
    pub(crate) curve: Vec<(f64, f64, f64)>,
    /// Of its last entry: coverage and agreement by trials.
    pub(crate) coverage: Option<f64>,
    pub(crate) agreement: Option<Interval>,
    /// `serves`, `open`, `kept beside: …`, …
    pub(crate) state: String,
}

/// A decision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DecisionRow {
    /// Up to where in the journal the evidence was read.
    pub(crate) seq: u64,
    pub(crate) task: String,
    pub(crate) name: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) why: String,
    pub(crate) understudy: Option<String>,
    pub(crate) by: Option<String>,
    pub(crate) numbers: BTreeMap<String, f64>,
}

/// What was saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavingsPage {
    pub(crate) tasks: Vec<SavingsRow>,
    /// When the prices were looked up.
    pub(crate) prices_dated: Vec<String>,
}

/// What one task saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavingsRow {
    pub(crate) task: String,
    pub(crate) name: String,
    pub(crate) model: String,
    pub(crate) calls: u64,
    pub(crate) served: u64,
    pub(crate) audited: u64,
    /// Tokens that the provider did not have to read and write.
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    /// What its calls cost that the provider answered.
    #[serde(default)]
    pub(crate) paid_usd: Option<f64>,
    /// Served calls at the task's mean captured price.
    pub(crate) gross_usd: Option<f64>,
    /// What audits cost.
    pub(crate) audits_usd: Option<f64>,
    /// The difference.
    pub(crate) net_usd: Option<f64>,
    /// The same by comparison with the control conversations: mean and interval, in dollars.
    pub(crate) by_control_usd: Option<(f64, f64, f64)>,
}

/// The journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct JournalPage {
    /// Whether anything is recorded; if not, why.
    pub(crate) state: String,
    pub(crate) folder: String,
    pub(crate) volumes: u64,
    pub(crate) bytes: u64,
    /// The last sequence number that is durable.
    pub(crate) durable: u64,
    pub(crate) records: u64,
    /// Volumes that did not open and were moved aside.
    pub(crate) set_aside: u64,
    pub(crate) queued_bytes: u64,
    /// Exchanges that were not recorded, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// Share of calls that redaction changed.
    pub(crate) redacted_share: Option<f64>,
}

/// The most records that `journal tail` shows: the proxy holds them all at once.
pub(crate) const TAIL: usize = 10_000;

/// Exchanges with their content, in the journal's order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ExportPage {
    /// `{"seq", "exchange"}`
    pub(crate) rows: Vec<Box<RawValue>>,
    /// Where the next page begins; `None` after the last.
    pub(crate) next: Option<u64>,
    /// Records that should have been here and cannot be read.
    pub(crate) lost: u64,
}

/// What came of an order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Acted {
    pub(crate) task: String,
    pub(crate) name: String,
    pub(crate) stage: String,
    /// In words.
    pub(crate) said: String,
}

impl Acted {
    /// For people.
    pub(crate) fn line(&self) -> String {
        format!("{} ({}): {}; it is {}\n", self.name, self.task, self.said, self.stage)
    }
}

/// The kill switch's position.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stopped {
    pub(crate) stopped: bool,
    /// The roster that says so.
    pub(crate) roster_version: u64,
}
