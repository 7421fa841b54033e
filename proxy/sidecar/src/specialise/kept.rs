//! What is kept of a training beside its checkpoint, so that another one can go on
//! from there: which records its rows were made of.
//!
//! A checkpoint fits the very rows that it learnt from, and a running proxy records
//! more. So a training that is resumed curates up to where the first one did.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use understudy_policy::TaskId;

use crate::failure::Failure;
use crate::state;

/// Its file in the training's folder.
const FILE: &str = "run.json";

/// The trainer's own (`deploy/specialise/understudy_specialise/checkpoint.py`).
const CHECKPOINT: &str = "checkpoint.safetensors";

/// Where a task's training keeps its checkpoint, and then its adapter.
pub(crate) fn folder(state: &Path, task: TaskId) -> PathBuf {
    state.join("training").join(task.to_string())
}

/// Whether a training of the task was cut off, and may go on.
pub(crate) fn left_off(state: &Path, task: TaskId) -> bool {
    folder(state, task).join(CHECKPOINT).is_file()
}

/// Of what a training's rows were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The last record of the journal that was read for them.
    pub(crate) upto: u64,
    /// The SHA-256 over them.
    pub(crate) data_sha256: String,
    /// The cap on their classes, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) class_cap: Option<f64>,
}

impl Kept {
    /// What was kept in a training's folder; `None` where nothing was.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// What was kept of the task's training that was cut off; `None` where none was.
    pub(crate) fn of(state: &Path, task: TaskId) -> Option<Self> {
        left_off(state, task).then(|| Self::read(&folder(state, task))).flatten()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        state::make(folder)?;
        let text = serde_json::to_vec(self).map_err(|e| Failure::Failed(e.to_string()))?;
        state::write_private(&folder.join(FILE), &text)
    }

    /// An adapter's folder holds nothing of its training.
    pub(super) fn remove(folder: &Path) {
        let _ = std::fs::remove_file(folder.join(FILE));
    }
}

/// How a training begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// As it was asked.
    Anew,
    /// As it was asked, and in the place of one that was cut off.
    Instead,
    /// From its checkpoint.
    Resumed,
    /// There is none to go on from.
    NoCheckpoint,
    /// There is one, of rows that are no longer to be had.
    OtherRows,
}

impl Start {
    /// Decides it for rows of this hash; `checkpoint` says whether there is one. One
    /// that was kept before this was written down is the trainer's to judge.
    pub(crate) fn of(resume: bool, checkpoint: bool, kept: Option<&Kept>, data_sha256: &str) -> Self {
        match (resume, checkpoint, kept) {
            (false, false, _) => Self::Anew,
            (false, true, _) => Self::Instead,
            (true, false, _) => Self::NoCheckpoint,
            (true, true, Some(kept)) if kept.data_sha256 != data_sha256 => Self::OtherRows,
            (true, true, _) => Self::Resumed,
        }
    }

    /// What a person is told.
    pub(crate) fn said(self) -> Option<&'static str> {
        match self {
            Self::Anew | Self::Resumed => None,
            Self::Instead => Some(
                "a training of this task was cut off, and with --resume it goes on: without that this one begins anew, and the other's checkpoint goes",
            ),
            Self::NoCheckpoint => Some("there is no checkpoint to go on from: the training begins anew"),
            Self::OtherRows => Some(
                "the rows that the checkpoint was made for can no longer be made (the journal has let some of their calls go, fewer are permitted, or the cap on classes is another): the training begins anew, with the calls of now",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_goes_on_only_with_the_rows_that_it_began_with() {
        let kept = Kept { upto: 70, data_sha256: "ab".to_owned(), class_cap: None };
        let start = |resume, checkpoint, kept, now| Start::of(resume, checkpoint, kept, now);
        assert_eq!(start(false, false, None, "ab"), Start::Anew);
        assert_eq!(start(false, true, Some(&kept), "ab"), Start::Instead);
        assert_eq!(start(true, true, Some(&kept), "ab"), Start::Resumed);
        assert_eq!(start(true, false, Some(&kept), "ab"), Start::NoCheckpoint);
        assert_eq!(start(true, true, Some(&kept), "cd"), Start::OtherRows);
        // One from before it was written down.
        assert_eq!(start(true, true, None, "cd"), Start::Resumed);
        assert!(Start::OtherRows.said().unwrap().contains("begins anew"));
        let said = Start::Instead.said().unwrap();
        assert!(said.contains("with --resume it goes on") && said.contains("begins anew"), "{said}");
        assert_eq!((Start::Anew.said(), Start::Resumed.said()), (None, None));
    }

    #[test]
    fn what_is_kept_lies_beside_the_checkpoint() {
        let state = tempfile::tempdir().unwrap();
        let task = TaskId(7);
        let at = folder(state.path(), task);
        assert!(Kept::read(&at).is_none() && !left_off(state.path(), task));
        let kept = Kept { upto: 70, data_sha256: "ab".to_owned(), class_cap: Some(2.5) };
        kept.write(&at).unwrap();
        assert_eq!(Kept::read(&at), Some(kept));
        // One from before there was a cap.
        let earlier: Kept = serde_json::from_str(r#"{"upto":70,"data_sha256":"ab"}"#).unwrap();
        assert_eq!(earlier.class_cap, None);
        assert!(!left_off(state.path(), task), "nothing was learnt yet");
        assert_eq!(Kept::of(state.path(), task), None);
        std::fs::write(at.join(CHECKPOINT), "weights").unwrap();
        assert!(left_off(state.path(), task));
        assert_eq!(Kept::of(state.path(), task), Kept::read(&at));
        Kept::remove(&at);
        assert!(Kept::read(&at).is_none());
    }
}
