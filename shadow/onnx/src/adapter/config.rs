//! The small files beside an adapter's weights.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{AdapterError, AdapterSlots};
use crate::template::ChatTemplate;

pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";
const TEMPLATE: &str = "chat_template.jinja";
const CARD: &str = "card.json";

/// What `adapter_config.json` says.
pub(super) struct Config {
    pub(super) path: PathBuf,
    pub(super) rank: usize,
    /// By which B is multiplied.
    pub(super) scale: f32,
    /// Last names of the modules, such as `q_proj`; empty if a pattern names them.
    pub(super) targets: Vec<String>,
}

/// The fields of PEFT's that would change what the weights mean, and the values
/// at which they do not.
const PLAIN: [(&str, &[Value]); 10] = [
    ("use_dora", &[Value::Null, Value::Bool(false)]),
    ("fan_in_fan_out", &[Value::Null, Value::Bool(false)]),
    ("lora_bias", &[Value::Null, Value::Bool(false)]),
    ("modules_to_save", &[Value::Null]),
    ("layers_to_transform", &[Value::Null]),
    ("layer_replication", &[Value::Null]),
    ("megatron_config", &[Value::Null]),
    ("alora_invocation_tokens", &[Value::Null]),
    ("target_parameters", &[Value::Null]),
    ("trainable_token_indices", &[Value::Null]),
];

impl Config {
    pub(super) fn read(folder: &Path) -> Result<Self, AdapterError> {
        if !folder.is_dir() {
            return Err(AdapterError::NoFolder(folder.into()));
        }
        let path = folder.join(CONFIG);
        let json = json(&path)?;
        let unsupported = |what: String| AdapterError::Unsupported { path: path.clone(), what };
        let damaged = |why: &str| AdapterError::Damaged { path: path.clone(), why: why.to_owned() };
        let at = |key: &str| json.get(key).unwrap_or(&Value::Null);
        if at("peft_type") != "LORA" {
            return Err(unsupported(format!("peft_type {}", at("peft_type"))));
        }
        for (key, plain) in PLAIN {
            if !plain.contains(at(key)) {
                return Err(unsupported(format!("{key} = {}", at(key))));
            }
        }
        for key in ["rank_pattern", "alpha_pattern"] {
            if at(key).as_object().is_some_and(|o| !o.is_empty()) {
                return Err(unsupported(key.to_owned()));
            }
        }
        if !(at("bias").is_null() || at("bias") == "none") {
            return Err(unsupported(format!("bias = {}", at("bias"))));
        }
        let rank = at("r").as_u64().and_then(|r| usize::try_from(r).ok()).filter(|r| (1..=1024).contains(r));
        let rank = rank.ok_or_else(|| damaged("r is not a rank"))?;
        let alpha = at("lora_alpha").as_f64().filter(|a| a.is_finite());
        let alpha = alpha.ok_or_else(|| damaged("lora_alpha is not a number"))?;
        // rsLoRA, arXiv 2312.03732, divides by the root of the rank.
        let by = if at("use_rslora") == true { (rank as f64).sqrt() } else { rank as f64 };
        let targets = match at("target_modules") {
            Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::String(_) => Vec::new(),
            _ => return Err(damaged("target_modules is not a list")),
        };
        Ok(Self { path, rank, scale: (alpha / by) as f32, targets })
    }
}

/// What `card.json` says, as far as it decides whether the adapter may be used.
pub(super) struct Card {
    path: PathBuf,
    base: String,
    /// SHA-256 of files beside it, by name, where it states them.
    files: Value,
}

impl Card {
    pub(super) fn read(folder: &Path) -> Result<Self, AdapterError> {
        let path = folder.join(CARD);
        let json = json(&path)?;
        let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let Some(base) = text("/base/gguf_sha256").filter(|b| !b.is_empty()) else {
            return Err(AdapterError::Damaged { path, why: "it names no base.gguf_sha256".to_owned() });
        };
        Ok(Self { path, base, files: json.get("files").cloned().unwrap_or_default() })
    }

    pub(super) fn check_base(&self, folder: &Path, slots: &AdapterSlots) -> Result<(), AdapterError> {
        if self.base.eq_ignore_ascii_case(&slots.base) {
            return Ok(());
        }
        Err(AdapterError::WrongBase {
            path: folder.into(),
            model: slots.model.clone(),
            expected: slots.base.clone(),
            found: self.base.clone(),
        })
    }

    /// Whether a file is the one that the card was written for, where it says:
    /// a flipped bit makes another number, and nothing else would tell.
    pub(super) fn check(&self, file: &Path, sha256: &str) -> Result<(), AdapterError> {
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        match self.files.get(name).and_then(Value::as_str) {
            Some(stated) if !stated.eq_ignore_ascii_case(sha256) => Err(AdapterError::Damaged {
                path: file.into(),
                why: format!("its sha256 is {sha256}, and {} states {stated}", self.path.display()),
            }),
            _ => Ok(()),
        }
    }
}

/// The adapter's own chat template, compiled.
pub(super) fn template(
    folder: &Path,
    card: &Card,
    slots: &AdapterSlots,
) -> Result<ChatTemplate, AdapterError> {
    let path = folder.join(TEMPLATE);
    let bytes = bytes(&path)?;
    card.check(&path, &hex::encode(Sha256::digest(&bytes)))?;
    let source = String::from_utf8(bytes)
        .map_err(|e| AdapterError::Damaged { path: path.clone(), why: e.to_string() })?;
    ChatTemplate::guarded(&source, &slots.bos, &slots.eos, &slots.added)
        .map_err(|source| AdapterError::Template { path, source })
}

pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, AdapterError> {
    std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => AdapterError::MissingFile(path.into()),
        _ => AdapterError::Read { path: path.into(), source },
    })
}

fn json(path: &Path) -> Result<Value, AdapterError> {
    serde_json::from_slice(&bytes(path)?)
        .map_err(|e| AdapterError::Damaged { path: path.into(), why: e.to_string() })
}
