//! The state folder: where a running proxy can be found, and its token.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What a running proxy leaves in its state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Its process.
    pub(crate) pid: u32,
    /// Where agents connect.
    pub(crate) gateway: SocketAddr,
    /// Where the command line connects.
    pub(crate) admin: SocketAddr,
    /// Where Prometheus connects, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    /// The prefixes of its providers, by name.
    pub(crate) prefixes: std::collections::BTreeMap<String, String>,
}

/// Makes the folder, for its owner only.
///
/// # Errors
/// What the system says.
pub(crate) fn make(dir: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| Failure::File { path: dir.to_path_buf(), source })
}

/// A file that only its owner can read, whole or not at all.
///
/// # Errors
/// What the system says.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let blame = |source| Failure::File { path: path.to_path_buf(), source };
    let next = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&next);
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next).map_err(blame)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(blame)?;
    fs::rename(&next, path).map_err(blame)
}

/// The admin API's token; a new one at each start.
pub(crate) fn token_file(dir: &Path) -> PathBuf {
    dir.join("admin-token")
}

/// The engine's socket.
pub(crate) fn engine_socket(dir: &Path) -> PathBuf {
    dir.join("engine.sock")
}

fn running_file(dir: &Path) -> PathBuf {
    dir.join("running.json")
}

/// What the folder says about a running proxy, if its process is alive.
pub(crate) fn find_running(dir: &Path) -> Option<Running> {
    let text = fs::read(running_file(dir)).ok()?;
    let running: Running = serde_json::from_slice(&text).ok()?;
    Path::new(&format!("/proc/{}", running.pid)).exists().then_some(running)
}

/// Says so, until dropped.
#[derive(Debug)]
pub(crate) struct Announced(PathBuf);

impl Announced {
    /// Writes the file.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(dir: &Path, running: &Running) -> Result<Self, Failure> {
        let text = serde_json::to_vec_pretty(running).map_err(|e| Failure::Failed(e.to_string()))?;
        let path = running_file(dir);
        write_private(&path, &text)?;
        Ok(Self(path))
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let ours = fs::read(&self.0)
            .ok()
            .and_then(|text| serde_json::from_slice::<Running>(&text).ok())
            .is_some_and(|r| r.pid == std::process::id());
        if ours {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Whether the kill switch was on when it was last moved; it survives a restart.
pub(crate) fn is_stopped(dir: &Path) -> bool {
    dir.join("stopped").exists()
}

/// Keeps the kill switch's position.
///
/// # Errors
/// What the system says.
pub(crate) fn set_stopped(dir: &Path, stopped: bool) -> Result<(), Failure> {
    let path = dir.join("stopped");
    if stopped {
        return write_private(&path, b"understudy stop-serving\n");
    }
    match fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Failure::File { path, source }),
        _ => Ok(()),
    }
}
