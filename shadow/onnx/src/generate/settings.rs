//! What generation needs to know beside [`Genai`](crate::contract::Genai): the
//! words of the first and last token for the template, and whether the graph
//! may share past and present. Absent files and keys are no fault.

use std::path::Path;

use serde_json::Value;

/// Read once, when the model is loaded.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) shared_buffers: bool,
    pub(crate) bos: String,
    pub(crate) eos: String,
}

impl Settings {
    pub(crate) fn read(folder: &Path) -> Self {
        let config = json(&folder.join("genai_config.json"));
        let tokenizer = json(&folder.join("tokenizer_config.json"));
        let token = |name: &str| match tokenizer.get(name) {
            Some(Value::String(s)) => s.clone(),
            Some(Value::Object(o)) => o.get("content").and_then(Value::as_str).unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        Self {
            shared_buffers: config
                .pointer("/search/past_present_share_buffer")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            bos: token("bos_token"),
            eos: token("eos_token"),
        }
    }
}

fn json(path: &Path) -> Value {
    std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}
