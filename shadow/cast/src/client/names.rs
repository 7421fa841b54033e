//! Which models the engine has: read once, and forgotten when the engine is lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::EngineModels;

/// What the engine said of itself.
pub(super) struct Known {
    pub(super) models: EngineModels,
    /// The mark that its answers bear; an engine older than marks has none.
    pub(super) mark: Option<String>,
}

/// What is known of the engine.
#[derive(Default)]
pub(super) struct Names(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    known: Option<Arc<Known>>,
    times_lost: u64,
}

impl Names {
    pub(super) fn now(&self) -> Option<Arc<Known>> {
        self.kept().known.clone()
    }

    /// How often the engine was lost, to be asked before it is looked at.
    pub(super) fn times_lost(&self) -> u64 {
        self.kept().times_lost
    }

    /// Keeps what a look brought that began after so many losses. Lost again
    /// meanwhile, it may be the engine before: then it says nothing.
    pub(super) fn keep(&self, found: Known, times_lost: u64) -> Option<Arc<Known>> {
        let mut kept = self.kept();
        (kept.times_lost == times_lost).then(|| Arc::clone(kept.known.get_or_insert_with(|| Arc::new(found))))
    }

    pub(super) fn forget(&self) {
        let mut kept = self.kept();
        kept.known = None;
        kept.times_lost += 1;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names and hashes out of `/healthz`. Each model is either a text or an object
/// with `id` and `hash`; the execution provider belongs to both. `None`
/// where it names no model.
pub(super) fn read(health: &Value) -> Option<EngineModels> {
    let provider = |of: &Value| {
        of.get("execution_provider")
            .or_else(|| health.get("execution_provider"))
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let name = |keys: &[&str]| {
        let models = health.get("models").unwrap_or(health);
        let model = keys.iter().find_map(|k| models.get(*k)).filter(|m| !m.is_null())?;
        let id = model.as_str().or_else(|| model.get("id").and_then(Value::as_str))?;
        let hash = model.get("hash").and_then(Value::as_str).unwrap_or("");
        let short: String = hash.chars().take(16).collect();
        Some(
            [id.to_owned(), short, provider(model)]
                .into_iter()
                .filter(|s| !s.is_empty())
                .collect::<Vec<_>>()
                .join("@"),
        )
    };
    let models = EngineModels {
        chat: name(&["chat", "chat_model"]),
        embed: name(&["embed", "embed_model", "embeddings"]),
    };
    (models != EngineModels::default()).then_some(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(chat: &str) -> Known {
        Known { models: EngineModels { chat: Some(chat.to_owned()), embed: None }, mark: None }
    }

    #[test]
    fn a_look_that_began_before_a_loss_is_not_kept() {
        let names = Names::default();
        let since = names.times_lost();
        names.forget();
        assert!(names.keep(named("old"), since).is_none() && names.now().is_none());
        let since = names.times_lost();
        assert!(names.keep(named("new"), since).is_some());
        // Of two looks at once the first counts.
        assert_eq!(names.keep(named("newer"), since).unwrap().models.chat.as_deref(), Some("new"));
        names.forget();
        assert!(names.now().is_none());
    }
}
