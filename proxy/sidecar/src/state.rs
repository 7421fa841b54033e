//! The state folder: where a running proxy can be found, and its token.
//!
//! `running.json` says where; that it is still true is told by a lock, of which the
//! kernel lets go however the process ends. The number of a process says nothing: it
//! is given again, and in a container it is always 1.

#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Between two looks at the folder.
const LOOK: Duration = Duration::from_millis(2);

/// Looks at a lock that is held before it counts as another's: whoever only asks
/// whether it is holds it for microseconds.
pub(crate) const LOOKS: usize = 5;

/// From the claim to a folder until the proxy says where it is: it opens the journal
/// in between.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

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
    /// Whose calls it carries.
    #[serde(default)]
    pub(crate) serves: Serves,
}

/// Whose calls a proxy carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Serves {
    /// Those of all who find it, until it is told to end.
    #[default]
    All,
    /// Those of the command that it was started for, with which it ends.
    OneCommand,
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
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let written = written.and_then(|()| fs::rename(&next, path));
    if written.is_err() {
        let _ = fs::remove_file(&next);
    }
    written.map_err(blame)
}

/// What a file holds as JSON; nothing where there is no file.
///
/// # Errors
/// Why it cannot be read, with the file's name.
pub(crate) fn read_json<T: DeserializeOwned + Default>(path: &Path) -> Result<T, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{} cannot be read: {e}", path.display());
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| failed(&e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(e) => Err(failed(&e)),
    }
}

/// The lock of a file, which is made where there is none, for as long as it is open;
/// `None` where another has it at each of so many looks.
///
/// # Errors
/// What the system says.
pub(crate) fn try_lock(path: &Path, looks: usize) -> Result<Option<File>, Failure> {
    let blame = |source| Failure::File { path: path.to_path_buf(), source };
    let lock = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(blame)?;
    for _ in 0..looks {
        match lock.try_lock() {
            Ok(()) => return Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOOK),
            Err(TryLockError::Error(source)) => return Err(blame(source)),
        }
    }
    Ok(None)
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

/// Locked by the proxy that `running.json` is about; its process is written in it.
fn lock_file(dir: &Path) -> PathBuf {
    dir.join("running.lock")
}

/// What the folder says about a running proxy, if there is one. One that has only
/// just been started is waited for, and so is the end of one that ends.
pub(crate) fn find_running(dir: &Path) -> Option<Running> {
    let end = Instant::now() + STARTS_WITHIN;
    while understudy_capture::is_locked(&lock_file(dir)) {
        let said: Option<Running> =
            fs::read(running_file(dir)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if said.is_some() || Instant::now() >= end {
            return said;
        }
        std::thread::park_timeout(LOOK);
    }
    None
}

/// Why none was found there: nobody runs, or the folder is another user's.
pub(crate) fn not_found(dir: &Path) -> Failure {
    let path = lock_file(dir);
    match File::open(&path) {
        Err(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::File { path, source }
        }
        _ => Failure::NotRunning(dir.to_path_buf()),
    }
}

/// Whether a proxy has had this folder as its state folder, whoever configured it.
pub(crate) fn was_a_proxys(dir: &Path) -> bool {
    lock_file(dir).exists()
}

/// That another process is the folder's proxy.
pub(crate) fn taken(dir: &Path) -> Failure {
    let pid = read_process(&lock_file(dir));
    Failure::Running { pid: pid.unwrap_or_default(), state: dir.to_path_buf() }
}

/// Says in a lock whose it is. For people only: a full disk does not take it from us.
pub(crate) fn write_process(lock: &mut File) {
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
}

/// Whose a lock is, as its file says.
pub(crate) fn read_process(lock: &Path) -> Option<u32> {
    fs::read_to_string(lock).ok()?.trim().parse().ok()
}

/// The right to be the proxy that is found in a state folder. One process has it,
/// from before its ports are bound until its last call is in the journal.
#[derive(Debug)]
pub(crate) struct Claim {
    dir: PathBuf,
    /// Whose calls the proxy is to carry.
    pub(crate) serves: Serves,
    // Locked while it is open.
    _lock: File,
}

impl Claim {
    /// Takes it, and makes the folder; `None` while another process has it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn try_take(dir: &Path, serves: Serves) -> Result<Option<Self>, Failure> {
        make(dir)?;
        let Some(mut lock) = try_lock(&lock_file(dir), LOOKS)? else { return Ok(None) };
        write_process(&mut lock);
        // What a process left that did not end by itself is about nobody.
        let _ = fs::remove_file(running_file(dir));
        Ok(Some(Self { dir: dir.to_path_buf(), serves, _lock: lock }))
    }

    /// Says where the proxy is. Where that cannot be written the command line does not
    /// find it, which the log says; it takes calls all the same.
    pub(crate) fn announce(self, running: &Running) -> Announced {
        let said = serde_json::to_vec_pretty(running)
            .map_err(|e| Failure::Failed(e.to_string()))
            .and_then(|text| write_private(&running_file(&self.dir), &text));
        if let Err(error) = said {
            tracing::error!(%error, "the command line does not find this proxy; calls flow");
        }
        Announced(self)
    }
}

/// Says so, until dropped.
#[derive(Debug)]
pub(crate) struct Announced(Claim);

impl Announced {
    /// Says so no longer, and keeps the folder: whoever had it now would find the
    /// journal and the engine's socket in use.
    pub(crate) fn withdraw(&self) {
        let _ = fs::remove_file(running_file(&self.0.dir));
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        // Before the lock goes, after which the file may be another's.
        self.withdraw();
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
