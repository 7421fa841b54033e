//! On which terms a rehearsal's calls were judged. Whoever adds `--approve` to one that is
//! under way, or leaves it out, gets the rest judged so; what was judged before stays.

use serde::{Deserialize, Serialize};
use understudy_policy::Approval;

use crate::config::Config;

/// Calls of a rehearsal by the terms on which they were judged, kept at each start: what
/// was judged since the last one was so on that one's terms, however it ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    /// Calls judged while approval was taken as given.
    approved: u64,
    /// Calls judged while tasks waited for it.
    unapproved: u64,
    /// All that had been judged at the last start.
    judged: u64,
    /// Whether it was taken as given from then on; `None` before the first start.
    from_then: Option<bool>,
}

impl Terms {
    /// What was judged on other terms than these.
    pub(super) fn others(&self, approved: bool) -> Earlier {
        if approved {
            Earlier { unapproved: self.unapproved, approved: 0 }
        } else {
            Earlier { unapproved: 0, approved: self.approved }
        }
    }

    /// Another start, when so many calls had been judged.
    pub(super) fn start(&mut self, approved: bool, judged: u64) {
        match judged.checked_sub(self.judged) {
            // Another journal: that one was removed.
            None => *self = Self::default(),
            Some(more) => match self.from_then {
                Some(true) => self.approved += more,
                Some(false) => self.unapproved += more,
                None => {}
            },
        }
        (self.judged, self.from_then) = (judged, Some(approved));
    }
}

/// Calls that were judged earlier, on other terms than this run's.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Earlier {
    /// Before approval was given.
    pub(crate) unapproved: u64,
    /// While it was taken as given, which it no longer is.
    pub(crate) approved: u64,
}

/// Whether no task waits for approval.
pub(super) fn is_given(config: &Config) -> bool {
    let mut all = std::iter::once(&config.policy).chain(config.tasks.values());
    all.all(|policy| policy.approval == Approval::Never)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_on_the_terms_on_which_they_were_judged() {
        let mut terms = Terms::default();
        let mut start = |approved, judged| {
            terms.start(approved, judged);
            (terms.unapproved, terms.approved)
        };
        assert_eq!(start(false, 0), (0, 0));
        // Killed after 40, or ended: the journal says how far it came.
        assert_eq!(start(false, 40), (40, 0));
        assert_eq!(start(true, 100), (100, 0));
        assert_eq!(start(true, 100), (100, 0));
        assert_eq!(start(false, 130), (100, 30));
        // Its journal was removed.
        assert_eq!(start(true, 0), (0, 0));
        assert_eq!(start(false, 10), (0, 10));
    }

    #[test]
    fn of_a_folder_that_kept_no_terms_nothing_is_said() {
        let mut terms = Terms::default();
        terms.start(true, 500);
        assert_eq!((terms.unapproved, terms.approved), (0, 0));
        terms.start(false, 600);
        assert_eq!((terms.unapproved, terms.approved), (0, 100));
    }
}
