//! The cast as it is configured: its engine, its remotes and what they may spend.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use understudy_call::Embedder;
use understudy_cast::prompted::PromptRules;
use understudy_cast::remote::{Books, Budget, RemoteConfig, Spent};
use understudy_cast::{Cast, CastConfig, EngineAddr, EngineClient};

use crate::config::Config;
use crate::failure::Failure;
use crate::state;

/// Whether there is no engine, neither a child of ours nor one elsewhere.
pub(crate) fn is_off(config: &Config) -> bool {
    !config.engine.enabled && config.engine.address.is_none()
}

/// The cast, asking the configured engine; what its remotes spend is kept in `dir`.
///
/// A proxy has it even while its engine is off: without an embedder what was earned
/// with one would be taken for gone, and its evidence with it.
///
/// # Errors
/// When no client can be made.
pub(crate) fn cast(config: &Config, dir: &Path, socket: Option<PathBuf>) -> Result<Arc<Cast>, Failure> {
    let address = match &config.engine.address {
        Some(url) if url.starts_with("unix:") => EngineAddr::Unix(url.trim_start_matches("unix:").into()),
        Some(url) if config.engine.token_file.is_some() || config.engine.ca_file.is_some() => {
            EngineAddr::Pod {
                url: url.clone(),
                token_file: config.engine.token_file.clone(),
                ca_file: config.engine.ca_file.clone(),
            }
        }
        Some(url) => EngineAddr::Http(url.clone(), key(config, "engine", config.engine.key_env.as_deref())),
        None => EngineAddr::Unix(socket.unwrap_or_else(|| state::engine_socket(&config.state))),
    };
    let client = Arc::new(EngineClient::new(address).map_err(|e| Failure::Failed(e.to_string()))?);
    let embedder: Arc<dyn Embedder> = Arc::<EngineClient>::clone(&client);
    Ok(Arc::new(Cast::new(made(config), Some(embedder), Some(client), FileBooks::open(dir))))
}

/// A cast of remotes alone, for a rehearsal whose engine is off.
pub(crate) fn without_an_engine(config: &Config, dir: &Path) -> Arc<Cast> {
    Arc::new(Cast::new(made(config), None, None, FileBooks::open(dir)))
}

/// The key in a variable that a section names. One that is not there is told where
/// somebody asks: calls go to the provider without it, so nobody else would tell.
fn key(config: &Config, section: &str, name: Option<&str>) -> Option<String> {
    let name = name?;
    let key = std::env::var(name).ok();
    if config.worker.enabled && key.as_ref().is_none_or(String::is_empty) {
        tracing::warn!(
            section,
            key_env = name,
            "the variable is not set, so nobody is shown a key: calls are refused there, or cost what they do without one"
        );
    }
    key
}

/// How its understudies are made.
fn made(config: &Config) -> CastConfig {
    let remotes = config
        .remotes
        .iter()
        .map(|r| {
            // Where the budget is in money there is one: the configuration sees to it.
            let price = config.prices.at_most(&r.name, &r.model);
            RemoteConfig {
                name: r.name.clone(),
                url: r.base_url.clone(),
                key: key(config, &format!("remote.{}", r.name), r.key_env.as_deref()),
                model: r.model.clone(),
                logprobs: r.logprobs,
                budget: Budget {
                    tokens_per_day: (r.budget_tokens > 0).then_some(r.budget_tokens),
                    money_per_day: (r.budget_usd > 0.0).then_some(r.budget_usd),
                    input_price: price.map_or(0.0, |p| p.input),
                    output_price: price.map_or(0.0, |p| p.output),
                },
            }
        })
        .collect();
    let prompt = PromptRules {
        k: usize::try_from(config.worker.examples).unwrap_or(usize::MAX),
        ..PromptRules::default()
    };
    CastConfig { remotes, prompt, engine_off: is_off(config), ..CastConfig::default() }
}

/// Books in a file of the state folder.
struct FileBooks {
    file: PathBuf,
    /// `None` where the file cannot be read: what was spent today is not known then.
    all: Mutex<Option<BTreeMap<String, Spent>>>,
}

impl FileBooks {
    fn open(dir: &Path) -> Self {
        let file = dir.join("remotes-spent.json");
        let all = state::read_json(&file).inspect_err(|why| {
            tracing::error!(
                why,
                "what remotes have spent today is not known, so they are not asked; mend the file, or move it aside to begin anew"
            );
        });
        Self { file, all: Mutex::new(all.ok()) }
    }
}

impl Books for FileBooks {
    fn today(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400)
    }

    fn read(&self, remote: &str) -> Option<Spent> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.as_ref()?.get(remote).copied()
    }

    fn write(&self, remote: &str, spent: Spent) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(all) = &mut *all else { return false };
        let before = all.insert(remote.to_owned(), spent);
        let text = serde_json::to_vec_pretty(all).unwrap_or_default();
        let written = state::write_private(&self.file, &text);
        if let Err(why) = &written {
            tracing::warn!(remote, %why, "what a remote spends cannot be written down, so it is not asked");
            match before {
                Some(before) => all.insert(remote.to_owned(), before),
                None => all.remove(remote),
            };
        }
        written.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPENT: Spent = Spent { day: 20_000, tokens: 1_500, money: 0.25 };

    #[test]
    fn what_was_spent_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let books = FileBooks::open(dir.path());
        assert_eq!(books.read("small"), None);
        assert!(books.write("small", SPENT) && books.write("another", Spent::default()));
        assert_eq!(FileBooks::open(dir.path()).read("small"), Some(SPENT));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_nothing_spent() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("remotes-spent.json");
        std::fs::write(&file, "{").unwrap();
        assert!(!FileBooks::open(dir.path()).write("small", SPENT));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{", "it was written over");
    }

    #[test]
    fn a_folder_that_cannot_be_written_ends_the_spending() {
        let dir = tempfile::tempdir().unwrap();
        let books = FileBooks::open(&dir.path().join("gone"));
        assert!(!books.write("small", SPENT));
        assert_eq!(books.read("small"), None);
    }
}
