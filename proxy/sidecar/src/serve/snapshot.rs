//! The worker, as others see it.

use understudy_policy::Decision;
use understudy_rehearsal::TaskReport;
use understudy_tasks::Task;

/// What others see of the worker.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Every task.
    pub(crate) reports: Vec<TaskReport>,
    /// Form and caller of every task.
    pub(crate) tasks: Vec<Task>,
    /// Every decision.
    pub(crate) decisions: Vec<Decision>,
    /// `rehearsing`, or why not.
    pub(crate) line: String,
    /// Whether it reads the journal or is down: nothing is served then.
    pub(crate) away: bool,
}

impl Default for Snapshot {
    /// Before the worker has read anything.
    fn default() -> Self {
        let line = "reading the journal".to_owned();
        Self { reports: Vec::new(), tasks: Vec::new(), decisions: Vec::new(), line, away: true }
    }
}
