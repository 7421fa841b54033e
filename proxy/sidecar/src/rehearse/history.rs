//! Looks at every task on the way through a log: how stages and agreement came.

use serde::Serialize;
use understudy_rehearsal::TaskReport;

use crate::config::Prices;
use crate::serve::rows;

/// Looks in all.
const LOOKS: u64 = 200;

/// A task at one place of the log.
#[derive(Debug, Serialize)]
pub(crate) struct Look {
    /// Calls that had been read, of all tasks.
    pub(crate) after: u64,
    /// The task's name.
    pub(crate) task: String,
    /// Its stage.
    pub(crate) stage: String,
    /// Its calls.
    pub(crate) calls: u64,
    /// Calls that an understudy would have answered.
    pub(crate) served: u64,
    /// Share of calls that the best understudy takes, by trials.
    pub(crate) coverage: Option<f64>,
    /// Agreement among those, by conversation.
    pub(crate) agreement: Option<f64>,
}

/// All looks, and when the next one is due.
#[derive(Debug)]
pub(super) struct History {
    every: u64,
    looks: Vec<Look>,
}

impl History {
    pub(super) fn over(calls: u64) -> Self {
        Self { every: calls.div_ceil(LOOKS).max(1), looks: Vec::new() }
    }

    /// Looks, where it is time.
    pub(super) fn pass(&mut self, after: u64, reports: impl FnOnce() -> Vec<TaskReport>) {
        if after.is_multiple_of(self.every) {
            self.end(after, &reports());
        }
    }

    /// The last look.
    pub(super) fn end(&mut self, after: u64, reports: &[TaskReport]) {
        self.looks.extend(reports.iter().map(|report| look(after, report)));
    }

    pub(super) fn looks(self) -> Vec<Look> {
        self.looks
    }
}

fn look(after: u64, report: &TaskReport) -> Look {
    // Money is no part of a look.
    let row = rows::row(report, 0, &Prices::default());
    Look {
        after,
        task: row.name,
        stage: row.stage,
        calls: row.calls,
        served: row.served,
        coverage: row.coverage,
        agreement: row.agreement.map(|a| a.mean),
    }
}
