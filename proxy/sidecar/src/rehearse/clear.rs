//! `--fresh`: what an earlier rehearsal made goes, and nothing else. A person may
//! name any folder with `--journal`, and a state folder holds a key and a journal
//! that nobody can make again.

#[cfg(test)]
mod tests;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::import::GIVEN;
use crate::config::Config;
use crate::failure::Failure;
use crate::state;

/// The journal in a rehearsal's folder.
const JOURNAL: &str = "journal";

/// What a rehearsal keeps in its folder and can make again. What tells whose folder
/// it is goes last, so that one which was interrupted can be begun again. The engine
/// removes its socket itself.
const OWN: [&str; 2] = [JOURNAL, GIVEN];

/// Where rehearsals are kept that were given no folder.
pub(super) fn rehearsals(config: &Config) -> PathBuf {
    config.state.join("rehearsals")
}

/// Refuses to clear a folder that may not be.
///
/// # Errors
/// Why it may not, with what to do instead.
pub(super) fn permit(dir: &Path, config: &Config) -> Result<(), Failure> {
    match refused(dir, config) {
        Some(why) => Err(Failure::Usage(format!("--fresh does not clear {}: {why}", dir.display()))),
        None => Ok(()),
    }
}

/// Removes what an earlier rehearsal made in this folder, where there is any.
///
/// # Errors
/// Why it may not, with what to do instead, or what the system says.
pub(super) fn clear(dir: &Path, config: &Config) -> Result<(), Failure> {
    permit(dir, config)?;
    if !is_a_rehearsals(dir, config) {
        return Ok(());
    }
    for path in OWN.map(|name| dir.join(name)) {
        // A link goes, and not what it leads to.
        let is_folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(Failure::File { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Why nothing in this folder may be removed, with the remedy; `None` where it may.
fn refused(dir: &Path, config: &Config) -> Option<String> {
    let another = "give the rehearsal a folder of its own with --journal FOLDER";
    let at = place(dir);
    let kept = [
        ("the state folder", config.state.as_path()),
        ("the key", config.key_file.as_path()),
        ("the configured journal", config.capture.journal.dir.as_path()),
    ];
    if let Some((what, path)) = kept.into_iter().find(|(_, path)| place(path).starts_with(&at)) {
        return Some(format!("{what} is there ({}); {another}", path.display()));
    }
    if state::was_a_proxys(dir) {
        return Some(format!("it is the state folder of a proxy; {another}"));
    }
    let journal = dir.join(JOURNAL);
    if understudy_capture::is_owned(&journal) {
        return Some(format!(
            "another process has {} open; wait for its end, or {another}",
            journal.display()
        ));
    }
    if journal.exists() && !is_a_rehearsals(dir, config) {
        return Some(format!(
            "nothing tells that {} is a rehearsal's ({GIVEN} is not there); {another}, or move it aside",
            journal.display()
        ));
    }
    None
}

/// Whether a rehearsal made what is in this folder: it says so, or has the name that
/// only rehearsals are given.
fn is_a_rehearsals(dir: &Path, config: &Config) -> bool {
    dir.join(GIVEN).is_file() || dir.parent() == Some(rehearsals(config).as_path())
}

/// A path by which two names of one folder are known to be one.
fn place(path: &Path) -> PathBuf {
    fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_path_buf())
}
