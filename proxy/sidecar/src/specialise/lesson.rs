//! What an adapter was trained on, read back from its card and the journal.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use understudy_call::{CallText, Exchange, ExchangeId};
use understudy_capture::{Journal, Record};
use understudy_cast::Example;
use understudy_cast::registry::Lesson;

use crate::failure::Failure;

/// Development rows that an adapter answers: some minutes' work, and enough for
/// a fine bar.
const DEVELOPMENT: usize = 1_000;

#[derive(Deserialize)]
struct Card {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    /// An older trainer did not say: then all wrote JSON.
    #[serde(default)]
    calls: CallText,
    exchanges: Exchanges,
    #[serde(default)]
    deferred: Deferred,
    #[serde(default)]
    curation: Curation,
}

/// Rows of which it learnt to leave them to the provider.
#[derive(Default, Deserialize)]
struct Deferred {
    train: u64,
}

#[derive(Default, Deserialize)]
struct Curation {
    /// The task's exchanges that its rows were made of.
    #[serde(default)]
    exchanges: Option<u64>,
    /// The hash of the frame that they were taken out of.
    #[serde(default)]
    frame: Option<String>,
    /// They had lone turns as far as all turns together go; older ones had not.
    #[serde(default)]
    long_turns: bool,
}

#[derive(Deserialize)]
struct Exchanges {
    train: Vec<ExchangeId>,
    development: Vec<ExchangeId>,
}

fn card(adapters: &Path, adapter: &str) -> Result<Card, Failure> {
    let path = adapters.join(adapter).join("card.json");
    let text = std::fs::read(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Failure::Usage(format!(
            "there is no adapter {adapter}: {} is missing; `understudy specialise TASK` trains one",
            path.display()
        )),
        _ => Failure::File { path: path.clone(), source },
    })?;
    serde_json::from_slice(&text)
        .map_err(|e| Failure::Failed(format!("{} is no adapter's card: {e}", path.display())))
}

/// Looks whether there is such an adapter.
///
/// # Errors
/// No card, or a card that is none.
pub(crate) fn known(adapters: &Path, adapter: &str) -> Result<(), Failure> {
    card(adapters, adapter).map(|_| ())
}

/// How many calls a task had recorded when an adapter was trained for it; `None` where
/// its card does not say.
pub(crate) fn calls(adapters: &Path, adapter: &str) -> Option<u64> {
    card(adapters, adapter).ok()?.data.curation.exchanges
}

/// The lesson of an adapter under `adapters`. Reads the journal once.
///
/// # Errors
/// As [`known`], or a journal that cannot be read.
pub(crate) fn lesson(journal: &Journal, adapters: &Path, adapter: &str) -> Result<Lesson, Failure> {
    let card = card(adapters, adapter)?;
    let (calls, defers) = (card.data.calls, card.data.deferred.train > 0);
    let Exchanges { train, development } = card.data.exchanges;
    let train: HashSet<ExchangeId> = train.into_iter().collect();
    // The newest: what the task is like now.
    let development: HashSet<ExchangeId> = development.into_iter().collect();
    let mut lesson = Lesson {
        adapter: adapter.to_owned(),
        calls,
        defers,
        frame: card.data.curation.frame,
        long_turns: card.data.curation.long_turns,
        trained: Vec::new(),
        development: Vec::new(),
    };
    let mut read = Exchanged::of(journal);
    for (seq, exchange) in &mut read {
        let Some(example) = Example::of(seq, &exchange) else { continue };
        if train.contains(&exchange.id) {
            lesson.trained.push(example);
        } else if development.contains(&exchange.id) {
            lesson.development.push(example);
        }
    }
    read.whole()?;
    let more = lesson.development.len().saturating_sub(DEVELOPMENT);
    lesson.development.drain(..more);
    Ok(lesson)
}

/// The journal's exchanges in order; ends where it cannot be read, and says so
/// afterwards.
pub(crate) struct Exchanged {
    cursor: understudy_capture::Cursor,
    failed: Option<String>,
}

impl Exchanged {
    /// From the journal's beginning.
    pub(crate) fn of(journal: &Journal) -> Self {
        Self { cursor: journal.cursor(0), failed: None }
    }

    /// Whether all of it was read.
    ///
    /// # Errors
    /// Why it was not.
    pub(crate) fn whole(self) -> Result<(), Failure> {
        match self.failed {
            None => Ok(()),
            Some(why) => Err(Failure::Failed(format!("the journal cannot be read: {why}"))),
        }
    }
}

impl Iterator for Exchanged {
    type Item = (u64, Exchange);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.cursor.next() {
                Ok(Some((seq, Record::Exchange(exchange)))) => return Some((seq, exchange)),
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(e) => {
                    self.failed = Some(e.to_string());
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_tells_of_how_many_calls_its_rows_were_made() {
        let adapters = tempfile::tempdir().unwrap();
        let of = |name: &str, curation: &str| {
            let folder = adapters.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            let card = format!(r#"{{"data":{{"exchanges":{{"train":[],"development":[]}}{curation}}}}}"#);
            std::fs::write(folder.join("card.json"), card).unwrap();
            calls(adapters.path(), name)
        };
        assert_eq!(of("told", r#","curation":{"task":"t","exchanges":2000,"rows":680}"#), Some(2000));
        assert_eq!(of("older", r#","curation":{"kept":9}"#), None);
        assert_eq!(of("oldest", ""), None);
        assert_eq!(calls(adapters.path(), "none"), None);
    }
}
