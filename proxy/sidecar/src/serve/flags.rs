//! Exchanges that a person has flagged: they are left out of every training set.
//!
//! A file in the state folder and not the journal alone, since a training set reads
//! the journal once, from its beginning, and a flag comes after its exchange.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use understudy_call::ExchangeId;

use crate::admin::Refused;
use crate::admin::flags::Flag;
use crate::state;

/// The flags of a state folder, or why they cannot be read.
pub(crate) struct Flags {
    file: PathBuf,
    all: Mutex<Result<Flagged, String>>,
}

type Flagged = BTreeMap<ExchangeId, Flag>;

impl Flags {
    /// Reads them. Calls go on where that fails, and nothing is learnt: what was
    /// flagged would be learnt from in silence.
    pub(crate) fn open(dir: &Path) -> Self {
        let file = dir.join("flagged.json");
        let all = read(&file);
        if let Err(why) = &all {
            tracing::error!(why, "no training set can be made");
        }
        Self { file, all: Mutex::new(all) }
    }

    /// Every flag.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn all(&self) -> Result<Vec<Flag>, Refused> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.as_ref().map(|all| all.values().cloned().collect()).map_err(|why| Refused::Off(why.clone()))
    }

    /// Flags these, or takes their flags away; durable when it returns. How many
    /// there are now.
    ///
    /// # Errors
    /// The file cannot be read or written, and nothing has changed.
    pub(crate) fn change(&self, flags: Vec<Flag>, away: bool) -> Result<usize, Refused> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = all.clone().map_err(Refused::Off)?;
        for flag in flags {
            if away {
                next.remove(&flag.exchange);
            } else {
                next.insert(flag.exchange, flag);
            }
        }
        let off = |e: &dyn std::fmt::Display| Refused::Off(format!("flags cannot be kept: {e}"));
        let text = serde_json::to_vec_pretty(&next.values().collect::<Vec<_>>()).map_err(|e| off(&e))?;
        state::write_private(&self.file, &text).map_err(|e| off(&e))?;
        let now = next.len();
        *all = Ok(next);
        Ok(now)
    }
}

fn read(file: &Path) -> Result<Flagged, String> {
    let all: Vec<Flag> =
        state::read_json(file).map_err(|why| format!("{why}; mend it, or move it aside and flag anew"))?;
    Ok(all.into_iter().map(|f| (f.exchange, f)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(n: u8) -> Flag {
        Flag { exchange: ExchangeId([n; 16]), by: "me".into(), why: "wrong".into(), at: "today".into() }
    }

    #[test]
    fn flags_are_kept_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let flags = Flags::open(dir.path());
        assert_eq!(flags.change(vec![flag(1), flag(2), flag(1)], false).unwrap(), 2);
        assert_eq!(flags.change(vec![flag(2), flag(3)], true).unwrap(), 1);
        assert_eq!(Flags::open(dir.path()).all().unwrap(), [flag(1)]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_no_flags() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("flagged.json"), "[{").unwrap();
        let flags = Flags::open(dir.path());
        let said = flags.all().unwrap_err().to_string();
        assert!(flags.change(vec![flag(1)], false).is_err());
        assert!(said.contains("flagged.json") && said.contains("move it aside"), "{said}");
    }
}
