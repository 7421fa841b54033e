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

/// Looks at the books' lock before a call is not made: whoever has it writes one small
/// file, and the call may as well go to the provider.
const LOOKS: usize = 50;

/// Whether there is no engine, neither a child of ours nor one elsewhere.
pub(crate) fn is_off(config: &Config) -> bool {
    !config.engine.enabled && config.engine.address.is_none()
}

/// The cast, asking the configured engine; what its remotes spend is kept in `dir`, the
/// state folder, for all who have it together.
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
    let made = made(config);
    let books = FileBooks::open(dir, &made.remotes);
    Ok(Arc::new(Cast::new(made, Some(embedder), Some(client), books)))
}

/// A cast of remotes alone, for a rehearsal whose engine is off.
pub(crate) fn without_an_engine(config: &Config, dir: &Path) -> Arc<Cast> {
    let made = made(config);
    let books = FileBooks::open(dir, &made.remotes);
    Arc::new(Cast::new(made, None, None, books))
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

/// Books in a file of the state folder. A proxy and rehearsals beside it write in one, and
/// spend of one budget.
///
/// A meter knows of its own process alone. What it writes down is added to what others have
/// written since this process looked first, and where that is the whole budget it is
/// refused. So all together spend no more than what was written down, with a call at most
/// beyond the budget for each of them; what one wrote down ahead no other has.
struct FileBooks {
    file: PathBuf,
    budgets: BTreeMap<String, Budget>,
    /// What this process's meters take for written: what was there at first and, in its
    /// place, what they wrote.
    known: Mutex<BTreeMap<String, Spent>>,
}

impl FileBooks {
    fn open(dir: &Path, remotes: &[RemoteConfig]) -> Self {
        let file = dir.join("remotes-spent.json");
        let known = state::read_json(&file).unwrap_or_else(|why| {
            tracing::error!(
                why,
                "what remotes have spent today is not known, so they are not asked; mend the file, or move it aside to begin anew"
            );
            BTreeMap::new()
        });
        let budgets = remotes.iter().map(|r| (r.name.clone(), r.budget)).collect();
        Self { file, budgets, known: Mutex::new(known) }
    }

    /// Puts what this process has spent in the place of what it knew, in everybody's sum;
    /// false where others have spent what was left.
    ///
    /// # Errors
    /// Why it cannot.
    fn put(&self, remote: &str, known: Option<Spent>, spent: Spent) -> Result<bool, String> {
        let lock = state::try_lock(&self.file.with_extension("lock"), LOOKS).map_err(|e| e.to_string())?;
        let Some(_lock) = lock else { return Err("another process has it locked".to_owned()) };
        // The file is replaced as a whole, so it is read again each time.
        let mut all: BTreeMap<String, Spent> = state::read_json(&self.file)?;
        let of_the_day = |s: &Spent| s.day == spent.day;
        let total = all.get(remote).copied().filter(of_the_day).unwrap_or_default();
        let known = known.filter(of_the_day).unwrap_or_default();
        let others = total.tokens.saturating_sub(known.tokens);
        let is_left = self.budgets.get(remote).is_none_or(|b| {
            b.tokens_per_day.is_none_or(|most| total.tokens < most)
                && b.money_per_day.is_none_or(|most| total.money < most)
        });
        // Alone it is the meter that knows: some of what it wrote down is not spent yet.
        if others > 0 && !is_left {
            return Ok(false);
        }
        let sum = Spent {
            day: spent.day,
            tokens: others.saturating_add(spent.tokens),
            money: (total.money - known.money).max(0.0) + spent.money,
        };
        all.insert(remote.to_owned(), sum);
        let text = serde_json::to_vec_pretty(&all).map_err(|e| e.to_string())?;
        state::write_private(&self.file, &text).map_err(|e| e.to_string())?;
        Ok(true)
    }
}

impl Books for FileBooks {
    fn today(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400)
    }

    fn read(&self, remote: &str) -> Option<Spent> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(remote).copied()
    }

    fn write(&self, remote: &str, spent: Spent) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let put = self.put(remote, known.get(remote).copied(), spent).unwrap_or_else(|why| {
            tracing::warn!(remote, why, "what a remote spends cannot be written down, so it is not asked");
            false
        });
        if put {
            known.insert(remote.to_owned(), spent);
        }
        put
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPENT: Spent = Spent { day: 20_000, tokens: 1_500, money: 0.25 };

    fn books(dir: &Path) -> FileBooks {
        FileBooks::open(dir, &[])
    }

    #[test]
    fn what_was_spent_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let first = books(dir.path());
        assert_eq!(first.read("small"), None);
        assert!(first.write("small", SPENT) && first.write("another", Spent::default()));
        assert_eq!(books(dir.path()).read("small"), Some(SPENT));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_nothing_spent() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("remotes-spent.json");
        std::fs::write(&file, "{").unwrap();
        assert!(!books(dir.path()).write("small", SPENT));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{", "it was written over");
    }

    #[test]
    fn a_folder_that_cannot_be_written_ends_the_spending() {
        let dir = tempfile::tempdir().unwrap();
        let books = books(&dir.path().join("gone"));
        assert!(!books.write("small", SPENT));
        assert_eq!(books.read("small"), None);
    }

    /// A remote that may spend a thousand tokens a day.
    fn limited() -> [RemoteConfig; 1] {
        let budget = Budget { tokens_per_day: Some(1_000), ..Budget::default() };
        let [name, url, model] = ["small", "http://127.0.0.1:1", "m"].map(str::to_owned);
        [RemoteConfig { name, url, key: None, model, logprobs: false, budget }]
    }

    #[test]
    fn two_processes_spend_of_one_budget_at_the_same_time() {
        let dir = tempfile::tempdir().unwrap();
        let open = || FileBooks::open(dir.path(), &limited());
        let spent = |day: u64, tokens: u64| Spent { day, tokens, money: 0.0 };
        let written = || open().read("small").unwrap();
        let (proxy, rehearsal) = (open(), open());
        assert!(proxy.write("small", spent(7, 400)) && rehearsal.write("small", spent(7, 300)));
        assert!(proxy.write("small", spent(7, 500)));
        assert_eq!(written(), spent(7, 800));
        // One that begins now goes on from the sum.
        let later = open();
        assert!(later.write("small", spent(7, 850)));
        assert_eq!(written(), spent(7, 850));
        assert!(rehearsal.write("small", spent(7, 500)));
        assert_eq!(written(), spent(7, 1_050));
        // Each is below the budget by what it knows.
        for one in [&proxy, &rehearsal, &later] {
            assert!(!one.write("small", spent(7, 900)));
        }
        assert_eq!(written(), spent(7, 1_050));
        assert!(proxy.write("small", spent(8, 20)) && rehearsal.write("small", spent(8, 30)));
        assert_eq!(written(), spent(8, 50), "a new day");
    }

    #[test]
    fn alone_a_meter_spends_to_its_budgets_end() {
        let dir = tempfile::tempdir().unwrap();
        let books = FileBooks::open(dir.path(), &limited());
        let spent = |tokens: u64| Spent { day: 7, tokens, money: 0.1 };
        // Written down ahead of what is spent, and so beyond the budget before that is.
        assert!(books.write("small", spent(1_010)) && books.write("small", spent(1_060)));
    }

    #[test]
    fn who_cannot_have_the_file_spends_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let books = books(dir.path());
        let held = state::try_lock(&dir.path().join("remotes-spent.lock"), 1).unwrap();
        assert!(held.is_some() && !books.write("small", SPENT));
        drop(held);
        assert!(books.write("small", SPENT));
    }
}
