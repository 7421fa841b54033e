use std::path::PathBuf;

use crate::template::TemplateError;

/// Why an adapter is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// No such folder.
    #[error("there is no adapter folder at {}; specialise the task, or copy its adapter there", .0.display())]
    NoFolder(PathBuf),
    /// A file of the folder is not there.
    #[error("{} is missing; copy the adapter again, or specialise the task again", .0.display())]
    MissingFile(PathBuf),
    /// Reading failed.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what it should be: cut off, changed, or of another format.
    #[error(
        "{} is damaged ({why}); copy the adapter again, or specialise the task again",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It was trained on another base.
    #[error(
        "adapter {} was trained on base {found}, and the model here is {model} with base {expected}; \
         specialise the task again on this model, or load the model that it was trained on",
        .path.display()
    )]
    WrongBase {
        /// The adapter's folder.
        path: PathBuf,
        /// The model that is loaded.
        model: String,
        /// SHA-256 of the GGUF file that the loaded model was made of.
        expected: String,
        /// The one that the card names.
        found: String,
    },
    /// The model's graph has no inputs for adapters.
    #[error(
        "the graph of {0} takes no adapters; pull the model again with this version, or export it \
         from its GGUF file"
    )]
    NoSlots(String),
    /// A layer's A or B is not there.
    #[error(
        "{} has no tensor {tensor}; the adapter is not whole: specialise the task again",
        .path.display()
    )]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor does not fit the base or the stated rank.
    #[error(
        "{}: {tensor} has shape {found:?}, and this base at this rank needs {expected:?}; \
         specialise the task again on this model",
        .path.display()
    )]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// What fits.
        expected: Vec<usize>,
    },
    /// It changes a module that the graph has no inputs for.
    #[error(
        "{} changes {target}, which this model takes no adapter for; train the linear layers of \
         attention and feed-forward only",
        .path.display()
    )]
    UnknownTarget {
        /// The file.
        path: PathBuf,
        /// The module or tensor.
        target: String,
    },
    /// A kind of adapter that the graph cannot express.
    #[error("{} asks for {what}, which is not served here; train plain LoRA without it", .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        what: String,
    },
    /// A weight is not a number, or too large for 16 bits.
    #[error(
        "{}: {tensor} holds a value that is not a finite 16-bit number; the training diverged: \
         specialise the task again at a lower rate",
        .path.display()
    )]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// Its chat template does not compile.
    #[error("{}: {source}", .path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TemplateError,
    },
}

impl AdapterError {
    /// A word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoFolder(_) => "adapter_unknown",
            Self::MissingFile(_) => "adapter_file_missing",
            Self::Read { .. } => "adapter_unreadable",
            Self::Damaged { .. } | Self::Template { .. } => "adapter_damaged",
            Self::WrongBase { .. } => "adapter_wrong_base",
            Self::NoSlots(_) => "adapters_unsupported",
            Self::MissingTensor { .. } => "adapter_incomplete",
            Self::WrongShape { .. } => "adapter_wrong_shape",
            Self::UnknownTarget { .. } => "adapter_unknown_target",
            Self::Unsupported { .. } => "adapter_unsupported",
            Self::NotANumber { .. } => "adapter_not_a_number",
        }
    }
}
