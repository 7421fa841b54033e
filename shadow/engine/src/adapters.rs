//! The adapters of the chat model: found by name in one folder, read at first
//! use, and kept while there is room.
//!
//! An adapter costs its weights at 16 bits each, some 9 MiB at rank 16 for a
//! model of 135M; the base is in memory once for all of them. One whose files
//! have changed is read anew, so that a task trained again needs no restart; a
//! run in progress keeps the one that it began with.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use http::StatusCode;
use understudy_onnx::{Adapter, AdapterError, AdapterSlots};

/// Most that are kept: some 600 MiB at rank 16 for a model of 135M, and more
/// tasks than one machine of that size serves.
const MOST: usize = 64;

/// Longest name: what file systems take, with room for an ending.
const LONGEST_NAME: usize = 200;

/// Why there is no adapter for an ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    #[error(
        "field `understudy.adapter`: the engine was started without adapters; start it with --adapters DIR"
    )]
    NoFolder,
    #[error("field `understudy.adapter`: the chat model takes no adapters; pull it again with this version")]
    NoSlots,
    #[error(
        "field `understudy.adapter`: {0:?} is not an adapter's name: letters, digits, `.`, `-` and `_`, \
         not beginning with `.`"
    )]
    Name(String),
    #[error(transparent)]
    Refused(#[from] AdapterError),
    #[error("the adapter's reading broke off; ask again")]
    Broken,
}

impl Missing {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoFolder | Self::NoSlots => "adapters_unsupported",
            Self::Name(_) => "adapter_name",
            Self::Refused(e) => e.code(),
            Self::Broken => "adapter_unreadable",
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Name(_) => StatusCode::BAD_REQUEST,
            Self::NoFolder | Self::Refused(AdapterError::NoFolder(_)) => StatusCode::NOT_FOUND,
            Self::NoSlots | Self::Refused(_) | Self::Broken => StatusCode::CONFLICT,
        }
    }
}

/// The adapters of one chat model.
pub(crate) struct Adapters {
    folder: PathBuf,
    slots: Arc<AdapterSlots>,
    most: usize,
    /// The last used first.
    loaded: Mutex<Vec<Loaded>>,
    /// Held while one is read: two asks for a new adapter read it once.
    reading: Mutex<()>,
}

struct Loaded {
    stamp: Stamp,
    adapter: Arc<Adapter>,
}

/// By which a changed folder is told: lengths and times of its files.
type Stamp = Vec<Option<(u64, Option<SystemTime>)>>;

/// A loaded adapter, for those who ask.
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) sha256: String,
    pub(crate) rank: usize,
    pub(crate) bytes: usize,
}

impl Adapters {
    pub(crate) fn new(folder: PathBuf, slots: Arc<AdapterSlots>) -> Self {
        Self { folder, slots, most: MOST, loaded: Mutex::default(), reading: Mutex::default() }
    }

    /// The adapter of that name, read if need be.
    pub(crate) async fn get(self: Arc<Self>, name: String) -> Result<Arc<Adapter>, Missing> {
        if !is_name(&name) {
            return Err(Missing::Name(name));
        }
        let reading = tokio::task::spawn_blocking(move || self.get_blocking(&name));
        reading.await.unwrap_or(Err(Missing::Broken))
    }

    fn get_blocking(&self, name: &str) -> Result<Arc<Adapter>, Missing> {
        let folder = self.folder.join(name);
        let stamp = stamp(&folder);
        if let Some(found) = self.find(name, &stamp) {
            return Ok(found);
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.find(name, &stamp) {
            return Ok(found);
        }
        let adapter = Arc::new(Adapter::load(&folder, &self.slots)?);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.insert(0, Loaded { stamp, adapter: Arc::clone(&adapter) });
        loaded.truncate(self.most);
        Ok(adapter)
    }

    /// Finds one that is loaded and unchanged; a changed one is let go.
    fn find(&self, name: &str, stamp: &Stamp) -> Option<Arc<Adapter>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let at = loaded.iter().position(|l| l.adapter.name() == name)?;
        let found = loaded.remove(at);
        if found.stamp != *stamp {
            return None;
        }
        let adapter = Arc::clone(&found.adapter);
        loaded.insert(0, found);
        Some(adapter)
    }

    /// Those that are loaded, the last used first.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded
            .iter()
            .map(|l| Listed {
                name: l.adapter.name().to_owned(),
                sha256: l.adapter.sha256().to_owned(),
                rank: l.adapter.rank(),
                bytes: l.adapter.bytes(),
            })
            .collect()
    }
}

/// A plain name: it cannot lead out of the folder.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with('.') && name.chars().all(plain)
}

fn stamp(folder: &Path) -> Stamp {
    let files = ["adapter_model.safetensors", "adapter_config.json", "chat_template.jinja", "card.json"];
    let of = |file| {
        let meta = folder.join(file).metadata().ok()?;
        Some((meta.len(), meta.modified().ok()))
    };
    files.map(of).to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        for name in ["voice-assistant", "a.b_c-1", "0123abcd"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(LONGEST_NAME + 1);
        for name in ["", ".", "..", "../x", "a/b", "/etc", "a\\b", ".hidden", "a\0b", "ä", long.as_str()] {
            assert!(!is_name(name), "{name}");
        }
    }
}
