//! What `understudy curate` asks: whose task it is and what may be learnt, its
//! exchanges page by page, and a line in the audit log.
//!
//! The curation itself runs in the command's own process: it takes memory and
//! time that the agent's calls must not be short of.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use understudy_call::ExchangeId;
use understudy_curriculum::Permission;
use understudy_tasks::Task;

use super::{Stage, try_ask};

/// A task as a training set is made of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CurriculumPage {
    pub(crate) task: Task,
    /// The providers marked `train = true`, and on whose word.
    pub(crate) permitted: BTreeMap<String, Permission>,
    /// Exchanges that a person has flagged: they are left out.
    #[serde(default)]
    pub(crate) flagged: BTreeSet<ExchangeId>,
    /// The least share of its calls that an entry takes; 0 where it is served.
    #[serde(default)]
    pub(crate) least_coverage: f64,
    /// The share of calls recorded since the start that redaction changed.
    pub(crate) redacted_share: Option<f64>,
    /// The last record there is now.
    pub(crate) durable: u64,
}

/// Exchanges of a task, with their place in the journal. Of other tasks only
/// those are here that an understudy answered, without their content.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExchangesPage {
    pub(crate) rows: Vec<(u64, Box<RawValue>)>,
    /// Where the next page begins; `None` after the last.
    pub(crate) next: Option<u64>,
    /// Records that should have been here and cannot be read.
    pub(crate) lost: u64,
}

#[derive(Deserialize)]
struct Asked {
    by: String,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    what: Value,
}

/// The pages' routes.
pub(super) fn router() -> Router<std::sync::Arc<dyn super::Backstage>> {
    Router::new()
        .route("/v1/tasks/{task}/curriculum", get(curriculum))
        .route("/v1/tasks/{task}/exchanges", post(exchanges))
        .route("/v1/tasks/{task}/curated", post(curated))
}

async fn curriculum(stage: Stage, Path(task): Path<String>) -> Response {
    try_ask(stage, move |b| b.curriculum(&task)).await
}

async fn exchanges(stage: Stage, Path(task): Path<String>, Json(asked): Json<Asked>) -> Response {
    try_ask(stage, move |b| b.exchanges(&task, asked.from, &asked.by)).await
}

async fn curated(stage: Stage, Path(task): Path<String>, Json(asked): Json<Asked>) -> Response {
    try_ask(stage, move |b| b.curated(&task, &asked.by, asked.what)).await
}
