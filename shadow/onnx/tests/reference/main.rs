//! Exported models against other people's implementations, on the same GGUF
//! file: logits against `reference/logits.py` (numpy), token ids against
//! `reference/tokens.py` (tiktoken, sentencepiece). `tests/adapters.rs` has steps
//! under an adapter: the engine's own environment, of which a process has one.
//!
//! Needs pulled models in `$UNDERSTUDY_MODELS`, `ORT_DYLIB_PATH`, and a Python
//! (`$UNDERSTUDY_REFERENCE_PYTHON`, else `python3`) with `reference/requirements.txt`.
//! Without them each test says what it skipped. To see the figures:
//!
//!     cargo test --release -p understudy-onnx --test reference -- --nocapture
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod bench;
mod logits;
mod tokens;

use std::sync::OnceLock;

use ort::environment::Environment;

/// One a process.
fn environment() -> Option<&'static Environment> {
    static ONE: OnceLock<Environment> = OnceLock::new();
    let library = std::env::var_os("ORT_DYLIB_PATH")?;
    Some(ONE.get_or_init(|| ort::init_from(library).unwrap().with_telemetry(false).build().unwrap()))
}
