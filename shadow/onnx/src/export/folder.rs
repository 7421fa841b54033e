//! The files of a model's folder, terms and hashes last.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::gguf::Gguf;
use super::graph::Graph;
use super::shape::Decoder;
use super::{ExportError, Progress, Stage, Weights, decoder, pack, tokenizer};
use crate::contract::{
    Embedding, Kind, Licence, MANIFEST, Manifest, Prompt, PromptForm, Source, WeightForm, sha256_file,
};

/// Rises with every change of what is written, so that a pull renews folders.
pub(super) const REVISION: u32 = 3;

const TEMPLATE: &str = "chat_template.jinja";

/// What the exporter cannot know from the file: name, terms, source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The model's name.
    pub name: String,
    /// On what terms it may be used.
    pub licence: Licence,
    /// Where it comes from.
    pub source: Source,
}

/// Turns a GGUF file into a folder of the model contract. `out` is made if
/// need be; what it holds under the same names is replaced.
pub fn gguf_to_folder(
    path: &Path,
    out: &Path,
    origin: &Origin,
    weights: Weights,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ExportError> {
    let gguf = Gguf::open(path)?;
    let d = Decoder::of(&gguf)?;
    std::fs::create_dir_all(out).map_err(|e| ExportError::write(out, e))?;
    // A folder without a manifest is not whole.
    let _ = std::fs::remove_file(out.join(MANIFEST));

    write_json(&out.join("tokenizer.json"), &tokenizer::rebuild(&gguf)?)?;
    let template = gguf.maybe_text("tokenizer.chat_template");
    if let Some(template) = template {
        write_text(&out.join(TEMPLATE), template)?;
    }
    write_json(&out.join("tokenizer_config.json"), &tokenizer_config(&gguf, d.context)?)?;
    write_json(&out.join("genai_config.json"), &genai_config(&gguf, &d)?)?;
    decoder::write(&gguf, &d, weights, Graph::create(out, &origin.name)?, out, progress)?;

    let manifest = Manifest {
        name: origin.name.clone(),
        kind: Kind::Generator,
        parameters: gguf.parameters(),
        licence: origin.licence.clone(),
        source: origin.source.clone(),
        prompt: Some(Prompt {
            form: if template.is_some() { PromptForm::Chat } else { PromptForm::Completion },
            template: template.map(|_| TEMPLATE.into()),
        }),
        weights: Some(WeightForm {
            linear_bits: weights.linear.count() as u8,
            head_bits: weights.head.count() as u8,
            block: pack::BLOCK as u32,
            accuracy_level: weights.accuracy_level,
            half_attention: weights.half_attention,
            revision: REVISION,
        }),
        embedding: None,
        files: Default::default(),
    };
    seal(out, manifest, progress)
}

/// Lays an embedder's graph and tokenizer together as a folder of the contract.
pub fn embedder_to_folder(
    files: &[(&str, PathBuf)],
    out: &Path,
    origin: &Origin,
    parameters: u64,
    embedding: Embedding,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ExportError> {
    std::fs::create_dir_all(out).map_err(|e| ExportError::write(out, e))?;
    for (name, from) in files {
        let to = out.join(name);
        std::fs::copy(from, &to).map_err(|e| ExportError::write(&to, e))?;
    }
    let manifest = Manifest {
        name: origin.name.clone(),
        kind: Kind::Embedder,
        parameters,
        licence: origin.licence.clone(),
        source: origin.source.clone(),
        prompt: None,
        weights: None,
        embedding: Some(embedding),
        files: Default::default(),
    };
    seal(out, manifest, progress)
}

/// Hashes what is there and writes `understudy.toml`.
fn seal(out: &Path, mut manifest: Manifest, progress: &mut dyn FnMut(Progress)) -> Result<(), ExportError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(out).map_err(|e| ExportError::read(out, e))? {
        let entry = entry.map_err(|e| ExportError::read(out, e))?;
        match entry.file_name().into_string() {
            Ok(name) if name != MANIFEST && entry.path().is_file() => names.push(name),
            _ => {}
        }
    }
    names.sort();
    let total = names.len() as u64;
    for (done, name) in names.into_iter().enumerate() {
        progress(Progress { stage: Stage::Hash, done: done as u64, total });
        let sha256 = sha256_file(&out.join(&name))?;
        manifest.files.insert(name, sha256);
    }
    let path = out.join(MANIFEST);
    let text = toml::to_string(&manifest).map_err(|e| ExportError::write(&path, std::io::Error::other(e)))?;
    write_text(&path, &text)?;
    progress(Progress { stage: Stage::Hash, done: total, total });
    Ok(())
}

fn write_text(path: &Path, text: &str) -> Result<(), ExportError> {
    std::fs::write(path, text).map_err(|e| ExportError::write(path, e))
}

fn write_json(path: &Path, json: &Value) -> Result<(), ExportError> {
    write_text(path, &format!("{json:#}\n"))
}

fn tokenizer_config(gguf: &Gguf, context: usize) -> Result<Value, ExportError> {
    let tokens = gguf.texts("tokenizer.ggml.tokens")?;
    let token = |key: &str| {
        let id = gguf.size(&format!("tokenizer.ggml.{key}_token_id")).ok()?;
        tokens.get(id).copied()
    };
    let bos = gguf.flag("tokenizer.ggml.add_bos_token");
    Ok(json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "pad_token": token("padding"),
        "add_bos_token": bos.unwrap_or(gguf.maybe_text("tokenizer.ggml.model") == Some("llama")),
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
    }))
}

fn genai_config(gguf: &Gguf, d: &Decoder) -> Result<Value, ExportError> {
    let token = |key: &str| gguf.size(&format!("tokenizer.ggml.{key}_token_id")).ok();
    let mut ends: Vec<usize> = token("eos").into_iter().collect();
    ends.extend(["eot", "eom"].iter().filter_map(|k| token(k)));
    ends.dedup();
    Ok(json!({
        "model": {
            "bos_token_id": token("bos"),
            "context_length": d.context,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": "model.onnx",
                "head_size": d.head_size,
                "hidden_size": d.hidden,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
                "num_attention_heads": d.heads,
                "num_hidden_layers": d.layers,
                "num_key_value_heads": d.kv_heads,
            },
            "eos_token_id": ends,
            "pad_token_id": token("padding").or(token("eos")),
            "type": d.architecture.genai_name(),
            "vocab_size": d.vocabulary,
        },
        "search": {
            "do_sample": false, "max_length": d.context, "min_length": 0, "num_beams": 1,
            "num_return_sequences": 1, "past_present_share_buffer": true,
            "repetition_penalty": 1.0, "temperature": 1.0, "top_k": 1, "top_p": 1.0,
        },
    }))
}
