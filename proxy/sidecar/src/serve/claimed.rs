//! What a proxy has of its state folder. A folder that cannot be had costs the recording
//! and the command line, and not the calls.

use std::path::Path;

use crate::config::Config;
use crate::failure::Failure;
use crate::state::{self, Claim, Serves};

/// Whose the state folder is.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// Ours: the proxy is found there, and keeps there what it keeps.
    Ours(Claim),
    /// Not ours, for this reason; nobody knows yet.
    Without(String),
    /// Not ours, and who started the proxy was told.
    Told,
}

impl Claimed {
    /// Claims it for a proxy that serves all. A folder that another proxy has is a
    /// person's mistake, unless the calls are to go on whatever happens.
    ///
    /// # Errors
    /// That another proxy has it.
    pub(super) fn take(dir: &Path, go_on: bool) -> Result<Self, Failure> {
        match Claim::try_take(dir, Serves::All) {
            Ok(Some(claim)) => Ok(Self::Ours(claim)),
            Ok(None) if !go_on => Err(state::taken(dir)),
            Ok(None) => Ok(Self::Without(state::taken(dir).to_string())),
            Err(why) => Ok(Self::Without(why.to_string())),
        }
    }

    /// The claim, or a line in the log.
    pub(super) fn or_logged(self) -> Option<Claim> {
        match self {
            Self::Ours(claim) => Some(claim),
            Self::Without(why) => {
                tracing::error!(
                    why,
                    "the state folder cannot be had: nothing is recorded, nobody rehearses, and the command line does not find this proxy; calls flow"
                );
                None
            }
            Self::Told => None,
        }
    }
}

/// Leaves alone what is in the state folder: the journal, the engine's socket, what is
/// made of both, and the policies that were heard.
pub(super) fn only_pass_through(config: &mut Config) {
    config.capture.enabled = false;
    config.capture.without_state = true;
    config.worker.enabled = false;
    config.engine.enabled = false;
    config.policy_source = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_costs_the_recording_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "no folder").unwrap();
        for go_on in [false, true] {
            let claimed = Claimed::take(&file.join("state"), go_on).unwrap();
            assert!(matches!(claimed, Claimed::Without(_)), "{claimed:?}");
            assert!(claimed.or_logged().is_none());
        }
    }

    #[test]
    fn a_folder_that_another_proxy_has_is_refused_unless_calls_go_on_whatever_happens() {
        let dir = tempfile::tempdir().unwrap();
        let first = Claimed::take(dir.path(), false).unwrap().or_logged().unwrap();
        let refused = Claimed::take(dir.path(), false).unwrap_err();
        assert!(matches!(refused, Failure::Running { .. }), "{refused}");
        let Claimed::Without(why) = Claimed::take(dir.path(), true).unwrap() else {
            unreachable!("two have it")
        };
        assert!(why.contains("running already"), "{why}");
        drop(first);
        assert!(matches!(Claimed::take(dir.path(), false).unwrap(), Claimed::Ours(_)));
    }

    #[test]
    fn without_its_folder_a_proxy_leaves_alone_what_is_there_and_is_measured_still() {
        let mut config = crate::config::parse("", None, []).unwrap();
        only_pass_through(&mut config);
        assert!(!config.capture.enabled && !config.worker.enabled && !config.engine.enabled);
        assert!(config.policy_source.is_none() && config.metrics.enabled);
    }
}
