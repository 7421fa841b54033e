//! The verdict of a rehearsal, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use understudy_rehearsal::logs::{Halves, Log};
use understudy_rehearsal::{Rehearsal, TaskReport};

use super::approval::Earlier;
use super::held_out::Measured;
use super::history::Look;
use super::{NAMED, Rest};
use crate::admin::pages::{DecisionRow, SavingsPage, TaskRow};
use crate::config::Config;
use crate::serve::rows;
use crate::tables;

/// The verdict.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// Every task in a line.
    pub(crate) tasks: Vec<TaskRow>,
    /// Every decision.
    pub(crate) decisions: Vec<DecisionRow>,
    /// What it would have saved.
    pub(crate) savings: SavingsPage,
    /// Counts and evidence in full.
    pub(crate) reports: Vec<TaskReport>,
    /// Calls that were read, and lines that were not.
    pub(crate) read: usize,
    /// Lines that were not read.
    pub(crate) broken: usize,
    /// Requests and responses of a batch without their other half.
    pub(crate) unanswered: usize,
    pub(crate) unasked: usize,
    /// Calls left for the next run.
    pub(crate) left: u64,
    /// Whether they are left because of Ctrl-C.
    pub(crate) interrupted: bool,
    /// Seconds that this run took, training with it, held-out calls without.
    pub(crate) seconds: f64,
    /// Whether the logs say how long the provider took.
    pub(crate) has_durations: bool,
    /// Whether approval of acting tools was taken as given.
    pub(crate) approved: bool,
    /// Calls for which that was otherwise, in an earlier run.
    pub(crate) earlier: Earlier,
    /// Held-out calls.
    pub(crate) held_out: Option<Vec<Measured>>,
    /// Every task on the way through the log, in this run.
    pub(crate) history: Vec<Look>,
}

impl Verdict {
    pub(crate) fn of(
        rehearsal: &Rehearsal,
        config: &Config,
        log: &Log,
        rest: Rest,
        took: Duration,
        approved: bool,
        held_out: Option<Vec<Measured>>,
    ) -> Self {
        let reports = rehearsal.reports();
        let steps = config.policy.steps.len();
        Self {
            tasks: reports.iter().map(|r| rows::row(r, steps, &config.prices)).collect(),
            decisions: rows::decisions(rehearsal.decisions(), &reports),
            savings: rows::savings(&reports, &config.prices),
            reports,
            read: log.calls.len(),
            broken: log.broken.len(),
            unanswered: log.halves.unanswered,
            unasked: log.halves.unasked,
            left: rest.calls,
            interrupted: rest.interrupted,
            seconds: took.as_secs_f64(),
            has_durations: log.has_durations,
            approved,
            earlier: Earlier::default(),
            held_out,
            history: Vec::new(),
        }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = tables::tasks(&self.tasks);
        let mut line = |text: &str| {
            let _ = writeln!(out, "{text}");
        };
        if !self.decisions.is_empty() {
            line(&tables::decisions(&self.decisions));
        }
        line("Agreement is fidelity to the provider, call by call, and not the success of the errand.");
        if !self.has_durations {
            line(
                "The logs do not say how long the provider took: times are the understudy's own, and no latency rule was applied.",
            );
        }
        if self.approved {
            line("Approval of tools that act was taken as given (--approve).");
        }
        match self.earlier {
            Earlier { unapproved: 0, approved: 0 } => {}
            Earlier { unapproved: 0, approved: n } => line(&format!(
                "{n} calls were judged with approval taken as given: --fresh judges all without it."
            )),
            Earlier { unapproved: n, .. } => {
                line(&format!("{n} calls were judged before approval was given: --fresh judges all with it."))
            }
        }
        match self.broken {
            0 => {}
            n if n <= NAMED => line(&format!("{n} lines could not be read; the log says which.")),
            n => line(&format!("{n} lines could not be read; the log names the first {NAMED}.")),
        }
        let halves = Halves { unanswered: self.unanswered, unasked: self.unasked };
        if halves != Halves::default() {
            line(&format!("Not rehearsed: {}.", super::halves(halves)));
        }
        for m in self.held_out.iter().flatten() {
            line(&format!(
                "\nheld out, {}: {} calls, {} eligible, {} control, {} served",
                m.name, m.calls, m.eligible, m.control, m.served.taken
            ));
            if let (Some(coverage), Some((mean, low, high))) = (m.served.coverage, m.served.agreement) {
                line(&format!(
                    "  coverage {:.1} %, agreement {:.1} % ({:.1} to {:.1})",
                    coverage * 100.0,
                    mean * 100.0,
                    low * 100.0,
                    high * 100.0
                ));
            }
        }
        if self.left > 0 || self.interrupted {
            line(&format!(
                "{} with {} of {} calls left; the same command goes on from here.",
                if self.interrupted { "Interrupted" } else { "The time is over" },
                self.left,
                self.read
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Verdict {
        Verdict {
            tasks: Vec::new(),
            decisions: Vec::new(),
            savings: SavingsPage::default(),
            reports: Vec::new(),
            read: 0,
            broken: 0,
            unanswered: 0,
            unasked: 0,
            left: 0,
            interrupted: false,
            seconds: 0.0,
            has_durations: true,
            approved: false,
            earlier: Earlier::default(),
            held_out: None,
            history: Vec::new(),
        }
    }

    #[test]
    fn why_calls_are_left_is_told() {
        let told = |left, interrupted| Verdict { read: 9, left, interrupted, ..empty() }.table();
        assert!(told(4, false).contains("The time is over with 4 of 9 calls left"));
        assert!(told(4, true).contains("Interrupted with 4 of 9 calls left; the same command goes on"));
        assert!(!told(0, false).contains("left"));
    }

    #[test]
    fn calls_that_were_judged_on_other_terms_are_told() {
        let told = |approved, unapproved, with| {
            let earlier = Earlier { unapproved, approved: with };
            Verdict { approved, earlier, ..empty() }.table()
        };
        let text = told(true, 9, 0);
        assert!(text.contains("9 calls were judged before approval was given: --fresh"), "{text}");
        let text = told(false, 0, 9);
        assert!(text.contains("9 calls were judged with approval taken as given: --fresh"), "{text}");
        let text = told(true, 0, 0);
        assert!(text.contains("(--approve)") && !text.contains("--fresh"), "{text}");
    }

    #[test]
    fn what_was_not_read_is_told_as_it_is() {
        let told = |broken: usize, unanswered: usize| Verdict { broken, unanswered, ..empty() }.table();
        assert!(told(10, 0).contains("10 lines could not be read; the log says which."));
        assert!(told(11, 0).contains("11 lines could not be read; the log names the first 10."));
        assert!(told(0, 3).contains("3 requests of a batch are without their response"));
        let text = told(0, 0);
        assert!(!text.contains("could not be read") && !text.contains("Not rehearsed"), "{text}");
    }
}
