//! `tokenizer.json` rebuilt from what a GGUF file keeps of a tokenizer.
//!
//! Two families: GPT-2's byte-level BPE, whose merges are in the file, and
//! SentencePiece BPE with byte fallback, whose merges are the ways in which a
//! known token splits into two known tokens, in the order of the token's score
//! (what SentencePiece's own encoder does).

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::ExportError;
use super::gguf::{Gguf, Value as Key};

/// llama.cpp's token types (`enum llama_token_type`).
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// `tokenizer.json` for the tokenizers library.
pub(crate) fn rebuild(gguf: &Gguf) -> Result<Value, ExportError> {
    let tokens = gguf.texts("tokenizer.ggml.tokens")?;
    let vocabulary: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, t)| ((*t).to_owned(), id.into())).collect();
    let added = added_tokens(gguf, &tokens)?;
    match gguf.text("tokenizer.ggml.model")? {
        "gpt2" => {
            let pre = pre_tokenizer(gguf.maybe_text("tokenizer.ggml.pre").unwrap_or("default"))?;
            let merges = gguf.texts("tokenizer.ggml.merges")?;
            let merges: Vec<Value> =
                merges.iter().filter_map(|m| m.split_once(' ')).map(|(a, b)| json!([a, b])).collect();
            Ok(file(
                added,
                Value::Null,
                pre,
                Value::Null,
                json!({"type": "ByteLevel", "add_prefix_space": true,
                       "trim_offsets": true, "use_regex": true}),
                bpe(vocabulary, merges, Bytes::InAlphabet),
            ))
        }
        "llama" => {
            let merges = sentencepiece_merges(gguf, &tokens)?;
            let space =
                |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
            Ok(file(
                added,
                space(" ", "▁"),
                Value::Null,
                begin(gguf, &tokens),
                json!({"type": "Sequence", "decoders": [
                    space("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}]}),
                bpe(vocabulary, merges, Bytes::Fallback),
            ))
        }
        other => Err(ExportError::UnknownTokenizer(other.into())),
    }
}

fn file(
    added: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Value,
) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor, "decoder": decoder, "model": model,
    })
}

/// Where bytes that are no token go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// Every byte has a letter in the alphabet.
    InAlphabet,
    /// Tokens `<0x00>` to `<0xFF>`.
    Fallback,
}

fn bpe(vocabulary: Map<String, Value>, merges: Vec<Value>, bytes: Bytes) -> Value {
    let fallback = bytes == Bytes::Fallback;
    json!({
        "type": "BPE", "dropout": null,
        "unk_token": if fallback { Value::from("<unk>") } else { Value::Null },
        "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": fallback, "byte_fallback": fallback, "ignore_merges": false,
        "vocab": vocabulary, "merges": merges,
    })
}

/// The split before BPE, by llama.cpp's name for it.
fn pre_tokenizer(name: &str) -> Result<Value, ExportError> {
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    match name {
        "smollm" => Ok(json!({"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true}, byte_level]})),
        "gpt-2" => Ok(byte_level),
        other => Err(ExportError::UnknownTokenizer(format!("gpt2/{other}"))),
    }
}

fn added_tokens(gguf: &Gguf, tokens: &[&str]) -> Result<Vec<Value>, ExportError> {
    let kinds = gguf.list("tokenizer.ggml.token_type")?;
    let added = |(id, (token, kind)): (usize, (&&str, &Key))| {
        let special = match kind {
            Key::Int(CONTROL) => true,
            Key::Int(USER_DEFINED) => false,
            _ => return None,
        };
        Some(json!({"id": id, "content": token, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": special}))
    };
    Ok(tokens.iter().zip(kinds).enumerate().filter_map(added).collect())
}

fn sentencepiece_merges(gguf: &Gguf, tokens: &[&str]) -> Result<Vec<Value>, ExportError> {
    let known: HashSet<&str> = tokens.iter().copied().collect();
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(i, t)| (*t, i)).collect();
    let kinds = gguf.list("tokenizer.ggml.token_type")?;
    let scores = gguf.list("tokenizer.ggml.scores")?;
    let mut splits = Vec::new();
    for ((token, kind), score) in tokens.iter().zip(kinds).zip(scores) {
        let (Key::Int(1), Key::Float(score)) = (kind, score) else {
            continue;
        };
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if known.contains(left) && known.contains(right) {
                splits.push((*score, ids.get(left), ids.get(right), left, right));
            }
        }
    }
    splits.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    Ok(splits.into_iter().map(|(.., left, right)| json!([left, right])).collect())
}

/// The token put before every text, if the model wants one.
fn begin(gguf: &Gguf, tokens: &[&str]) -> Value {
    let bos = gguf.size("tokenizer.ggml.bos_token_id").ok();
    let Some((id, token)) = bos.and_then(|id| tokens.get(id).map(|t| (id, *t))) else {
        return Value::Null;
    };
    if gguf.flag("tokenizer.ggml.add_bos_token") == Some(false) {
        return Value::Null;
    }
    let special = json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    json!({
        "type": "TemplateProcessing",
        "single": [special, text("A")],
        "pair": [special, text("A"), text("B")],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
    })
}
