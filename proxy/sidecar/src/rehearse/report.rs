//! The file that `--report` names: it holds each held-out call, so only its owner reads it.

#[cfg(test)]
mod tests;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use understudy_rehearsal::logs;

use crate::failure::Failure;
use crate::state;

/// Refuses a report that could not be written at the end, or only over one of the files
/// that are read. An older report is written over.
///
/// # Errors
/// Why not, with the file's name.
pub(super) fn check(path: &Path, files: &[PathBuf]) -> Result<(), Failure> {
    let there = path.metadata().ok();
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Failure::Usage(format!("--report {} names a folder: name a file in it", path.display())));
    }
    if there.as_ref().is_some_and(fs::Metadata::is_dir) {
        return Err(Failure::Usage(format!("--report {} is a folder: name a file in it", path.display())));
    }
    if let Some(report) = there.filter(fs::Metadata::is_file) {
        // By links, too, a file is known to be the same.
        let is_it = |m: fs::Metadata| (m.dev(), m.ino()) == (report.dev(), report.ino());
        let read = files.iter().cloned().chain(files.iter().map(|file| logs::beside(file)));
        if let Some(file) = read.into_iter().find(|file| file.metadata().is_ok_and(is_it)) {
            return Err(Failure::Usage(format!(
                "--report {} would write over {}, which is read: name another file",
                path.display(),
                file.display()
            )));
        }
    }
    can_write(path)
}

/// Tries what writing takes, so that nobody learns after hours that it cannot be done.
fn can_write(path: &Path) -> Result<(), Failure> {
    if !is_replaced(path) {
        // To open a pipe would end whoever reads it.
        return Ok(());
    }
    let blame = |source| Failure::File { path: path.to_owned(), source };
    if path.exists() {
        OpenOptions::new().append(true).open(path).map_err(blame)?;
    }
    let beside = path.with_extension(format!("{}.tried", std::process::id()));
    let tried = state::write_private(&beside, b"");
    let _ = fs::remove_file(&beside);
    tried.map_err(|failure| match failure {
        Failure::File { source, .. } => blame(source),
        other => other,
    })
}

/// Writes it.
///
/// # Errors
/// What the system says.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    // What was mounted into a container can be written and not replaced.
    if is_replaced(path) && state::write_private(path, text.as_bytes()).is_ok() {
        return Ok(());
    }
    let in_place = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        if file.metadata()?.is_file() {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        file.write_all(text.as_bytes())
    };
    in_place().map_err(|source| Failure::File { path: path.to_owned(), source })
}

/// Whether a new file takes its place. A pipe, a device or a link stays what it is.
fn is_replaced(path: &Path) -> bool {
    path.symlink_metadata().map_or(true, |there| there.is_file())
}
