//! ONNX Runtime: the shared library, the environment, and which execution
//! provider a session got.
//!
//! The library is loaded when it is first needed, from the path that the caller
//! gives, else from `ORT_DYLIB_PATH`, else from the system's search path. It is
//! the shared library of the PyPI wheel `onnxruntime`; `scripts/onnxruntime.sh`
//! fetches it, and that of `onnxruntime-gpu` where its variant says so.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider as _};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

/// Why a model could not be opened on ONNX Runtime.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The shared library is not there, or too old.
    #[error(
        "onnx runtime's shared library did not load from `{path}`: {problem}; \
         run scripts/onnxruntime.sh, or name a libonnxruntime.so of 1.24 or later in engine.library or ORT_DYLIB_PATH"
    )]
    Library {
        /// Where it was looked for.
        path: PathBuf,
        /// What the loader says.
        problem: String,
    },
    /// ONNX Runtime refused something.
    #[error("onnx runtime: {0}")]
    Onnx(String),
    /// Not one of the execution providers that were asked for works.
    #[error("no execution provider works: {}{}", reasons(.tried), remedy(.tried))]
    NoProvider {
        /// Those that were tried, in order, and why each was not to be had.
        tried: Vec<(ExecutionProvider, String)>,
    },
    /// A file of the model's folder is missing or not what it should be.
    #[error("model folder `{folder}`: {problem}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong, and with which file.
        problem: String,
    },
}

impl<R> From<ort::Error<R>> for RuntimeError {
    fn from(e: ort::Error<R>) -> Self {
        Self::Onnx(e.to_string())
    }
}

fn reasons(tried: &[(ExecutionProvider, String)]) -> String {
    if tried.is_empty() {
        return "none was named".to_owned();
    }
    tried.iter().map(|(p, why)| format!("{} ({why})", p.label())).collect::<Vec<_>>().join(", ")
}

/// Where even the CPU fails, no other provider is the remedy: its reason names the file.
fn remedy(tried: &[(ExecutionProvider, String)]) -> &'static str {
    if tried.iter().any(|(p, _)| *p == ExecutionProvider::Cpu) {
        return "";
    }
    "; add cpu to engine.execution_providers, or use a machine that has one of them and the GPU build of onnx \
     runtime with the libraries that it needs (UNDERSTUDY_ONNXRUNTIME_VARIANT=gpu scripts/onnxruntime.sh)"
}

/// What a session computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutionProvider {
    /// NVIDIA TensorRT.
    TensorRt,
    /// NVIDIA CUDA.
    Cuda,
    /// The processor.
    Cpu,
}

impl ExecutionProvider {
    /// The order in which they are tried.
    pub const ORDER: [Self; 3] = [Self::TensorRt, Self::Cuda, Self::Cpu];

    /// The name used in reports and in an understudy's version.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::TensorRt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }

    /// The provider that has this label.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ORDER.into_iter().find(|p| p.label() == label)
    }

    /// Whether the loaded library was built with it; says nothing of the machine.
    fn is_built_in(self) -> bool {
        match self {
            Self::TensorRt => ep::TensorRT::is_available().unwrap_or(false),
            Self::Cuda => ep::CUDA::is_available().unwrap_or(false),
            Self::Cpu => true,
        }
    }
}

/// How a model is loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Threads inside an operator; 0 is one a core.
    pub threads: usize,
    /// What to compute on, the best first; the first that works is taken.
    pub providers: Vec<ExecutionProvider>,
    /// Key-value caches kept, at least one: a cache remembers its last prompt,
    /// so that prompts which share their head are not computed twice. One more
    /// is needed for each run that is paused while another goes first.
    pub caches: usize,
    /// Most prompt tokens computed between two looks at [`crate::Control`].
    pub prefill_chunk: usize,
    /// The shared library; `None` is `ORT_DYLIB_PATH`, else the system's path.
    pub library: Option<PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            providers: ExecutionProvider::ORDER.to_vec(),
            caches: 3,
            prefill_chunk: 256,
            library: None,
        }
    }
}

/// The environment lives as long as the process: ONNX Runtime allows one.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Loads the shared library, once, and says which version it is.
///
/// # Errors
/// [`RuntimeError::Library`] when it is not found or too old.
pub fn start(library: Option<&Path>) -> Result<String, RuntimeError> {
    environment(library)?;
    Ok(ort::info().to_owned())
}

fn environment(library: Option<&Path>) -> Result<Environment, RuntimeError> {
    let mut held = ENVIRONMENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(env) = held.as_ref() {
        return Ok(env.clone());
    }
    let path =
        library.map(Path::to_path_buf).or_else(from_variable).unwrap_or_else(|| PathBuf::from(SYSTEM_NAME));
    let builder = ort::init_from(&path)
        .map_err(|e| RuntimeError::Library { path: path.clone(), problem: e.to_string() })?;
    // Not enough for the builds of PyPI, which look at ORT_DISABLE_TELEMETRY as well: a
    // program has to set it before it starts threads.
    let env = builder.with_name("understudy").with_telemetry(false).build()?;
    *held = Some(env.clone());
    Ok(env)
}

fn from_variable() -> Option<PathBuf> {
    std::env::var_os("ORT_DYLIB_PATH").filter(|v| !v.is_empty()).map(PathBuf::from)
}

const SYSTEM_NAME: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else if cfg!(windows) {
    "onnxruntime.dll"
} else {
    "libonnxruntime.so"
};

/// Opens a graph on the first execution provider that works.
pub(crate) fn open(model: &Path, opts: &LoadOptions) -> Result<(Session, ExecutionProvider), RuntimeError> {
    let env = environment(opts.library.as_deref())?;
    first_that_works(&opts.providers, |provider| {
        if !provider.is_built_in() {
            tracing::debug!(provider = provider.label(), "not in this build of onnx runtime");
            return Err("not in this build of onnx runtime".to_owned());
        }
        open_on(&env, model, opts, provider).map_err(|e| {
            tracing::warn!(provider = provider.label(), error = %e, "execution provider not used");
            // Those of the native library end with a line of their own.
            e.to_string().trim_end().to_owned()
        })
    })
}

/// What the first of these gives that gives anything, and which one it was.
fn first_that_works<T>(
    providers: &[ExecutionProvider],
    mut attempt: impl FnMut(ExecutionProvider) -> Result<T, String>,
) -> Result<(T, ExecutionProvider), RuntimeError> {
    let mut tried = Vec::new();
    for &provider in providers {
        match attempt(provider) {
            Ok(got) => return Ok((got, provider)),
            Err(why) => tried.push((provider, why)),
        }
    }
    Err(RuntimeError::NoProvider { tried })
}

fn open_on(
    env: &Environment,
    model: &Path,
    opts: &LoadOptions,
    provider: ExecutionProvider,
) -> Result<Session, RuntimeError> {
    let threads = if opts.threads == 0 {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        opts.threads
    };
    // Threads that spin while they wait slow every neighbour on a small machine.
    let builder: SessionBuilder = Session::builder(env)?
        // It warns of every input that has a default: ours are adapters' inputs,
        // and meant so.
        .with_log_level(ort::logging::LogLevel::Error)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?;
    let mut builder = match provider {
        ExecutionProvider::TensorRt => builder.with_execution_providers([
            ep::TensorRT::default().build().error_on_failure(),
            ep::CUDA::default().build().error_on_failure(),
        ])?,
        ExecutionProvider::Cuda => {
            builder.with_execution_providers([ep::CUDA::default().build().error_on_failure()])?
        }
        ExecutionProvider::Cpu => builder,
    };
    Ok(builder.commit_from_file(model)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::ExecutionProvider::{Cpu, Cuda, TensorRt};
    use super::*;

    /// Tries these, of which some fail.
    fn tried(
        providers: &[ExecutionProvider],
        failing: &[ExecutionProvider],
    ) -> (Vec<ExecutionProvider>, Result<ExecutionProvider, String>) {
        let mut asked = Vec::new();
        let got = first_that_works(providers, |provider| {
            asked.push(provider);
            if failing.contains(&provider) { Err(format!("no {provider:?} here")) } else { Ok(()) }
        });
        (asked, got.map(|((), provider)| provider).map_err(|e| e.to_string()))
    }

    #[test]
    fn providers_are_tried_in_their_order_and_the_first_that_works_is_taken() {
        let all = ExecutionProvider::ORDER;
        assert_eq!(tried(&all, &[]), (vec![TensorRt], Ok(TensorRt)));
        assert_eq!(tried(&all, &[TensorRt]), (vec![TensorRt, Cuda], Ok(Cuda)));
        assert_eq!(tried(&all, &[TensorRt, Cuda]), (all.to_vec(), Ok(Cpu)));
        assert_eq!(tried(&[Cuda, TensorRt], &[Cuda]), (vec![Cuda, TensorRt], Ok(TensorRt)));
        assert_eq!(tried(&[Cpu, Cuda], &[Cpu]), (vec![Cpu, Cuda], Ok(Cuda)));
    }

    #[test]
    fn where_none_works_each_is_named_with_its_reason_and_the_remedy() {
        let (asked, got) = tried(&[TensorRt, Cuda], &ExecutionProvider::ORDER);
        assert_eq!(asked, [TensorRt, Cuda]);
        let said = got.unwrap_err();
        let beginning = "no execution provider works: tensorrt (no TensorRt here), cuda (no Cuda here); add cpu to engine.execution_providers";
        assert!(said.starts_with(beginning), "{said}");
    }

    #[test]
    fn where_the_cpu_fails_too_it_is_not_the_remedy() {
        let (_, got) = tried(&[Cuda, Cpu], &ExecutionProvider::ORDER);
        assert_eq!(got.unwrap_err(), "no execution provider works: cuda (no Cuda here), cpu (no Cpu here)");
    }

    #[test]
    fn a_label_leads_back_to_its_provider() {
        for provider in ExecutionProvider::ORDER {
            assert_eq!(ExecutionProvider::of_label(provider.label()), Some(provider));
        }
        assert_eq!(ExecutionProvider::of_label("rocm"), None);
    }
}
