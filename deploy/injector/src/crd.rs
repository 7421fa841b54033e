//! `UnderstudyPolicy`: what an operator says of the tasks of many pods at once.
//!
//! The keys below `policy` are those of the configuration file's `[policy]`, under the
//! same names; a test compares them. The schema that the chart installs is made of
//! these types (`understudy-injector crd`), so that the API server refuses with a
//! sentence what a sidecar would refuse later.
#![allow(unreachable_pub, reason = "kube's derive makes helper types that are public and go nowhere")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is said of a task, or of all tasks, of the pods that a selector names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "understudy.dev",
    version = "v1alpha1",
    kind = "UnderstudyPolicy",
    plural = "understudypolicies",
    namespaced,
    shortname = "usp",
    category = "understudy",
    derive = "PartialEq",
    status = "PolicyStatus",
    printcolumn = r#"{"name": "Task", "type": "string", "jsonPath": ".spec.task"}"#,
    printcolumn = r#"{"name": "Pinned", "type": "string", "jsonPath": ".spec.stage"}"#,
    printcolumn = r#"{"name": "Tau", "type": "number", "jsonPath": ".spec.policy.tau", "priority": 1}"#,
    printcolumn = r#"{"name": "Pods", "type": "integer", "jsonPath": ".status.pods"}"#,
    printcolumn = r#"{"name": "Applied", "type": "integer", "jsonPath": ".status.applied"}"#,
    printcolumn = r#"{"name": "Stages", "type": "string", "jsonPath": ".status.stages"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[x_kube(
    validation = Rule::new("has(self.policy) || has(self.stage)")
        .message("policy or stage is needed: a policy that says neither changes nothing")
)]
pub struct UnderstudyPolicySpec {
    /// Labels of the pods it is for; without it, all injected pods of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// The task, by its name or id; without it, all tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub task: Option<String>,
    /// Keys of the configuration's `[policy]`, which are laid over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Rules>,
    /// Keeps tasks at this stage in every pod, whatever their evidence. `live` moves a
    /// task up as soon as it has somebody to serve it; `shadowing` takes every task back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Pinned>,
}

/// A stage that tasks can be kept at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pinned {
    /// Rehearsed, and answered by the provider.
    Shadowing,
    /// Answered by its understudy, with the provider as fallback and examiner.
    Live,
}

/// The furthest stage that evidence may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Furthest {
    /// Nobody rehearses.
    Observing,
    /// Rehearsed only.
    Shadowing,
    /// As far as there is.
    Live,
}

/// Which tasks wait for a person before they may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// Those that may call a tool that acts.
    Acting,
    /// None.
    Never,
    /// All.
    Always,
}

/// Keys of the configuration's `[policy]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.tau) || (self.tau > 0.0 && self.tau < 1.0)")
        .message("tau lies between 0 and 1, both excluded"),
    validation = Rule::new("!has(self.alpha) || (self.alpha > 0.0 && self.alpha < 1.0)")
        .message("alpha lies between 0 and 1, both excluded"),
    validation = Rule::new("!has(self.bar_delta) || (self.bar_delta > 0.0 && self.bar_delta < 1.0)")
        .message("bar_delta lies between 0 and 1, both excluded"),
    validation = Rule::new("!has(self.audit_share) || self.audit_share > 0.0")
        .message("audit_share is above 0: a live task is always audited"),
    validation = Rule::new(
        "!has(self.steps) || self.steps.all(s, s > 0.0 && s <= 1.0)"
    ).message("steps are shares above 0 and at most 1"),
    validation = Rule::new(
        "!has(self.steps) || (self.steps.isSorted() && self.steps.all(s, self.steps.filter(t, t == s).size() == 1))"
    ).message("steps rise, and none is there twice"),
    validation = Rule::new(
        "!has(self.models) || self.models.all(m, m.matches('^(head|prompted|specialised|remote)(-[0-9a-f]{12})?$'))"
    ).message("models are kinds (head, prompted, specialised, remote) or whole names such as prompted-27b2d3ab4a8b"),
    validation = Rule::new(
        "!has(self.models) || self.models.all(m, self.models.filter(n, n == m).size() == 1)"
    ).message("models has none twice")
)]
pub struct Rules {
    /// The agreement that has to be exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tau: Option<f64>,
    /// The permitted chance, per task, of ever opening the canary of one that does not deserve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Shares of conversations answered in canary, one after the other, before live.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub steps: Option<Vec<f64>>,
    /// Audited conversations that each step has to earn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub step_conversations: Option<u32>,
    /// How many served calls of a live task are audited at the higher share first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_first: Option<u32>,
    /// That higher share.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub audit_first_share: Option<f64>,
    /// The share of a live task's calls that the provider answers too, for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub audit_share: Option<f64>,
    /// The share of conversations that stay with the provider for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub control_share: Option<f64>,
    /// Where the demotion process demotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10.0))]
    pub cusum_limit: Option<f64>,
    /// Which tasks wait for a person before canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Trials that have to pass after a demotion before the next entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_trials: Option<u32>,
    /// The share of calls that has to be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_coverage: Option<f64>,
    /// Coverage that another understudy must add before it may replace one that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub takeover_coverage: Option<f64>,
    /// Judged conversations below which a stratum is declined as rare.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub stratum_min: Option<u32>,
    /// Exchanges after which the first understudies are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub first_fit: Option<u32>,
    /// Conversations on which the bar is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub dev_conversations: Option<u32>,
    /// The permitted chance that the bar chosen on them does not exceed tau.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bar_delta: Option<f64>,
    /// Calls before anyone rehearses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observe_calls: Option<u32>,
    /// Journal entries without a call of a conversation after which it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub conversation_gap: Option<u64>,
    /// The share of asked calls whose answer may be invalid before the task is demoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub invalid_budget: Option<f64>,
    /// The share of asked calls that may miss their deadline before the task is demoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub late_budget: Option<f64>,
    /// How far the mean latency of the task's calls may exceed the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub latency_excess: Option<f64>,
    /// How much more often a served conversation may show trouble than one of the control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub control_margin: Option<f64>,
    /// The share of calls that become trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub trial_share: Option<f64>,
    /// The furthest stage that evidence may reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stage: Option<Furthest>,
    /// The same for tasks whose conversations have several turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_turn_max_stage: Option<Furthest>,
    /// Who may answer, by kind or whole name; an empty list leaves nobody out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(max = 32)))]
    pub models: Option<Vec<String>>,
    /// Keys of a newer definition, which an older sidecar refuses by name.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: BTreeMap<String, serde_json::Value>,
}

/// What came of it, as the sidecars told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyStatus {
    /// The generation that is told here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods it is for that have asked lately.
    pub pods: u32,
    /// Those of them that go by it.
    pub applied: u32,
    /// Those that could not: `refused` says why.
    pub refused: u32,
    /// How many pods have a task at each stage, such as `route: 3 live, 1 shadowing`.
    pub stages: String,
    /// One pod's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What each of the injector's replicas has heard; the numbers above are their sums.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub heard: BTreeMap<String, Heard>,
}

/// What one replica of the injector has heard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Heard {
    /// When, in Unix seconds.
    pub at: i64,
    /// The generation that it counted for.
    pub generation: i64,
    /// Pods it is for.
    pub pods: u32,
    /// Those that go by it.
    pub applied: u32,
    /// Those that could not.
    pub refused: u32,
    /// One pod's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of each task, how many pods have it at each stage.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, BTreeMap<String, u32>>,
}

/// Whether what a namespace says of pods with these labels is for a pod: its own
/// namespace's, and what the release's namespace says of all.
pub(crate) fn holds_for(
    selector: Option<&LabelSelector>,
    of: &str,
    home: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    if of != namespace && of != home {
        return false;
    }
    match selector {
        None => true,
        // One that cannot be read is for nobody: the API server does not check it.
        Some(selector) => Selector::try_from(selector.clone()).is_ok_and(|s| s.matches(labels)),
    }
}

/// The definition of a kind, which the chart installs, as JSON.
///
/// # Errors
/// When it cannot be written.
pub fn definition<K: CustomResourceExt>() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&K::crd())
}
