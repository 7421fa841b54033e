//! The Python that trains: an environment of pinned versions under the cache
//! folder, and the package, which travels inside this binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// A file of the package, by its name.
macro_rules! package {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../deploy/specialise/understudy_specialise/", $name)))),+]
    };
}

const PACKAGE: &[(&str, &str)] = package![
    "__init__.py",
    "__main__.py",
    "adapter.py",
    "attention.py",
    "base.py",
    "checkpoint.py",
    "clock.py",
    "distil.py",
    "evaluate.py",
    "interval.py",
    "lora.py",
    "loss.py",
    "measure.py",
    "memory.py",
    "options.py",
    "progress.py",
    "prompt.py",
    "refusals.py",
    "rows.py",
    "run.py",
    "schedule.py",
    "tokens.py",
    "train.py",
    "vary.py",
];

const REQUIREMENTS: &str = include_str!("../../../../deploy/specialise/requirements.txt");

/// What the environment takes, seen with the pinned versions.
const SIZE: &str = "some 3 GB to fetch, 7 GB on the disk";

/// Room for it, and for what pip unpacks meanwhile.
const ROOM: u64 = 8 << 30;

/// Where to find both.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// The interpreter.
    pub(crate) python: PathBuf,
    /// The folder with the package in it.
    pub(crate) path: PathBuf,
}

impl Environment {
    /// The environment, made if it is not there; `say` is told before anything large begins.
    ///
    /// # Errors
    /// Without Python 3.11, the venv module, the package index or disk space: what is missing.
    pub(crate) fn make(cache: &Path, say: &dyn Fn(&str)) -> Result<Self, Failure> {
        // The interpreter runs in another folder than we do.
        let cache = &absolute(cache);
        let venv = venv(cache);
        let python = venv.join("bin").join("python");
        if !venv.join("ready").is_file() {
            say(&format!("training needs PyTorch and PEFT: {SIZE}, once, under {}", venv.display()));
            say(
                "without a GPU a third of it is enough: PIP_EXTRA_INDEX_URL may name an index that has PyTorch for CPUs only",
            );
            let _ = fs::remove_dir_all(&venv);
            has_room(cache, ROOM)?;
            let mut making = Command::new("python3");
            apart(&mut making, cache).args(["-m", "venv"]).arg(&venv);
            run(&mut making, "python3 -m venv", VENV_REMEDY)?;
            let list = venv.join("requirements.txt");
            write(&list, REQUIREMENTS)?;
            let mut pip = Command::new(&python);
            apart(&mut pip, cache);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&list);
            run(&mut pip, "pip install", PIP_REMEDY)?;
            write(&venv.join("ready"), "")?;
        }
        Ok(Self { python, path: unpack(cache)? })
    }
}

/// The same place from whatever folder.
pub(super) fn absolute(path: &Path) -> PathBuf {
    // Only an empty path has no such form, and that names no place.
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Keeps the agent's project out of an interpreter: `-m` looks for modules in the current
/// folder first, so a `json.py` there would be run, and what pip finds by `PYTHONPATH` it
/// would not install. Who runs the trainer sets a path of our own again.
pub(super) fn apart<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command.env("PYTHONSAFEPATH", "1").env_remove("PYTHONPATH").current_dir(folder);
    if std::env::var_os("PYTHONNOUSERSITE").is_none() {
        command.env("PYTHONNOUSERSITE", "1");
    }
    command
}

/// Refuses early what would fail after minutes of fetching.
fn has_room(cache: &Path, room: u64) -> Result<(), Failure> {
    let blame = |source| Failure::File { path: cache.to_path_buf(), source };
    fs::create_dir_all(cache).map_err(blame)?;
    let stat = rustix::fs::statvfs(cache).map_err(|e| blame(e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= room {
        return Ok(());
    }
    Err(Failure::Unavailable(format!(
        "the training environment takes {} GiB and {} has {} GiB free: free some, or set UNDERSTUDY_CACHE to a folder on another disk",
        room >> 30,
        cache.display(),
        free >> 30
    )))
}

const VENV_REMEDY: &str = "install Python 3.11 or later with its venv module (Debian: python3-venv)";
const PIP_REMEDY: &str = "look at the message above: no network, no disk space, or another Python";

/// Named after what is in it, so that other versions make another one.
fn venv(cache: &Path) -> PathBuf {
    cache.join("venv").join(short(&[REQUIREMENTS]))
}

fn unpack(cache: &Path) -> Result<PathBuf, Failure> {
    let all: Vec<&str> = PACKAGE.iter().flat_map(|(name, text)| [*name, *text]).collect();
    let path = cache.join("specialise").join(short(&all));
    let folder = path.join("understudy_specialise");
    fs::create_dir_all(&folder).map_err(|source| Failure::File { path: folder.clone(), source })?;
    for (name, text) in PACKAGE {
        write(&folder.join(name), text)?;
    }
    Ok(path)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| Failure::File { path: path.to_path_buf(), source })
}

fn short(texts: &[&str]) -> String {
    let mut sum = Sha256::new();
    for text in texts {
        sum.update(text.as_bytes());
    }
    hex::encode(sum.finalize()).chars().take(16).collect()
}

fn run(command: &mut Command, what: &str, remedy: &str) -> Result<(), Failure> {
    match command.stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Unavailable(format!("{what} ended with {status}: {remedy}"))),
        Err(e) => Err(Failure::Unavailable(format!("{what} cannot be run ({e}): {remedy}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_package_travels() {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/specialise/understudy_specialise");
        let mut there: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.ends_with(".py"))
            .collect();
        there.sort();
        let carried: Vec<&str> = PACKAGE.iter().map(|(name, _)| *name).collect();
        assert_eq!(there, carried);
    }

    #[test]
    fn no_module_of_the_agents_project_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "pwd -P; echo $PYTHONSAFEPATH; echo ${PYTHONPATH:-none}; echo $PYTHONNOUSERSITE"]);
        let said = apart(command.env("PYTHONPATH", "."), dir.path()).output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(Path::new(lines[0]), dir.path().canonicalize().unwrap());
        assert_eq!(lines[1..3], ["1", "none"]);
        assert!(!lines[3].is_empty(), "{said}");
        assert!(absolute(Path::new("cache")).is_absolute());
    }

    #[test]
    fn a_disk_that_is_too_small_is_told_before_anything_is_fetched() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        has_room(&cache, 1).unwrap();
        let why = has_room(&cache, u64::MAX).unwrap_err().to_string();
        assert!(why.contains("GiB free") && why.contains(&cache.display().to_string()), "{why}");
    }

    #[test]
    fn the_package_is_unpacked_whole_and_again_over_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = unpack(dir.path()).unwrap();
        assert_eq!(unpack(dir.path()).unwrap(), path);
        assert_eq!(fs::read_dir(path.join("understudy_specialise")).unwrap().count(), PACKAGE.len());
    }
}
