//! Reads a plain serde struct key by key, so that the rules of promotion are
//! declared once, in `understudy-policy`, and every mistake is still found.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::written::{Section, show};

/// `base` with what the section says laid over it.
pub(super) fn overlay<T>(section: &Section<'_>, base: &T) -> T
where
    T: Serialize + DeserializeOwned + Clone,
{
    let Ok(Value::Object(mut fields)) = serde_json::to_value(base) else { return base.clone() };
    let mut found = base.clone();
    let keys: Vec<String> = fields.keys().cloned().collect();
    for key in keys {
        let default = fields.get(&key).cloned().unwrap_or(Value::Null);
        let (words, text) = explain(&key);
        section.explain(&key, words, &shown_default(&default), text);
        let Some((readings, origin)) = section.raw(&key) else { continue };
        let taken = readings.iter().find_map(|reading| {
            let mut trial = fields.clone();
            trial.insert(key.clone(), serde_json::to_value(reading).ok()?);
            let parsed = serde_json::from_value::<T>(Value::Object(trial.clone())).ok()?;
            Some((trial, parsed))
        });
        match taken {
            Some((trial, parsed)) => {
                fields = trial;
                found = parsed;
            }
            None => {
                let value = readings.last().map(show).unwrap_or_default();
                section.written().blame(origin, value, format!("must be {words}"));
            }
        }
    }
    found
}

fn explain(key: &str) -> (&'static str, &'static str) {
    TEXTS
        .iter()
        .find(|(k, ..)| *k == key)
        .map_or(("a value of its kind", ""), |(_, words, text)| (words, text))
}

/// The keys of such a struct.
pub(super) fn keys<T: Serialize>(base: &T) -> Vec<String> {
    match serde_json::to_value(base) {
        Ok(Value::Object(fields)) => fields.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

fn shown_default(default: &Value) -> String {
    if default.is_null() { "-".into() } else { default.to_string() }
}

/// What each key of `[policy]` must be and does. A test compares this list
/// with the struct's fields.
pub(super) const TEXTS: &[(&str, &str, &str)] = &[
    (
        "tau",
        "a share between 0 and 1",
        "The agreement that has to be exceeded, as a mean over conversations. It is fidelity to the provider, not the success of the errand.",
    ),
    (
        "alpha",
        "a share between 0 and 1",
        "The permitted chance, per task, of ever opening the canary of one that does not deserve it, over all its entries together.",
    ),
    (
        "steps",
        "one to sixteen rising shares",
        "Shares of conversations answered in canary, one after the other, before live.",
    ),
    ("step_conversations", "a whole number from 1", "Audited conversations that each step has to earn."),
    (
        "audit_first",
        "a whole number",
        "How many served calls of a live task are audited at the higher share first.",
    ),
    ("audit_first_share", "a share from 0 to 1", "That higher share."),
    (
        "audit_share",
        "a share above 0",
        "The share of a live task's calls that the provider answers too, for good.",
    ),
    (
        "control_share",
        "a share from 0 to 1",
        "The share of conversations that stay with the provider for good, so that quality and savings can be compared.",
    ),
    (
        "cusum_limit",
        "a number from 10",
        "Where the demotion process demotes: at 1000, one false alarm in at least 1000 audited conversations on average.",
    ),
    (
        "approval",
        "one of acting, never, always",
        "Which tasks wait for a person before canary; `acting` are those that may call a tool that acts.",
    ),
    (
        "cooldown_trials",
        "a whole number",
        "Trials that have to pass after a demotion before the next entry; doubles with each demotion, up to sixteenfold.",
    ),
    (
        "min_coverage",
        "a share from 0 to 1",
        "The share of calls that has to be taken; less is not worth its delay.",
    ),
    (
        "takeover_coverage",
        "a share from 0 to 1",
        "Coverage that another understudy must add before it may replace one that serves.",
    ),
    (
        "stratum_min",
        "a whole number from 1",
        "Judged conversations below which a stratum (the tool or label chosen) is declined as rare.",
    ),
    (
        "first_fit",
        "a whole number from 1",
        "Exchanges after which the first understudies are made; they are made again at each doubling.",
    ),
    (
        "dev_conversations",
        "a whole number from 1",
        "Conversations on which the bar is chosen; none of them counts as evidence.",
    ),
    (
        "bar_delta",
        "a share between 0 and 1",
        "The permitted chance that the bar chosen on them does not exceed tau.",
    ),
    ("observe_calls", "a whole number", "Calls before anyone rehearses."),
    (
        "conversation_gap",
        "a whole number from 1",
        "Journal entries without a call of a conversation after which it is closed.",
    ),
    (
        "invalid_budget",
        "a share from 0 to 1",
        "The share of asked calls whose answer may be invalid before the task is demoted.",
    ),
    (
        "late_budget",
        "a share from 0 to 1",
        "The share of asked calls that may miss their deadline after they began before the task is demoted.",
    ),
    (
        "latency_excess",
        "a share",
        "How far the mean latency of the task's calls, declines included, may exceed the provider's.",
    ),
    (
        "control_margin",
        "a share from 0 to 1",
        "How much more often a served conversation may show trouble than one of the control group.",
    ),
    (
        "trial_share",
        "a share from 0 to 1",
        "The share of calls that become trials, drawn by hash before any answer is seen.",
    ),
    (
        "max_stage",
        "one of observing, shadowing, live, or { canary = { step = 0 } }",
        "The furthest stage that evidence may reach.",
    ),
    (
        "multi_turn_max_stage",
        "one of observing, shadowing, live, or { canary = { step = 0 } }",
        "The same for tasks whose conversations have several turns.",
    ),
    (
        "models",
        "a list of kinds of understudies (head, prompted, specialised, remote) or of their whole names",
        "Who may answer, such as `[\"head\", \"prompted-27b2d3ab4a8b\"]`; `understudy task understudies` has the names. Nobody else is tried or serves. An empty list leaves nobody out.",
    ),
];
