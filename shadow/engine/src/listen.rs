//! Binding the socket, a stale one included.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::{EngineError, Listen};

/// A bound listener; the file of a Unix socket goes with it.
pub(crate) enum Bound {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

/// Removes the socket's file when dropped.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) async fn bind(listen: &Listen) -> Result<Bound, EngineError> {
    let failed = |source| EngineError::Listen { listen: listen.clone(), source };
    match listen {
        Listen::Tcp(addr) => Ok(Bound::Tcp(TcpListener::bind(addr).await.map_err(failed)?)),
        Listen::Unix(path) => {
            if let Ok(there) = path.symlink_metadata() {
                if !there.file_type().is_socket() {
                    return Err(EngineError::NoSocket(path.clone()));
                }
                if is_answered(path).await {
                    return Err(EngineError::Taken(path.clone()));
                }
                std::fs::remove_file(path).map_err(failed)?;
            }
            let listener = UnixListener::bind(path).map_err(failed)?;
            let file = SocketFile(path.clone());
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
            Ok(Bound::Unix(listener, file))
        }
    }
}

async fn is_answered(path: &Path) -> bool {
    tokio::net::UnixStream::connect(path).await.is_ok()
}
