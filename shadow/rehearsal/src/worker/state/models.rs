//! As which models the provider answered a task: an understudy answers no other.
//!
//! What the provider may refuse to a caller, nobody else should answer, and an understudy
//! is measured against the models that are asked for. A model is known for good after
//! [`ENOUGH`] calls, so what is served, and then seldom seen here, changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use understudy_call::{AnsweredBy, Exchange, Lane, Request};
use understudy_policy::RosterTask;

/// So many answered calls make a model known: a few tries with another are not yet its use.
const ENOUGH: u32 = 10;

/// The most names that are kept: a task is asked for as one model or a few.
const MOST: usize = 64;

/// The longest name that is kept, in bytes.
const LONGEST: usize = 256;

/// What a log's lines get that name no model.
const UNNAMED: &str = "unknown";

/// Answered calls by the model that they name, counted up to [`ENOUGH`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::worker) struct Models(BTreeMap<String, u32>);

impl Models {
    /// Notes a call that the provider answered with success, an audit's among them.
    pub(in crate::worker) fn note(&mut self, exchange: &Exchange) {
        let meta = &exchange.meta;
        let by_provider = meta.answered_by == AnsweredBy::Provider || meta.lane == Lane::Audit;
        let Some(request) = exchange.request.as_ref().filter(|_| by_provider) else { return };
        let model = request.model.as_str();
        if !is_named(model) || model.len() > LONGEST || !(200..300).contains(&meta.status) {
            return;
        }
        if let Some(calls) = self.0.get_mut(model) {
            *calls = ENOUGH.min(*calls + 1);
            return;
        }
        if self.0.len() >= MOST {
            // The one of the fewest calls, if it is not known.
            let fewest = self.0.iter().min_by_key(|(_, n)| **n).filter(|(_, n)| **n < ENOUGH);
            let Some(fewest) = fewest.map(|(name, _)| name.clone()) else { return };
            self.0.remove(&fewest);
        }
        self.0.insert(model.to_owned(), 1);
    }

    /// Those that are known, in the order of their names.
    pub(in crate::worker) fn known(&self) -> Vec<String> {
        self.0.iter().filter(|(_, n)| **n >= ENOUGH).map(|(name, _)| name.clone()).collect()
    }
}

/// The task as a call that was recorded would have met it; `None` for a call that would have
/// gone to the provider for its model. A log's line may name none.
pub(in crate::worker) fn met(task: RosterTask, request: Option<&Request>) -> Option<RosterTask> {
    let model = request.map_or("", |r| r.model.as_str());
    Some(task).filter(|task| !is_named(model) || task.answered_as(model))
}

fn is_named(model: &str) -> bool {
    !model.is_empty() && model != UNNAMED
}

#[cfg(test)]
mod tests {
    use understudy_call::{Credential, Dialect, ExchangeId, Metadata, UnderstudyId};

    use super::*;

    fn call(model: &str, answered_by: AnsweredBy) -> Exchange {
        Exchange::new(
            ExchangeId([0; 16]),
            Metadata {
                answered_by,
                ..Metadata::answered("openai", Dialect::OpenaiChat, Credential([1; 16]))
            },
            Some(Request { model: model.to_owned(), ..Request::default() }),
            None,
        )
    }

    fn note(models: &mut Models, model: &str, times: usize) {
        for _ in 0..times {
            models.note(&call(model, AnsweredBy::Provider));
        }
    }

    #[test]
    fn a_model_is_known_for_good_after_ten_calls() {
        let mut models = Models::default();
        note(&mut models, "gpt-4o", 9);
        assert!(models.known().is_empty());
        note(&mut models, "gpt-4o", 1);
        note(&mut models, "gpt-4o-mini", 9);
        assert_eq!(models.known(), ["gpt-4o"]);
        note(&mut models, "gpt-4o-mini", 500);
        assert_eq!(models.known(), ["gpt-4o", "gpt-4o-mini"]);
        let kept: Models = serde_json::from_str(&serde_json::to_string(&models).unwrap()).unwrap();
        assert_eq!(kept, models);
    }

    #[test]
    fn names_are_bounded_and_those_in_use_stay() {
        let mut models = Models::default();
        note(&mut models, "in use", 20);
        for n in 0..1_000 {
            note(&mut models, &format!("tried once {n}"), 1);
        }
        assert_eq!((models.0.len(), models.known()), (MOST, vec!["in use".to_owned()]));
        for n in 0..MOST {
            note(&mut models, &format!("model {n}"), 10);
        }
        assert_eq!(models.known().len(), MOST);
        note(&mut models, "one more", 10);
        assert!(!models.known().contains(&"one more".to_owned()));
    }

    #[test]
    fn what_the_provider_did_not_answer_makes_no_model_known() {
        let mut models = Models::default();
        for _ in 0..20 {
            models.note(&call("refused", AnsweredBy::Nobody));
            models.note(&call("served", AnsweredBy::Understudy(UnderstudyId("head-1".into()))));
            let mut failed = call("failed", AnsweredBy::Provider);
            failed.meta.status = 404;
            models.note(&failed);
            for unnamed in ["", UNNAMED, &"m".repeat(LONGEST + 1)] {
                note(&mut models, unnamed, 1);
            }
            let mut audited = call("audited", AnsweredBy::Understudy(UnderstudyId("head-1".into())));
            audited.meta.lane = Lane::Audit;
            models.note(&audited);
        }
        assert_eq!(models.known(), ["audited"]);
    }
}
