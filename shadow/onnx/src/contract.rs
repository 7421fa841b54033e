//! The model contract: what a folder must hold before it is loaded.
//!
//! It is the folder that ONNX Runtime GenAI's model builder writes
//! (`genai_config.json`, `model.onnx` with its data, `tokenizer.json`, chat
//! template), and beside it `understudy.toml`, which says where the model comes
//! from, on what terms, and what every file's SHA-256 is. An embedder's folder
//! has no `genai_config.json`; its `[embedding]` section takes that place.
//!
//! [`ModelFolder::open`] reads and refuses cheaply (names, terms, presence);
//! [`ModelFolder::check`] reads every byte and compares hashes.

mod genai;
mod manifest;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

pub use genai::Genai;
pub use manifest::{
    Commercial, Embedding, Kind, Licence, MANIFEST, Manifest, Pooling, Prompt, PromptForm, Source, WeightForm,
};

/// Why a folder is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// No such folder.
    #[error("there is no model folder at {}; `understudy model pull NAME` makes one", .0.display())]
    NoFolder(PathBuf),
    /// A folder as model hubs publish it, without our terms and hashes.
    #[error(
        "{} has no understudy.toml: write one there with name, kind = \"generator\" or \"embedder\", \
         under [licence] its name and commercial = \"allowed\", \"conditions\" or \"forbidden\", and \
         under [files] the sha256 of every file",
        .0.display()
    )]
    NoManifest(PathBuf),
    /// A file of the folder cannot be understood.
    #[error("{} cannot be read as {format}: {why}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        format: &'static str,
        /// Where it goes wrong.
        why: String,
    },
    /// A file that the contract or the manifest names is not there.
    #[error("{} is missing; pull or copy the model again", .0.display())]
    MissingFile(PathBuf),
    /// A file that must be pinned has no hash in the manifest.
    #[error("understudy.toml in {} gives no sha256 for {file}; add it under [files]", .folder.display())]
    Unpinned {
        /// The model's folder.
        folder: PathBuf,
        /// The file without a hash.
        file: String,
    },
    /// A file's bytes are not those that were pinned.
    #[error(
        "{} is corrupt or was changed: sha256 {found}, expected {expected}; pull or copy the model again",
        .path.display()
    )]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// What understudy.toml says.
        expected: String,
        /// What was read.
        found: String,
    },
    /// A name in the manifest leads out of the folder.
    #[error("understudy.toml in {} names {file:?}, which is not a plain path inside the folder", .folder.display())]
    OutsideName {
        /// The model's folder.
        folder: PathBuf,
        /// The offending name.
        file: String,
    },
    /// No licence is stated.
    #[error("understudy.toml in {} states no licence; fill in [licence] name and commercial", .0.display())]
    NoLicence(PathBuf),
    /// The licence forbids what we are for.
    #[error(
        "the licence of {name} ({licence}) forbids commercial use; choose another model, or set \
         model.allow_non_commercial = true if your use is not commercial"
    )]
    NonCommercial {
        /// The model.
        name: String,
        /// Its licence.
        licence: String,
    },
    /// Reading failed.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Whether a licence that forbids commercial use is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonCommercial {
    /// The default.
    #[default]
    Refused,
    /// The user has said that their use is not commercial.
    Allowed,
}

impl NonCommercial {
    /// By the user's word, `model.allow_non_commercial`.
    #[must_use]
    pub fn allowed(by_user: bool) -> Self {
        if by_user { Self::Allowed } else { Self::Refused }
    }
}

/// A model's folder that keeps the contract.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    path: PathBuf,
    manifest: Manifest,
    genai: Option<Genai>,
    hash: String,
}

impl ModelFolder {
    /// Opens a folder, refusing licences that forbid commercial use.
    pub fn open(path: &Path) -> Result<Self, ContractError> {
        Self::open_with(path, NonCommercial::Refused)
    }

    /// Opens a folder. Nothing but the small configuration files is read.
    pub fn open_with(path: &Path, terms: NonCommercial) -> Result<Self, ContractError> {
        if !path.is_dir() {
            return Err(ContractError::NoFolder(path.into()));
        }
        let manifest = Manifest::read(path)?;
        if let Some(why) = manifest.embedding.as_ref().and_then(Embedding::problem) {
            return Err(ContractError::Malformed { path: path.join(MANIFEST), format: "a manifest", why });
        }
        if manifest.licence.name.trim().is_empty() {
            return Err(ContractError::NoLicence(path.into()));
        }
        if manifest.licence.commercial == Commercial::Forbidden && terms == NonCommercial::Refused {
            return Err(ContractError::NonCommercial {
                name: manifest.name.clone(),
                licence: manifest.licence.name.clone(),
            });
        }
        for file in manifest.files.keys() {
            let inside = Path::new(file).components().all(|c| matches!(c, Component::Normal(_)));
            if !inside || file.is_empty() {
                return Err(ContractError::OutsideName { folder: path.into(), file: file.clone() });
            }
            present(&path.join(file))?;
        }
        let genai = match manifest.kind {
            Kind::Generator => Some(Genai::read(path)?),
            Kind::Embedder => None,
        };
        let model = genai.as_ref().map_or("model.onnx", |g| g.filename.as_str());
        let data = format!("{model}.data");
        let mut needed = vec![model, "tokenizer.json"];
        if path.join(&data).exists() {
            needed.push(&data);
        }
        if genai.is_some() {
            needed.push(genai::FILE);
        }
        for file in needed {
            present(&path.join(file))?;
            if !manifest.files.contains_key(file) {
                return Err(ContractError::Unpinned { folder: path.into(), file: file.into() });
            }
        }
        let hash = manifest.content_hash();
        Ok(Self { path: path.into(), manifest, genai, hash })
    }

    /// Reads every pinned file and compares its SHA-256.
    pub fn check(&self) -> Result<(), ContractError> {
        for (file, expected) in &self.manifest.files {
            let path = self.path.join(file);
            let found = sha256_file(&path)?;
            if !found.eq_ignore_ascii_case(expected) {
                return Err(ContractError::WrongHash { path, expected: expected.clone(), found });
            }
        }
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `understudy.toml` says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What `genai_config.json` says; an embedder has none.
    #[must_use]
    pub fn genai(&self) -> Option<&Genai> {
        self.genai.as_ref()
    }

    /// One SHA-256 over the names and hashes of all pinned files: the model's
    /// identity, in hex.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The graph.
    #[must_use]
    pub fn model_file(&self) -> PathBuf {
        self.path.join(self.genai.as_ref().map_or("model.onnx", |g| g.filename.as_str()))
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer_file(&self) -> PathBuf {
        self.path.join("tokenizer.json")
    }

    /// The chat template: `chat_template.jinja`, else the one inside
    /// `tokenizer_config.json`, else none (a base model).
    pub fn chat_template(&self) -> Result<Option<String>, ContractError> {
        let named = self.manifest.prompt.as_ref().and_then(|p| p.template.as_deref());
        let file = self.path.join(named.unwrap_or("chat_template.jinja"));
        if file.exists() {
            return read_text(&file).map(Some);
        }
        if named.is_some() {
            return Err(ContractError::MissingFile(file));
        }
        let config = self.path.join("tokenizer_config.json");
        if !config.exists() {
            return Ok(None);
        }
        let json: serde_json::Value = serde_json::from_str(&read_text(&config)?)
            .map_err(|e| ContractError::Malformed { path: config, format: "JSON", why: e.to_string() })?;
        Ok(json.get("chat_template").and_then(|t| t.as_str()).map(Into::into))
    }
}

fn present(path: &Path) -> Result<(), ContractError> {
    if path.is_file() { Ok(()) } else { Err(ContractError::MissingFile(path.into())) }
}

fn read_text(path: &Path) -> Result<String, ContractError> {
    std::fs::read_to_string(path).map_err(|source| ContractError::Read { path: path.into(), source })
}

/// SHA-256 of a file, in hex.
pub fn sha256_file(path: &Path) -> Result<String, ContractError> {
    let failed = |source| ContractError::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 18];
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(buffer.get(..n).unwrap_or_default());
    }
}
