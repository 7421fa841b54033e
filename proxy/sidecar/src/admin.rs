//! The admin API: what the command line and the console ask a running proxy.
//!
//! Loopback only, a bearer token from a file of mode 0600, and the Host and
//! Origin of a browser's request checked, so that a page on the web cannot
//! reach it through DNS that points at loopback. The answers come from a
//! [`Backstage`], which the wiring implements and tests fake.

pub(crate) mod client;
pub(crate) mod curriculum;
pub(crate) mod flags;
mod guard;
pub(crate) mod pages;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use curriculum::{CurriculumPage, ExchangesPage};
use flags::{Flag, Flagged, Flagging};
pub(crate) use guard::{Guard, new_token};
use pages::{Acted, DecisionRow, ExportPage, JournalPage, SavingsPage, Status, Stopped, TaskPage, TaskRow};

/// What a person may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Let a waiting task go on.
    Approve,
    /// One stage up.
    Promote,
    /// Back to shadowing.
    Demote,
    /// Keep, or free.
    Pin(bool),
    /// A new name.
    Name(String),
    /// Take in an adapter that lies where the engine looks for them.
    Adopt(String),
}

impl Order {
    /// For spans.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::Pin(true) => "pin",
            Self::Pin(false) => "unpin",
            Self::Name(_) => "name",
            Self::Adopt(_) => "adopt",
        }
    }
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refused {
    /// Nothing has that id or name.
    #[error("no task is called {0}; `understudy tasks` lists them")]
    NoSuchTask(String),
    /// More than one has.
    #[error("{0} could be any of {1}")]
    Ambiguous(String, String),
    /// It makes no sense now.
    #[error("{0}")]
    NotNow(String),
    /// The part that would do it is off.
    #[error("{0}")]
    Off(String),
}

/// What the admin API shows and does. Calls may block: they run on threads for that.
pub(crate) trait Backstage: Send + Sync + 'static {
    /// How the process is.
    fn status(&self) -> Status;
    /// Every task.
    fn tasks(&self) -> Vec<TaskRow>;
    /// One task, by id, the beginning of an id, or name.
    fn task(&self, which: &str) -> Result<TaskPage, Refused>;
    /// Carries out an order; what it says is durable.
    fn act(&self, which: &str, order: Order, by: &str) -> Result<Acted, Refused>;
    /// The latest decisions, the latest last.
    fn decisions(&self, last: usize) -> Vec<DecisionRow>;
    /// What was saved.
    fn savings(&self) -> SavingsPage;
    /// Volumes, bytes, drops.
    fn journal(&self) -> JournalPage;
    /// The latest records without their content.
    fn tail(&self, last: usize) -> Result<Vec<Value>, Refused>;
    /// Exchanges with their content, from a sequence number on; at most `limit`.
    /// Audited: `by` is written to the audit log.
    fn export(&self, from: u64, limit: usize, by: &str) -> Result<ExportPage, Refused>;
    /// A task as a training set is made of it.
    fn curriculum(&self, which: &str) -> Result<CurriculumPage, Refused>;
    /// Its exchanges with their content, from a sequence number on. Audited.
    fn exchanges(&self, which: &str, from: u64, by: &str) -> Result<ExchangesPage, Refused>;
    /// Writes to the audit log what was made of them.
    fn curated(&self, which: &str, by: &str, what: Value) -> Result<(), Refused>;
    /// Exchanges that nobody is to learn from.
    fn flags(&self) -> Result<Vec<Flag>, Refused>;
    /// Flags some, or takes their flags away. Audited; what it says is durable.
    fn flag(&self, flagging: Flagging) -> Result<Flagged, Refused>;
    /// The kill switch.
    fn stop_serving(&self, stop: bool, by: &str) -> Stopped;
}

type Stage = State<Arc<dyn Backstage>>;

/// The API's routes, behind the guard.
pub(crate) fn router(backstage: Arc<dyn Backstage>, guard: Guard) -> Router {
    Router::new()
        .route("/v1/status", get(async |s: Stage| ask(s, |b| b.status()).await))
        .route("/v1/tasks", get(async |s: Stage| ask(s, |b| b.tasks()).await))
        .route("/v1/tasks/{task}", get(show_task))
        .route("/v1/tasks/{task}/{action}", post(act))
        .merge(curriculum::router())
        .merge(flags::router())
        .route(
            "/v1/decisions",
            get(async |s: Stage, Query(q): Query<Last>| ask(s, move |b| b.decisions(q.last)).await),
        )
        .route("/v1/savings", get(async |s: Stage| ask(s, |b| b.savings()).await))
        .route("/v1/journal/stats", get(async |s: Stage| ask(s, |b| b.journal()).await))
        .route(
            "/v1/journal/tail",
            get(async |s: Stage, Query(q): Query<Last>| try_ask(s, move |b| b.tail(q.last)).await),
        )
        .route("/v1/journal/export", post(export))
        .route("/v1/stop-serving", post(stop_serving))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "no such page"))
        .layer(axum::middleware::from_fn_with_state(Arc::new(guard), guard::check))
        .with_state(backstage)
}

/// Serves it until told to end.
pub(crate) async fn serve(
    listener: tokio::net::TcpListener,
    router: Router,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(end).await
}

#[derive(Deserialize)]
struct Last {
    #[serde(default = "fifty")]
    last: usize,
}

fn fifty() -> usize {
    50
}

async fn ask<T: serde::Serialize + Send + 'static>(
    State(backstage): Stage,
    question: impl FnOnce(&dyn Backstage) -> T + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(move || question(&*backstage)).await {
        Ok(answer) => Json(answer).into_response(),
        Err(_) => {
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered; see the log")
        }
    }
}

async fn try_ask<T: serde::Serialize + Send + 'static>(
    State(backstage): Stage,
    question: impl FnOnce(&dyn Backstage) -> Result<T, Refused> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(move || question(&*backstage)).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(refused)) => {
            let status = match refused {
                Refused::NoSuchTask(_) => StatusCode::NOT_FOUND,
                Refused::Ambiguous(..) | Refused::NotNow(_) => StatusCode::CONFLICT,
                Refused::Off(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            refuse(status, &refused.to_string())
        }
        Err(_) => {
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered; see the log")
        }
    }
}

/// An error as this API writes it.
fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

async fn show_task(stage: Stage, Path(task): Path<String>) -> Response {
    try_ask(stage, move |b| b.task(&task)).await
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    adapter: Option<String>,
    #[serde(default)]
    resume: bool,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    limit: Option<usize>,
}

async fn act(stage: Stage, Path((task, action)): Path<(String, String)>, Json(body): Json<Body>) -> Response {
    let order = match (action.as_str(), body.name) {
        ("approve", _) => Order::Approve,
        ("promote", _) => Order::Promote,
        ("demote", _) => Order::Demote,
        ("pin", _) => Order::Pin(true),
        ("unpin", _) => Order::Pin(false),
        ("name", Some(name)) if is_a_name(&name) => Order::Name(name.trim().to_owned()),
        // A folder's name under the adapters: nothing that could leave them.
        ("adopt", _) => {
            match body.adapter.filter(|a| a.len() == 16 && a.bytes().all(|b| b.is_ascii_hexdigit())) {
                Some(adapter) => Order::Adopt(adapter),
                None => {
                    return refuse(StatusCode::BAD_REQUEST, "an adapter is named by 16 hexadecimal digits");
                }
            }
        }
        ("name", _) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                "a name of 1 to 120 bytes without line breaks and control characters is required",
            );
        }
        _ => {
            return refuse(
                StatusCode::NOT_FOUND,
                "no such action: approve, promote, demote, pin, unpin, name, adopt",
            );
        }
    };
    let by = body.by.unwrap_or_else(|| "unknown".to_owned());
    try_ask(stage, move |b| b.act(&task, order, &by)).await
}

/// Whether it can stand in a table, on any terminal.
fn is_a_name(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= 120 && !name.chars().any(char::is_control)
}

async fn export(stage: Stage, Json(body): Json<Body>) -> Response {
    let by = body.by.unwrap_or_else(|| "unknown".to_owned());
    try_ask(stage, move |b| b.export(body.from, body.limit.unwrap_or(100).clamp(1, 1000), &by)).await
}

async fn stop_serving(stage: Stage, Json(body): Json<Body>) -> Response {
    let by = body.by.unwrap_or_else(|| "unknown".to_owned());
    ask(stage, move |b| b.stop_serving(!body.resume, &by)).await
}
