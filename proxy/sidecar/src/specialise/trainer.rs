//! One training, as a child process: rows in over a pipe, progress out, an
//! adapter's folder at the end.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::alone::Alone;
use super::environment::{self, Environment};
use super::kept::Kept;
use super::options;
use crate::console;
use crate::failure::Failure;

/// What a trainer that is let go of gets to keep its checkpoint: it looks whether it is to
/// end between two pieces of a step, and a piece takes up to 16 seconds.
const END_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Of a trainer that somebody else killed: what it needs is known only as it goes.
const KILLED: &str = "the trainer was killed (signal 9), most likely because memory ran out: give it more (a container's limit counts, too), or go on from its checkpoint with fewer tokens at a time (--micro-tokens, by default 1,024): understudy specialise TASK --resume -- --micro-tokens 512";

/// What is to be trained.
#[derive(Debug, Clone)]
pub(crate) struct Training {
    /// The base's GGUF file.
    pub(crate) base: PathBuf,
    /// Its licence.
    pub(crate) licence: String,
    /// Whether that may forbid commercial use.
    pub(crate) accepts_licence: bool,
    /// Where the run's checkpoint and its adapter go.
    pub(crate) out: PathBuf,
    /// Its whole budget.
    pub(crate) minutes: f64,
    /// Whether a checkpoint of an earlier run is gone on with.
    pub(crate) resume: bool,
    /// The trainer's own options, as they are.
    pub(crate) options: Vec<String>,
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

/// What the interpreter is given.
fn arguments(training: &Training) -> Vec<OsString> {
    let mut all: Vec<OsString> = ["-m", "understudy_specialise", "--base"].map(OsString::from).into();
    // The trainer runs in a folder of ours.
    all.push(environment::absolute(&training.base).into());
    all.push("--out".into());
    all.push(environment::absolute(&training.out).into());
    all.extend(["--minutes".to_owned(), training.minutes.to_string()].map(OsString::from));
    if !training.licence.is_empty() {
        all.extend(["--licence", &training.licence].map(OsString::from));
        if training.accepts_licence {
            all.extend(["--accept-licence", &training.licence].map(OsString::from));
        }
    }
    if training.resume {
        all.push("--resume".into());
    }
    // A container's quota is known here; what a person says comes later, and counts.
    if let Ok(threads) = std::thread::available_parallelism() {
        all.extend(["--threads".to_owned(), threads.to_string()].map(OsString::from));
    }
    all.extend(training.options.iter().map(OsString::from));
    all
}

/// The trainer's refusals of a checkpoint: of other rows, of another base, or damaged. Any
/// other failure leaves it as good as it was.
const UNFIT: [&str; 2] = ["other_run", "bad_checkpoint"];

/// Tells the trainer to keep its checkpoint and end; whoever says so twice does not
/// want to wait for that.
fn end(child: &mut Child, again: bool) {
    if again {
        let _ = child.start_kill();
    } else if let Some(pid) =
        child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// The trainer's process. Whoever lets go of it before it has ended wants the end: it is
/// told so, and killed only if it does not keep its checkpoint in time.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.id().is_none() {
            return;
        }
        end(&mut self.0, false);
        let until = Instant::now() + END_WITHIN;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::park_timeout(LOOK);
        }
    }
}

/// Trains. Returns the adapter's name: the beginning of the hash over what is in it.
///
/// # Errors
/// The trainer's refusal with its remedy, or how it ended.
pub(crate) async fn train(
    environment: &Environment,
    alone: &Alone,
    training: &Training,
    rows: Vec<u8>,
) -> Result<String, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::Failed(format!("the trainer cannot be run: {e}"));
    let mut command = Command::new("nice");
    // The agent's calls and the engine come first.
    command.args(["-n", "5"]).arg(&environment.python).args(arguments(training));
    environment::apart(command.as_std_mut(), &environment.path);
    alone.held_by(command.as_std_mut());
    command.env("PYTHONPATH", &environment.path).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running(command.spawn().map_err(|e| failed(&e))?);
    let (Some(mut stdin), Some(stdout), Some(mut stderr)) =
        (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take())
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
    let bar = console::bar((training.minutes * 60.0) as u64, "{bar:32} {msg}");
    let mut name = None;
    let mut refused = None;
    let mut lines = BufReader::new(stdout).lines();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate()).map_err(|e| failed(&e))?,
        signal(SignalKind::interrupt()).map_err(|e| failed(&e))?,
    );
    let mut told = 0u32;
    loop {
        // The checkpoint is the trainer's: it is waited for.
        let line = tokio::select! {
            line = lines.next_line() => line.map_err(|e| failed(&e))?,
            _ = terminate.recv() => { told += 1; end(&mut child.0, told > 1); continue }
            _ = interrupt.recv() => { told += 1; end(&mut child.0, told > 1); continue }
        };
        let Some(line) = line else { break };
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
                let remedy = options::remedy(&code, &remedy);
                let said = format!("training refused ({code}): {message}; {remedy}");
                let unfit = UNFIT.contains(&code.as_str());
                refused = Some(if unfit { Failure::Unfit(said) } else { Failure::Failed(said) });
            }
            Ok(Told::Other) => {}
            Err(_) => tracing::debug!(line, "the trainer said something else"),
        }
    }
    bar.finish_and_clear();
    let status = child.0.wait().await.map_err(|e| failed(&e))?;
    given.abort();
    let said = said.await.unwrap_or_default();
    if let Some(refused) = refused {
        return Err(refused);
    }
    match (status.code(), name) {
        (Some(0), Some(name)) => Ok(name),
        (Some(130), _) => Err(Failure::Failed(
            "training was interrupted; its checkpoint is kept, and --resume goes on from there".to_owned(),
        )),
        _ if told > 0 => Err(Failure::Failed("training was interrupted before it had begun".to_owned())),
        _ if status.signal() == Some(libc::SIGKILL) => Err(Failure::Failed(KILLED.to_owned())),
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
    Kept::remove(out);
    if to.is_dir() {
        // The same adapter once more.
        std::fs::remove_dir_all(out).map_err(blame)?;
    } else {
        std::fs::rename(out, &to).map_err(blame)?;
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn alone(dir: &Path) -> Alone {
        Alone::take(dir, understudy_policy::TaskId(1)).unwrap()
    }

    /// A trainer that is a shell script.
    fn scripted(dir: &Path, script: &str) -> (Environment, Training) {
        let python = dir.join("python");
        std::fs::write(&python, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o700)).unwrap();
        let training = Training {
            base: dir.join("base.gguf"),
            licence: "Apache-2.0".to_owned(),
            accepts_licence: false,
            out: dir.join("out"),
            minutes: 1.0,
            resume: false,
            options: Vec::new(),
        };
        (Environment { python, path: dir.to_path_buf() }, training)
    }

    #[tokio::test]
    async fn rows_go_in_and_a_name_comes_out() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"cat > "$PYTHONPATH/rows"
echo "$PYTHONSAFEPATH $(pwd -P)" > "$PYTHONPATH/where"
echo '{"event":"progress","phase":"train","done":1,"of":2,"seconds_left":30,"loss":0.5}'
echo '{"event":"evaluated","step":2,"agreement":0.75,"rows":8}'
echo '{"event":"news"}'
echo '{"event":"done","folder":"x","adapter_sha256":"0123456789abcdef0123"}'"#;
        let (environment, training) = scripted(dir.path(), script);
        let name =
            train(&environment, &alone(dir.path()), &training, b"header\nrow\n".to_vec()).await.unwrap();
        assert_eq!(name, "0123456789abcdef");
        assert_eq!(std::fs::read(dir.path().join("rows")).unwrap(), b"header\nrow\n");
        // In a folder of ours: the agent's project is no place for modules.
        let at = std::fs::read_to_string(dir.path().join("where")).unwrap();
        assert_eq!(at.trim_end(), format!("1 {}", dir.path().canonicalize().unwrap().display()));
    }

    #[tokio::test]
    async fn a_refusal_says_what_to_do_and_a_crash_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = r#"echo '{"event":"refused","code":"too_few_rows","message":"12 rows","remedy":"record more"}'; exit 2"#;
        // A checkpoint that does not fit is told apart: only then does it begin anew.
        let unfit = refusal.replace("too_few_rows", "other_run");
        let (environment, other) = scripted(dir.path(), &unfit);
        let why = train(&environment, &alone(dir.path()), &other, Vec::new()).await.unwrap_err();
        assert!(matches!(why, Failure::Unfit(_)), "{why}");
        let (environment, training) = scripted(dir.path(), refusal);
        // More than a pipe holds: a trainer that does not read must not hang us.
        let why = train(&environment, &alone(dir.path()), &training, vec![b'x'; 1 << 20])
            .await
            .unwrap_err()
            .to_string();
        assert!(why.contains("too_few_rows") && why.contains("record more"), "{why}");
        let (environment, training) = scripted(dir.path(), "echo 'no such module' >&2; exit 1");
        let why =
            train(&environment, &alone(dir.path()), &training, Vec::new()).await.unwrap_err().to_string();
        assert!(why.contains("no such module"), "{why}");
        let (environment, training) = scripted(dir.path(), "exit 130");
        let why =
            train(&environment, &alone(dir.path()), &training, Vec::new()).await.unwrap_err().to_string();
        assert!(why.contains("--resume"), "{why}");
        let (environment, training) = scripted(dir.path(), "kill -9 $$");
        let why =
            train(&environment, &alone(dir.path()), &training, Vec::new()).await.unwrap_err().to_string();
        assert!(why.contains("memory ran out") && why.contains("--resume -- --micro-tokens"), "{why}");
    }

    #[tokio::test]
    async fn a_trainer_that_is_let_go_of_keeps_its_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"trap 'echo kept > "$PYTHONPATH/checkpoint"; exit 130' TERM
echo begun > "$PYTHONPATH/begun"
while true; do sleep 0.05; done"#;
        let (environment, training) = scripted(dir.path(), script);
        let (begun, lock) = (dir.path().join("begun"), alone(dir.path()));
        tokio::select! {
            it = train(&environment, &lock, &training, Vec::new()) => panic!("it ends by itself: {it:?}"),
            () = async {
                while !begun.is_file() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } => {}
        }
        assert!(dir.path().join("checkpoint").is_file());
    }

    #[test]
    fn the_trainers_own_options_come_last_and_as_they_are() {
        let (_, training) = scripted(tempfile::tempdir().unwrap().path(), "");
        let said = |t: &Training| -> Vec<String> {
            arguments(t).into_iter().skip(2).map(|a| a.into_string().unwrap()).collect()
        };
        let plain = said(&training);
        assert_eq!((plain[0].as_str(), plain[2].as_str()), ("--base", "--out"));
        let given = Training { base: "base.gguf".into(), out: "out".into(), ..training.clone() };
        let given = said(&given);
        assert!(Path::new(&given[1]).is_absolute() && Path::new(&given[3]).is_absolute(), "{given:?}");
        assert_eq!(plain[4..9], ["--minutes", "1", "--licence", "Apache-2.0", "--threads"]);
        assert!(plain[9].parse::<usize>().unwrap() > 0 && plain.len() == 10, "{plain:?}");
        let own = ["--drop-long", "--rate", "1e-4"].map(str::to_owned);
        let more = Training { resume: true, accepts_licence: true, options: own.into(), ..training };
        let more = said(&more);
        assert_eq!(more[8..12], ["--accept-licence", "Apache-2.0", "--resume", "--threads"]);
        assert_eq!(more[13..], ["--drop-long", "--rate", "1e-4"]);
    }

    #[test]
    fn an_adapters_folder_holds_nothing_of_its_training() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        Kept { upto: 1, data_sha256: String::new(), class_cap: None }.write(&out).unwrap();
        std::fs::write(out.join("card.json"), "{}").unwrap();
        let to = install(&out, &dir.path().join("adapters"), "0123456789abcdef").unwrap();
        let there: Vec<_> = std::fs::read_dir(to).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(there, ["card.json"]);
    }
}
