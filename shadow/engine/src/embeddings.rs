//! `POST /v1/embeddings`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use understudy_call::{Declined, Priority};

use crate::chat::CancelOnDrop;
use crate::embedding::Job;
use crate::refusal::{bad_request, declined, unknown};
use crate::shared::Engine;

/// Most texts in one request, as OpenAI has it.
const MOST_TEXTS: usize = 2048;

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: Encoding,
    #[serde(default)]
    dimensions: Option<usize>,
    #[serde(default)]
    understudy: Option<Extension>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Extension {
    priority: Option<Priority>,
}

pub(crate) async fn embeddings(State(engine): State<Arc<Engine>>, body: Bytes) -> Response {
    let Some(embed) = &engine.embed else {
        return unknown("no embedder is loaded; start the engine with one");
    };
    let wanted: Wanted = match serde_json::from_slice(&body) {
        Ok(w) => w,
        // The position only: a message of serde's may quote the input.
        Err(e) => {
            return bad_request(&format!(
                "not an embeddings request (input must be a text or a list of texts) at line {} column {}",
                e.line(),
                e.column()
            ));
        }
    };
    let texts = match wanted.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
    };
    if texts.is_empty() || texts.len() > MOST_TEXTS {
        return bad_request(&format!("{} texts; 1 to {MOST_TEXTS} are taken", texts.len()));
    }
    let priority = wanted.understudy.and_then(|u| u.priority).unwrap_or(Priority::Live);
    let guard = CancelOnDrop(Arc::new(AtomicBool::new(false)));
    let (answer, answered) = oneshot::channel();
    let pushed = embed.queue.try_push(priority, Job { texts, cancelled: Arc::clone(&guard.0), answer });
    let done = match pushed {
        Ok(()) => answered.await.unwrap_or(Err(Declined::Unavailable)),
        Err(why) => Err(why),
    };
    let done = match done {
        Ok(d) => d,
        Err(why) => {
            engine.count(why);
            return declined(why);
        }
    };
    let size = done.vectors.first().map_or(0, Vec::len);
    if let Some(d) = wanted.dimensions.filter(|d| *d != size) {
        return bad_request(&format!("dimensions = {d}; this model has {size}"));
    }
    let data: Vec<Value> = done
        .vectors
        .iter()
        .enumerate()
        .map(|(index, v)| {
            let vector = match wanted.encoding_format {
                Encoding::Float => json!(v),
                Encoding::Base64 => json!(base64(v)),
            };
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    let model = if wanted.model.is_empty() { embed.name.clone() } else { wanted.model };
    Json(json!({
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"prompt_tokens": done.tokens, "total_tokens": done.tokens},
    }))
    .into_response()
}

/// Little-endian floats in RFC 4648 base64, as OpenAI's SDKs ask for by default.
fn base64(vector: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            if i <= group.len() {
                let letter = LETTERS.get((bits >> (18 - 6 * i) & 63) as usize).copied().unwrap_or(b'A');
                out.push(char::from(letter));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_rfc_4648_of_little_endian_floats() {
        // As Python's base64.b64encode(struct.pack('<..f', ...)) writes them.
        assert_eq!(base64(&[]), "");
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(base64(&[0.5, 0.25, 3.0]), "AAAAPwAAgD4AAEBA");
    }
}
