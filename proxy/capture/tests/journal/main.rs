//! The journal as a process sees it: killed at any moment, and on damaged disks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod crash;
mod damage;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use understudy_call::{Belongs, ConversationKey, Credential, Dialect, ExchangeId, FormHash, Metadata};
use understudy_capture::{Captured, FileKey, Hooks, Journal, JournalConfig};

fn open(dir: &Path) -> Journal {
    let hooks = Hooks {
        fingerprint: Arc::new(|_, r, _, _| Belongs {
            form: FormHash([r.messages.len() as u8; 16]),
            conversation: ConversationKey([1; 16]),
            opening: 0,
        }),
        audit: Arc::new(|_, _, _| 1.0),
    };
    let config = JournalConfig {
        dir: dir.to_owned(),
        volume_bytes: 1 << 20,
        free_floor_bytes: 0,
        ..JournalConfig::default()
    };
    let vault = FileKey::from_bytes(&[8; 32]).unwrap();
    Journal::open(config, Arc::new(vault), hooks).unwrap()
}

fn call(n: u64, text: &str) -> Captured {
    let request = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    let reply = serde_json::json!({"id": "r", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]});
    Captured {
        id: ExchangeId(u128::from(n).to_be_bytes()),
        meta: Metadata::answered("p", Dialect::OpenaiChat, Credential([7; 16])),
        request: vec![Bytes::from(request.to_string())],
        reply: vec![Bytes::from(reply.to_string())],
        reply_content_type: "application/json".into(),
        reply_encoding: String::new(),
        understudy_reply: None,
    }
}

/// Text of this length that does not compress, and is the same for the same number.
fn noise(n: u64, len: usize) -> String {
    let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            char::from(b'a' + (x >> 40) as u8 % 26)
        })
        .collect()
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for e in std::fs::read_dir(dir).unwrap() {
        let path = e.unwrap().path();
        if path.is_dir() {
            out.extend(files_under(&path));
        } else {
            out.push(path);
        }
    }
    out
}
