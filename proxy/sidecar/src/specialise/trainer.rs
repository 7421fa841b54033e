//! One training, as a child process: rows in over a pipe, progress out, an
//! adapter's folder at the end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use super::environment::Environment;
use crate::failure::Failure;

/// What is to be trained.
#[derive(Debug, Clone)]
pub(crate) struct Training {
    /// The base's GGUF file.
    pub(crate) base: PathBuf,
    /// Its licence.
    pub(crate) licence: String,
    /// Where the run's checkpoint and its adapter go.
    pub(crate) out: PathBuf,
    /// Its whole budget.
    pub(crate) minutes: f64,
    /// Whether a checkpoint of an earlier run is gone on with.
    pub(crate) resume: bool,
}

/// What the trainer tells.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Progress {
        phase: String,
        done: u64,
        of: u64,
        seconds_left: f64,
        #[serde(default)]
        loss: Option<f64>,
    },
    Evaluated {
        agreement: f64,
    },
    Done {
        adapter_sha256: String,
    },
    Refused {
        code: String,
        message: String,
        remedy: String,
    },
    #[serde(other)]
    Other,
}

/// Trains. Returns the adapter's name: the beginning of the hash over what is in it.
///
/// # Errors
/// The trainer's refusal with its remedy, or how it ended.
pub(crate) async fn train(
    environment: &Environment,
    training: &Training,
    rows: Vec<u8>,
) -> Result<String, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::Failed(format!("the trainer cannot be run: {e}"));
    let mut command = Command::new("nice");
    // The agent's calls and the engine come first.
    command.args(["-n", "5"]).arg(&environment.python);
    command.args(["-m", "understudy_specialise", "--base"]).arg(&training.base);
    command.arg("--out").arg(&training.out).args(["--minutes", &training.minutes.to_string()]);
    if !training.licence.is_empty() {
        command.args(["--licence", &training.licence]);
    }
    if training.resume {
        command.arg("--resume");
    }
    command.env("PYTHONPATH", &environment.path).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| failed(&e))?;
    let (Some(mut stdin), Some(stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed(&"it has no pipes"));
    };
    // A trainer that refuses does not read them all.
    let given = tokio::spawn(async move {
        let _ = stdin.write_all(&rows).await;
    });
    let said = tokio::spawn(async move {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text).await;
        text
    });
    let bar = bar(training.minutes);
    let mut name = None;
    let mut refused = None;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.map_err(|e| failed(&e))? {
        match serde_json::from_str(&line) {
            Ok(Told::Progress { phase, done, of, seconds_left, loss }) => {
                let loss = loss.map_or_else(String::new, |l| format!(", loss {l:.3}"));
                bar.set_position((training.minutes * 60.0 - seconds_left).max(0.0) as u64);
                let left = humantime::format_duration(Duration::from_secs(seconds_left.max(0.0) as u64));
                bar.set_message(format!("{phase} {done}/{of}{loss}, {left} left"));
            }
            Ok(Told::Evaluated { agreement }) => {
                bar.suspend(|| tracing::info!(agreement, "development rows agree"))
            }
            Ok(Told::Done { adapter_sha256 }) => {
                name = Some(adapter_sha256.chars().take(16).collect::<String>())
            }
            Ok(Told::Refused { code, message, remedy }) => {
                refused = Some(format!("training refused ({code}): {message}; {remedy}"));
            }
            Ok(Told::Other) => {}
            Err(_) => tracing::debug!(line, "the trainer said something else"),
        }
    }
    bar.finish_and_clear();
    let status = child.wait().await.map_err(|e| failed(&e))?;
    given.abort();
    let said = said.await.unwrap_or_default();
    if let Some(refused) = refused {
        return Err(Failure::Failed(refused));
    }
    match (status.code(), name) {
        (Some(0), Some(name)) => Ok(name),
        (Some(130), _) => Err(Failure::Failed(
            "training was interrupted; its checkpoint is kept, and --resume goes on from there".to_owned(),
        )),
        _ => {
            let lines: Vec<&str> = said.lines().collect();
            let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
            Err(Failure::Failed(format!("the trainer ended with {status}: {}", last.join(" / "))))
        }
    }
}

/// Puts a trained folder where the engine looks for adapters.
///
/// # Errors
/// What the system says.
pub(crate) fn install(out: &Path, adapters: &Path, name: &str) -> Result<PathBuf, Failure> {
    let to = adapters.join(name);
    let blame = |source| Failure::File { path: to.clone(), source };
    std::fs::create_dir_all(adapters).map_err(blame)?;
    if to.is_dir() {
        // The same adapter once more.
        std::fs::remove_dir_all(out).map_err(blame)?;
    } else {
        std::fs::rename(out, &to).map_err(blame)?;
    }
    Ok(to)
}

fn bar(minutes: f64) -> ProgressBar {
    let bar = ProgressBar::new((minutes * 60.0) as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {msg}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A trainer that is a shell script.
    fn scripted(dir: &Path, script: &str) -> (Environment, Training) {
        let python = dir.join("python");
        std::fs::write(&python, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o700)).unwrap();
        let training = Training {
            base: dir.join("base.gguf"),
            licence: "Apache-2.0".to_owned(),
            out: dir.join("out"),
            minutes: 1.0,
            resume: false,
        };
        (Environment { python, path: dir.to_path_buf() }, training)
    }

    #[tokio::test]
    async fn rows_go_in_and_a_name_comes_out() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"cat > "$PYTHONPATH/rows"
echo '{"event":"progress","phase":"train","done":1,"of":2,"seconds_left":30,"loss":0.5}'
echo '{"event":"evaluated","step":2,"agreement":0.75,"rows":8}'
echo '{"event":"news"}'
echo '{"event":"done","folder":"x","adapter_sha256":"0123456789abcdef0123"}'"#;
        let (environment, training) = scripted(dir.path(), script);
        let name = train(&environment, &training, b"header\nrow\n".to_vec()).await.unwrap();
        assert_eq!(name, "0123456789abcdef");
        assert_eq!(std::fs::read(dir.path().join("rows")).unwrap(), b"header\nrow\n");
    }

    #[tokio::test]
    async fn a_refusal_says_what_to_do_and_a_crash_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = r#"echo '{"event":"refused","code":"too_few_rows","message":"12 rows","remedy":"record more"}'; exit 2"#;
        let (environment, training) = scripted(dir.path(), refusal);
        // More than a pipe holds: a trainer that does not read must not hang us.
        let why = train(&environment, &training, vec![b'x'; 1 << 20]).await.unwrap_err().to_string();
        assert!(why.contains("too_few_rows") && why.contains("record more"), "{why}");
        let (environment, training) = scripted(dir.path(), "echo 'no such module' >&2; exit 1");
        let why = train(&environment, &training, Vec::new()).await.unwrap_err().to_string();
        assert!(why.contains("no such module"), "{why}");
        let (environment, training) = scripted(dir.path(), "exit 130");
        let why = train(&environment, &training, Vec::new()).await.unwrap_err().to_string();
        assert!(why.contains("--resume"), "{why}");
    }
}
