//! `genai_config.json` of ONNX Runtime GenAI, as far as a loop needs it.

use std::path::Path;

use serde_json::Value;

use super::{ContractError, read_text};

/// The file's name.
pub(super) const FILE: &str = "genai_config.json";

/// A generator's sizes and the names in its graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genai {
    /// `model.type`, such as `llama`.
    pub architecture: String,
    /// The graph's file.
    pub filename: String,
    /// The token before everything, if the model wants one.
    pub bos_token: Option<u32>,
    /// Tokens that end a reply.
    pub eos_tokens: Vec<u32>,
    /// Longest prompt and reply together, in tokens.
    pub context_length: usize,
    /// Rows of the head.
    pub vocabulary: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Heads of the key-value cache.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_size: usize,
    /// Input of token ids.
    pub input_ids: String,
    /// Input of the mask.
    pub attention_mask: String,
    /// Input of positions, where the graph has one.
    pub position_ids: Option<String>,
    /// Inputs of past keys, with `%d` for the layer.
    pub past_keys: String,
    /// Inputs of past values, with `%d` for the layer.
    pub past_values: String,
    /// Output of logits.
    pub logits: String,
    /// Outputs of keys, with `%d` for the layer.
    pub present_keys: String,
    /// Outputs of values, with `%d` for the layer.
    pub present_values: String,
}

impl Genai {
    pub(super) fn read(folder: &Path) -> Result<Self, ContractError> {
        let path = folder.join(FILE);
        if !path.is_file() {
            return Err(ContractError::MissingFile(path));
        }
        let bad = |why: String| ContractError::Malformed {
            path: path.clone(),
            format: "ONNX Runtime GenAI's configuration",
            why,
        };
        let json: Value = serde_json::from_str(&read_text(&path)?).map_err(|e| bad(e.to_string()))?;
        let at = |pointer: &str| json.pointer(pointer);
        let size = |pointer: &str| {
            at(pointer)
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(|| bad(format!("{pointer} is not a size")))
        };
        let name =
            |pointer: &str, usual: &str| at(pointer).and_then(Value::as_str).unwrap_or(usual).to_owned();
        let token = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let eos = at("/model/eos_token_id");
        let eos_tokens: Vec<u32> = match eos {
            Some(Value::Array(list)) => list.iter().filter_map(token).collect(),
            Some(one) => token(one).into_iter().collect(),
            None => Vec::new(),
        };
        if eos_tokens.is_empty() {
            return Err(bad("/model/eos_token_id names no token".into()));
        }
        let filename = name("/model/decoder/filename", "model.onnx");
        if Path::new(&filename).file_name() != Some(filename.as_ref()) {
            return Err(bad("/model/decoder/filename is not a plain file name".into()));
        }
        let inputs = "/model/decoder/inputs";
        let outputs = "/model/decoder/outputs";
        Ok(Self {
            architecture: name("/model/type", ""),
            filename,
            bos_token: at("/model/bos_token_id").and_then(token),
            eos_tokens,
            context_length: size("/model/context_length")?,
            vocabulary: size("/model/vocab_size")?,
            layers: size("/model/decoder/num_hidden_layers")?,
            kv_heads: size("/model/decoder/num_key_value_heads")?,
            head_size: size("/model/decoder/head_size")?,
            input_ids: name(&format!("{inputs}/input_ids"), "input_ids"),
            attention_mask: name(&format!("{inputs}/attention_mask"), "attention_mask"),
            position_ids: at(&format!("{inputs}/position_ids")).and_then(Value::as_str).map(Into::into),
            past_keys: name(&format!("{inputs}/past_key_names"), "past_key_values.%d.key"),
            past_values: name(&format!("{inputs}/past_value_names"), "past_key_values.%d.value"),
            logits: name(&format!("{outputs}/logits"), "logits"),
            present_keys: name(&format!("{outputs}/present_key_names"), "present.%d.key"),
            present_values: name(&format!("{outputs}/present_value_names"), "present.%d.value"),
        })
    }
}
