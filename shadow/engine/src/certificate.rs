//! The certificate that an engine shows, out of files that may change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;

use crate::EngineError;

/// Between two looks at the files; a kubelet takes a minute to renew them.
const LOOK: Duration = Duration::from_secs(10);

/// What is shown, and its files.
pub(crate) struct Certificate {
    pub(crate) shown: RustlsConfig,
    files: (PathBuf, PathBuf),
    bytes: (Vec<u8>, Vec<u8>),
}

impl Certificate {
    pub(crate) async fn read(files: (PathBuf, PathBuf)) -> Result<Self, EngineError> {
        let failed = |source| EngineError::Certificate { path: files.0.clone(), source };
        let bytes = read(&files.0, &files.1).await.map_err(failed)?;
        let shown = RustlsConfig::from_pem(bytes.0.clone(), bytes.1.clone()).await.map_err(failed)?;
        Ok(Self { shown, files, bytes })
    }

    /// Shows what the files hold, until dropped. A pair that does not fit, such as one
    /// that is half written, is looked at again.
    pub(crate) async fn follow(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let Ok(bytes) = read(&self.files.0, &self.files.1).await else { continue };
            if bytes == self.bytes {
                continue;
            }
            match self.shown.reload_from_pem(bytes.0.clone(), bytes.1.clone()).await {
                Ok(()) => {
                    tracing::info!("the certificate was renewed");
                    self.bytes = bytes;
                }
                Err(e) => {
                    tracing::warn!(error = &e as &dyn std::error::Error, "the new certificate is not shown")
                }
            }
        }
    }
}

async fn read(certificate: &Path, key: &Path) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    Ok((tokio::fs::read(certificate).await?, tokio::fs::read(key).await?))
}
