//! Flagging exchanges.

use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use understudy_call::ExchangeId;

use super::{Stage, try_ask};

/// An exchange that nobody is to learn from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flag {
    pub(crate) exchange: ExchangeId,
    /// Who said so.
    pub(crate) by: String,
    /// Why.
    pub(crate) why: String,
    /// When, RFC 3339.
    pub(crate) at: String,
}

/// What is to be flagged, or no longer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Flagging {
    pub(crate) exchanges: Vec<ExchangeId>,
    pub(crate) by: String,
    #[serde(default)]
    pub(crate) why: String,
    /// Takes the flags away.
    #[serde(default)]
    pub(crate) away: bool,
}

/// How many are flagged now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flagged {
    pub(crate) flagged: usize,
}

/// The routes.
pub(super) fn router() -> Router<std::sync::Arc<dyn super::Backstage>> {
    Router::new().route("/v1/flags", get(async |s: Stage| try_ask(s, |b| b.flags()).await).post(flag))
}

async fn flag(stage: Stage, Json(flagging): Json<Flagging>) -> Response {
    try_ask(stage, move |b| b.flag(flagging)).await
}
