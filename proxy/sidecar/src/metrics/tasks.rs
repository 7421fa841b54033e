//! The tasks in numbers. A task is named by its id, which is a hash: names and
//! forms are the operator's and the agent's words.

use std::sync::Arc;

use understudy_policy::Stage;

use super::{Kind, Metrics, Read};
use crate::admin::pages::TaskRow;

/// Tasks that are shown, those with most calls. An agent that writes a new system
/// text for every call makes thousands.
const MOST: usize = 64;

/// Name, what it says, and the number; a task without one has no line.
type Gauge = (&'static str, &'static str, fn(&TaskRow) -> Option<f64>);

const GAUGES: [Gauge; 11] = [
    ("task_stage", "0 observing, 1 shadowing, 2 canary, 3 live", |row| stage(&row.stage)),
    ("task_coverage", "Share of the task's calls that its best understudy takes", |row| row.coverage),
    (
        "task_agreement",
        "In trials in the shadows: share of those that agree with the provider, by conversation",
        |row| row.agreement.map(|a| a.mean),
    ),
    (
        "task_audited_agreement",
        "While it serves: share of the served calls' audits that agree with the provider, by conversation",
        |row| row.audited_agreement,
    ),
    ("task_audited_conversations", "While it serves: the conversations that this is of", |row| {
        row.audited_conversations.map(|n| n as f64)
    }),
    ("task_tau", "The agreement that the task has to keep", |row| Some(row.tau)),
    (
        "task_demotion_evidence",
        "While it serves: the evidence against it, as a share of what demotes it",
        |row| row.against,
    ),
    ("task_calls", "Calls of the task that were recorded", |row| Some(row.calls as f64)),
    ("task_served", "Of those, answered by an understudy", |row| Some(row.served as f64)),
    (
        "task_saved_usd",
        "What they would have cost, less what their audits did; none without a price",
        |row| row.saved_usd,
    ),
    ("task_saved_tokens", "Likewise in tokens", |row| Some(row.saved_tokens as f64)),
];

fn stage(label: &str) -> Option<f64> {
    let stages = [Stage::Observing, Stage::Shadowing, Stage::Canary { step: 0 }, Stage::Live];
    (0u8..).zip(stages).find(|(_, stage)| stage.label() == label).map(|(n, _)| f64::from(n))
}

impl Metrics {
    /// Adds the tasks; `rows` gives at most so many of them, most calls first.
    pub(crate) fn read_tasks(&self, rows: impl Fn(usize) -> Vec<TaskRow> + Send + Sync + 'static) {
        let rows = Arc::new(rows);
        for (name, help, number) in GAUGES {
            let rows = Arc::clone(&rows);
            let of = move |row: TaskRow| number(&row).map(|n| (row.id, n));
            let values = move || rows(MOST).into_iter().take(MOST).filter_map(of).collect::<Vec<_>>();
            let values = Box::new(values);
            self.read(Read { name, help, kind: Kind::Gauge, label: Some("task"), values });
        }
    }
}
