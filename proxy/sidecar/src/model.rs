//! `understudy model`: the small models' folders.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::ProgressBar;
use serde::Serialize;
use understudy_onnx::contract::{Commercial, Kind, Licence, ModelFolder, NonCommercial, Source, sha256_file};
use understudy_onnx::export::{self, Origin, Progress, Weights};
use understudy_onnx::{Generator, LoadOptions, SentenceEmbedder};

use crate::config::{Config, nearest, show_bytes};
use crate::console::{self, Out};
use crate::failure::{Exit, Failure, with_sources};
use crate::tables;

/// `understudy model`
#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// What is there
    List,
    /// Fetches models, checks their hashes, and builds their folders
    Pull {
        /// By their names in `model list`; by default the two that are used without any configuration
        names: Vec<String>,
        /// For an engine with a GPU: attention in 16 bits, the only form that it computes
        #[arg(long)]
        gpu: bool,
        /// A GGUF file of one's own instead
        #[arg(long, value_name = "FILE", requires_all = ["output", "licence"], conflicts_with = "names")]
        gguf: Option<PathBuf>,
        /// The folder to make of it
        #[arg(long, value_name = "FOLDER", requires = "gguf")]
        output: Option<PathBuf>,
        /// Its licence, as an SPDX identifier
        #[arg(long, value_name = "NAME", requires = "gguf")]
        licence: Option<String>,
        /// Its licence forbids commercial use
        #[arg(long, requires = "gguf")]
        non_commercial: bool,
    },
    /// Checks a folder against the model contract, and loads it
    Check {
        /// By default the configured ones
        folder: Option<PathBuf>,
    },
}

/// The models that are used without any configuration.
const DEFAULTS: [&str; 2] = ["smollm2-135m-instruct", "minilm-l6-v2"];

/// Does it.
///
/// # Errors
/// When a model is missing, corrupt or refused.
pub(crate) fn main(config: &Config, what: Model, out: &Out) -> Result<Exit, Failure> {
    match what {
        Model::List => list(config, out),
        Model::Pull {
            gguf: Some(file),
            output: Some(folder),
            licence: Some(licence),
            non_commercial,
            gpu,
            ..
        } => convert(&file, &folder, licence, non_commercial, weights(gpu), out),
        Model::Pull { names, gpu, .. } => pull(config, names, weights(gpu), out),
        Model::Check { folder } => check(config, folder, out),
    }
}

#[derive(Serialize)]
struct Row {
    name: String,
    title: String,
    licence: String,
    folder: PathBuf,
    state: String,
    used: bool,
    bytes: u64,
}

fn list(config: &Config, out: &Out) -> Result<Exit, Failure> {
    let models = config.cache.join("models");
    let mut rows: Vec<Row> = export::recipes()
        .into_iter()
        .map(|r| row(config, models.join(r.name), r.name, r.title, r.licence))
        .collect();
    for folder in [&config.model.chat, &config.model.embed] {
        if !rows.iter().any(|r| r.folder == *folder) {
            rows.push(row(config, folder.clone(), "", "", ""));
        }
    }
    out.show(&rows, |rows| {
        let mut t = tables::table(&["name", "model", "licence", "state", "size", "used", "folder"]);
        for r in rows {
            t.add_row(vec![
                r.name.clone(),
                r.title.clone(),
                r.licence.clone(),
                r.state.clone(),
                if r.bytes == 0 { "–".into() } else { show_bytes(r.bytes) },
                if r.used { "yes".into() } else { String::new() },
                r.folder.display().to_string(),
            ]);
        }
        format!("{t}\n")
    })
}

fn row(config: &Config, folder: PathBuf, name: &str, title: &str, licence: &str) -> Row {
    let opened = open(config, &folder);
    let manifest = opened.as_ref().ok().map(ModelFolder::manifest);
    Row {
        name: name.to_owned(),
        title: manifest.map_or_else(|| title.to_owned(), |m| m.name.clone()),
        licence: manifest.map_or_else(|| licence.to_owned(), |m| m.licence.name.clone()),
        state: match &opened {
            Ok(_) => "there".to_owned(),
            Err(_) if !folder.exists() => "not fetched".to_owned(),
            Err(error) => error.to_string(),
        },
        used: folder == config.model.chat || folder == config.model.embed,
        bytes: size_of(&folder),
        folder,
    }
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.filter_map(|e| e.ok()?.metadata().ok()).filter(std::fs::Metadata::is_file).map(|m| m.len()).sum()
}

fn open(config: &Config, folder: &Path) -> Result<ModelFolder, Failure> {
    let terms = NonCommercial::allowed(config.model.allow_non_commercial);
    ModelFolder::open_with(folder, terms).map_err(|e| Failure::Unavailable(with_sources(&e)))
}

fn weights(gpu: bool) -> Weights {
    if gpu { Weights::gpu() } else { Weights::default() }
}

fn pull(config: &Config, names: Vec<String>, weights: Weights, out: &Out) -> Result<Exit, Failure> {
    let names = if names.is_empty() { DEFAULTS.map(str::to_owned).to_vec() } else { names };
    let all = export::recipes();
    let mut recipes = Vec::new();
    for name in &names {
        let Some(recipe) = export::recipe(name) else {
            let hint = nearest(name, all.iter().map(|r| r.name))
                .map(|n| format!("; did you mean {n}?"))
                .unwrap_or_default();
            return Err(Failure::Usage(format!(
                "no model is called {name}{hint} (`understudy model list` names them)"
            )));
        };
        recipes.push(recipe);
    }
    let models = config.cache.join("models");
    let mut folders = Vec::new();
    for recipe in &recipes {
        let bar = Bar::new(recipe.title);
        let folder = export::pull(recipe, &models, weights, &mut |p| bar.show(p))
            .map_err(|e| Failure::Unavailable(with_sources(&e)))?;
        bar.done();
        folders.push(serde_json::json!({ "name": recipe.name, "folder": folder, "licence": recipe.licence, "note": recipe.note }));
    }
    out.show(&folders, |folders| {
        folders
            .iter()
            .map(|f| format!("{} ({}) is in {}\n", text(f, "name"), text(f, "licence"), text(f, "folder")))
            .collect()
    })
}

fn text<'v>(value: &'v serde_json::Value, key: &str) -> &'v str {
    value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default()
}

fn convert(
    file: &Path,
    folder: &Path,
    licence: String,
    non_commercial: bool,
    weights: Weights,
    out: &Out,
) -> Result<Exit, Failure> {
    let name = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let origin = Origin {
        name: name.clone(),
        licence: Licence {
            name: licence,
            commercial: if non_commercial { Commercial::Forbidden } else { Commercial::Conditions },
            note: "as stated by whoever converted it".to_owned(),
        },
        source: Source {
            package: String::new(),
            file: file.file_name().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
            sha256: sha256_file(file).map_err(|e| Failure::Failed(with_sources(&e)))?,
        },
    };
    let bar = Bar::new(&name);
    export::gguf_to_folder(file, folder, &origin, weights, &mut |p| bar.show(p))
        .map_err(|e| Failure::Failed(with_sources(&e)))?;
    bar.done();
    out.show(&serde_json::json!({ "folder": folder }), |_| {
        format!("{} is ready; name it in model.chat\n", folder.display())
    })
}

#[derive(Serialize)]
struct Checked {
    folder: PathBuf,
    name: String,
    kind: String,
    licence: String,
    hash: String,
    execution_provider: String,
}

fn check(config: &Config, folder: Option<PathBuf>, out: &Out) -> Result<Exit, Failure> {
    let folders =
        folder.map_or_else(|| vec![config.model.chat.clone(), config.model.embed.clone()], |f| vec![f]);
    let mut checked = Vec::new();
    for path in folders {
        let blame = |e: &dyn std::error::Error| Failure::Unavailable(with_sources(e));
        let folder = open(config, &path)?;
        folder.check().map_err(|e| blame(&e))?;
        let options = LoadOptions {
            providers: config.engine.execution_providers.clone(),
            library: config.engine.library.clone(),
            ..LoadOptions::default()
        };
        let (kind, provider) = match folder.manifest().kind {
            Kind::Generator => {
                let model = Generator::load(&folder, &options).map_err(|e| blame(&e))?;
                ("language model", model.execution_provider())
            }
            Kind::Embedder => {
                let model = SentenceEmbedder::load(&folder, &options).map_err(|e| blame(&e))?;
                ("embedder", model.execution_provider())
            }
        };
        checked.push(Checked {
            name: folder.manifest().name.clone(),
            kind: kind.to_owned(),
            licence: folder.manifest().licence.name.clone(),
            hash: folder.hash().to_owned(),
            execution_provider: provider.to_owned(),
            folder: path,
        });
    }
    out.show(&checked, |all| {
        all.iter()
            .map(|c| {
                let hash: String = c.hash.chars().take(12).collect();
                format!(
                    "{}: a whole {}, {}, runs on {} ({hash})\n  {}\n",
                    c.name,
                    c.kind,
                    c.licence,
                    c.execution_provider,
                    c.folder.display()
                )
            })
            .collect()
    })
}

/// A progress bar on a terminal, nothing elsewhere.
struct Bar(ProgressBar);

impl Bar {
    fn new(what: &str) -> Self {
        let bar = console::bar(1, "{prefix} {msg:8} {bar:30} {pos}/{len}");
        bar.set_prefix(what.to_owned());
        Self(bar)
    }

    fn show(&self, p: Progress) {
        self.0.set_message(p.stage.label());
        self.0.set_length(p.total);
        self.0.set_position(p.done);
    }

    fn done(&self) {
        self.0.finish_and_clear();
    }
}
