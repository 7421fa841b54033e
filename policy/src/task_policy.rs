//! How strict a task is judged. Every key may be set for all tasks and per task.

use serde::{Deserialize, Serialize};
use understudy_call::UnderstudyId;

use crate::{Approval, Stage};

/// What the names of understudies begin with, the cheapest kind first.
pub const KINDS: [&str; 4] = ["head", "prompted", "specialised", "remote"];

/// Hexadecimal digits of a name, after its kind.
const DIGITS: usize = 12;

/// The keys of judgement, with defaults that promote only what deserves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskPolicy {
    /// Agreement (mean over conversations) that must be exceeded, 0 to 1. Default 0.95.
    pub tau: f64,
    /// Permitted chance that a task which does not exceed τ ever opens its
    /// canary, over all its entries together. Default 0.01.
    pub alpha: f64,
    /// Shares of conversations served in the canary, one step each. Default 0.10, 0.50.
    pub steps: Vec<f64>,
    /// Audited conversations that each step needs. Default 30.
    pub step_conversations: u32,
    /// Served calls of a live task that are audited at the higher share; it comes
    /// back while an entry with more coverage has yet to prove itself, for at
    /// most twice as many judged calls. Default 500.
    pub audit_first: u32,
    /// Share of those that are audited. Default 0.20.
    pub audit_first_share: f64,
    /// Share of served calls that are audited afterwards, for ever. Default 0.05.
    pub audit_share: f64,
    /// Share of conversations that stay with the provider for good. Default 0.05.
    pub control_share: f64,
    /// Value of the change detectors at which a task is demoted: false alarms
    /// come at most once in so many audited conversations on average. Default 1000.
    pub cusum_limit: f64,
    /// Which tasks wait for a person before the canary. Default `acting`.
    pub approval: Approval,
    /// Trials after a demotion before an entry may open again; doubles with
    /// each demotion, up to sixteenfold. Default 200.
    pub cooldown_trials: u32,
    /// Coverage under which an understudy is not worth its delay. Default 0.20.
    pub min_coverage: f64,
    /// Coverage that another understudy must add before it may replace one that
    /// serves. Default 0.03.
    pub takeover_coverage: f64,
    /// Judged conversations that a stratum needs before it may be taken. Default 20.
    pub stratum_min: u32,
    /// Exchanges before the first versions are made; they are made again at
    /// each doubling. Default 200.
    pub first_fit: u32,
    /// Closed development conversations that the choice of a bar needs. Default 300.
    pub dev_conversations: u32,
    /// Permitted chance that the bar chosen on them does not exceed τ. Default 0.05.
    pub bar_delta: f64,
    /// Calls before anyone rehearses. Default 30.
    pub observe_calls: u32,
    /// Journal entries without a call of its key after which a conversation is closed. Default 200.
    pub conversation_gap: u64,
    /// Share of asked calls whose answer may be invalid. Default 0.05.
    pub invalid_budget: f64,
    /// Share of asked calls that may miss their deadline after they began. Default 0.05.
    pub late_budget: f64,
    /// How far the mean latency of the task's calls, declines included, may
    /// exceed the provider's, as a share of it. Default 0.05.
    pub latency_excess: f64,
    /// How much more often a served conversation may show trouble than one of
    /// the control group, as a difference of shares. Default 0.05.
    pub control_margin: f64,
    /// Share of eligible captured calls that become trials, drawn by hash. Default 1.
    pub trial_share: f64,
    /// The furthest stage that evidence may reach. Default `live`.
    pub max_stage: Stage,
    /// The same for tasks whose conversations have several turns: `rehearse`
    /// sets it to the first canary step, since recorded histories are the
    /// provider's own. Default `live`.
    pub multi_turn_max_stage: Stage,
    /// Who may answer, each by its kind ([`KINDS`]) or by its whole name, such as
    /// `prompted-27b2d3ab4a8b`. Default none, which leaves nobody out.
    pub models: Vec<String>,
}

impl Default for TaskPolicy {
    fn default() -> Self {
        Self {
            tau: 0.95,
            alpha: 0.01,
            steps: vec![0.10, 0.50],
            step_conversations: 30,
            audit_first: 500,
            audit_first_share: 0.20,
            audit_share: 0.05,
            control_share: 0.05,
            cusum_limit: 1000.0,
            approval: Approval::Acting,
            cooldown_trials: 200,
            min_coverage: 0.20,
            takeover_coverage: 0.03,
            stratum_min: 20,
            first_fit: 200,
            dev_conversations: 300,
            bar_delta: 0.05,
            observe_calls: 30,
            conversation_gap: 200,
            invalid_budget: 0.05,
            late_budget: 0.05,
            latency_excess: 0.05,
            control_margin: 0.05,
            trial_share: 1.0,
            max_stage: Stage::Live,
            multi_turn_max_stage: Stage::Live,
            models: Vec::new(),
        }
    }
}

impl TaskPolicy {
    /// Whether an understudy may answer.
    #[must_use]
    pub fn permits(&self, understudy: &UnderstudyId) -> bool {
        permits(&self.models, understudy)
    }

    /// Every mistake, as (key, what is wrong with its value and what is allowed).
    #[must_use]
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, wrong: bool, value: String, rule: &str| {
            if wrong {
                problems.push((key.to_owned(), format!("{value} is not allowed: {rule}")));
            }
        };
        let inside = |v: f64| v > 0.0 && v < 1.0;
        for (key, v) in [("tau", self.tau), ("alpha", self.alpha), ("bar_delta", self.bar_delta)] {
            refuse(key, !inside(v), v.to_string(), "it lies between 0 and 1, both excluded");
        }
        for (key, v) in [
            ("audit_first_share", self.audit_first_share),
            ("control_share", self.control_share),
            ("min_coverage", self.min_coverage),
            ("takeover_coverage", self.takeover_coverage),
            ("trial_share", self.trial_share),
            ("invalid_budget", self.invalid_budget),
            ("late_budget", self.late_budget),
            ("control_margin", self.control_margin),
        ] {
            refuse(key, !(0.0..=1.0).contains(&v), v.to_string(), "it is a share from 0 to 1");
        }
        refuse(
            "audit_share",
            !(self.audit_share > 0.0 && self.audit_share <= 1.0),
            self.audit_share.to_string(),
            "a live task is always audited: above 0, at most 1",
        );
        refuse(
            "latency_excess",
            !(self.latency_excess >= 0.0 && self.latency_excess.is_finite()),
            self.latency_excess.to_string(),
            "it is a share of the provider's latency, 0 or more",
        );
        let rising = self.steps.windows(2).all(|w| matches!(w, [a, b] if a < b));
        refuse(
            "steps",
            self.steps.is_empty()
                || self.steps.len() > 16
                || !rising
                || !self.steps.iter().all(|s| *s > 0.0 && *s <= 1.0),
            format!("{:?}", self.steps),
            "one to sixteen rising shares above 0 and at most 1",
        );
        refuse(
            "cusum_limit",
            !(self.cusum_limit >= 10.0 && self.cusum_limit.is_finite()),
            self.cusum_limit.to_string(),
            "at least 10 (1000 is the default)",
        );
        for (key, v) in [
            ("step_conversations", self.step_conversations),
            ("stratum_min", self.stratum_min),
            ("first_fit", self.first_fit),
            ("dev_conversations", self.dev_conversations),
        ] {
            refuse(key, v == 0, v.to_string(), "at least 1");
        }
        refuse("conversation_gap", self.conversation_gap == 0, "0".to_owned(), "at least 1");
        let nobody = format!(
            "each is a kind of understudy ({}) or the whole name of one, such as prompted-27b2d3ab4a8b",
            KINDS.join(", ")
        );
        for model in &self.models {
            refuse("models", !could_name(model), format!("{model:?}"), nobody.as_str());
        }
        problems
    }
}

/// Whether these words, kinds or whole names, leave an understudy in.
pub(crate) fn permits(models: &[String], understudy: &UnderstudyId) -> bool {
    let kind = understudy.0.split('-').next();
    models.is_empty() || models.iter().any(|m| *m == understudy.0 || Some(m.as_str()) == kind)
}

/// Whether a word could be a kind, or a whole name. One that could not would leave
/// everybody out and never say so.
fn could_name(word: &str) -> bool {
    let (kind, digits) = word.split_once('-').map_or((word, None), |(kind, digits)| (kind, Some(digits)));
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    KINDS.contains(&kind) && digits.is_none_or(|d| d.len() == DIGITS && d.bytes().all(is_digit))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    #[test]
    fn the_defaults_are_allowed() {
        assert_eq!(TaskPolicy::default().validate(), vec![]);
    }

    #[test]
    fn every_mistake_is_reported_at_once_with_its_key() {
        let policy = TaskPolicy {
            tau: 1.0,
            alpha: f64::NAN,
            steps: vec![0.5, 0.1],
            audit_share: 0.0,
            ..TaskPolicy::default()
        };
        let keys: Vec<_> = policy.validate().into_iter().map(|(k, _)| k).collect();
        assert_eq!(keys, ["tau", "alpha", "audit_share", "steps"]);
    }

    #[test]
    fn unknown_keys_are_refused_and_missing_ones_have_defaults() {
        assert!(serde_json::from_str::<TaskPolicy>(r#"{"taw": 0.9}"#).is_err());
        let policy: TaskPolicy =
            serde_json::from_str(r#"{"tau": 0.9, "max_stage": {"canary": {"step": 0}}}"#).unwrap();
        assert_eq!((policy.tau, policy.alpha, policy.max_stage), (0.9, 0.01, Stage::Canary { step: 0 }));
        assert!(policy.models.is_empty());
    }

    fn models(words: &[&str]) -> TaskPolicy {
        let models = words.iter().map(|w| (*w).to_owned()).collect();
        TaskPolicy { models, ..TaskPolicy::default() }
    }

    #[test]
    fn who_may_answer_is_named_by_kind_or_whole_name_and_nobody_named_leaves_nobody_out() {
        let permits = |words: &[&str], id: &str| models(words).permits(&UnderstudyId(id.to_owned()));
        let leave_it_in: [&[&str]; 4] = [&[], &["head"], &["remote", "head"], &["head-0123456789ab"]];
        for words in leave_it_in {
            assert!(permits(words, "head-0123456789ab"), "{words:?}");
        }
        let leave_it_out: [&[&str]; 3] = [&["prompted"], &["head-0123456789ac"], &["remote", "specialised"]];
        for words in leave_it_out {
            assert!(!permits(words, "head-0123456789ab"), "{words:?}");
        }
    }

    #[test]
    fn a_word_that_names_nobody_is_refused_with_what_would() {
        let all = models(&["head", "prompted", "specialised", "remote", "prompted-27b2d3ab4a8b"]);
        assert_eq!(all.validate(), vec![]);
        let wrong = ["", "specialized", "Head", "prompted-27b2", "prompted-27B2D3AB4A8B", "head-", "a head"];
        let problems = models(&wrong).validate();
        assert_eq!(problems.len(), wrong.len(), "{problems:?}");
        for ((key, problem), word) in problems.iter().zip(wrong) {
            assert_eq!(key, "models");
            assert!(problem.starts_with(&format!("{word:?} is not allowed: each is a kind")), "{problem}");
            assert!(problem.contains("head, prompted, specialised, remote"), "{problem}");
        }
    }
}
