//! Policies that come from a cluster's injector, by long poll.
//!
//! The proxy asks with its pod's token, says by what it goes and how its tasks stand,
//! and is answered when there is something else ([`document`]). What it heard last is
//! kept in the state folder and holds on while the injector is away, for
//! `policy.max_age`; after that the configuration alone holds.

pub(crate) mod document;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use understudy_cast::{Door, EngineAddr};
use understudy_rehearsal::TaskReport;

use super::publisher::Publisher;
use super::snapshot::Snapshot;
use super::told;
use crate::config::Config;
use crate::failure::Failure;
use document::{Document, Kept};

/// How long one question may wait for a change.
const WAIT: Duration = Duration::from_secs(25);

/// And for its answer to arrive beyond that.
const SLACK: Duration = Duration::from_secs(10);

/// Between two questions that failed: doubled each time, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// Between two looks at what is to be reported.
const LOOK: Duration = Duration::from_secs(2);

/// How often what has not changed is written again, so that a restart knows its age.
const TOUCH: Duration = Duration::from_secs(300);

/// Tasks that are reported: those that a policy names, then those with most calls. There
/// may be thousands, and a policy's status is one small object.
const MOST_TASKS: usize = 64;

/// An answer has no business being larger.
const MOST_BYTES: usize = 1 << 20;

/// What was heard last.
pub(crate) type Heard = watch::Receiver<Arc<Document>>;

/// The way to the injector.
pub(crate) struct Source {
    door: Door,
    file: PathBuf,
    max_age: Duration,
    kept: Kept,
    /// Of what is kept, what cannot be followed.
    refused: BTreeMap<String, String>,
    written: SystemTime,
    shown: Arc<ArcSwap<Snapshot>>,
    publisher: Arc<Publisher>,
    heard: watch::Sender<Arc<Document>>,
}

impl Source {
    /// `None` where there is none to ask; the channel that the worker listens to is
    /// what was heard last, if it is young enough.
    ///
    /// # Errors
    /// When no client can be made.
    pub(crate) fn of(
        config: &Config,
        publisher: &Arc<Publisher>,
        shown: &Arc<ArcSwap<Snapshot>>,
    ) -> Result<Option<(Self, Heard)>, Failure> {
        let Some(source) = &config.policy_source else { return Ok(None) };
        let door = Door::new(EngineAddr::Pod {
            url: source.url.clone(),
            token_file: source.token_file.clone(),
            ca_file: source.ca_file.clone(),
        });
        // Each of the injector's replicas counts the pods that it hears.
        let door = door.map_err(|e| Failure::Failed(e.to_string()))?.kept();
        let file = config.state.join("policy.json");
        let kept = Kept::read(&file).filter(|k| !k.is_older(source.max_age, now())).unwrap_or_default();
        let document = Arc::new(kept.document.clone());
        publisher.come_under(Arc::clone(&document));
        let refused = document.refused();
        let (heard, listens) = watch::channel(document);
        let written = UNIX_EPOCH;
        let (shown, publisher) = (Arc::clone(shown), Arc::clone(publisher));
        let max_age = source.max_age;
        Ok(Some((Self { door, file, max_age, kept, refused, written, shown, publisher, heard }, listens)))
    }

    /// Asks until the proxy ends.
    pub(crate) async fn run(mut self, ending: watch::Receiver<bool>) {
        let mut pause = PAUSES.0;
        let mut end = std::pin::pin!(told(ending));
        loop {
            let report = self.report();
            let began = Instant::now();
            let asked = tokio::select! {
                () = &mut end => return,
                () = self.differs(&report) => continue,
                asked = self.ask(&report) => asked,
            };
            match asked {
                Ok(Some(document)) => {
                    self.hear(document);
                    self.keep();
                    pause = PAUSES.0;
                    continue;
                }
                Ok(None) => {
                    self.keep();
                    pause = PAUSES.0;
                    if began.elapsed() >= LOOK {
                        continue;
                    }
                    // Whoever does not wait is not asked again at once.
                    tokio::select! { () = &mut end => return, () = tokio::time::sleep(LOOK) => continue }
                }
                Err(why) => {
                    if pause == PAUSES.0 {
                        tracing::warn!(
                            why,
                            "the injector tells no policy; what it told last goes on holding"
                        );
                    }
                    if self.kept.is_older(self.max_age, now()) && self.kept.document != Document::default() {
                        tracing::warn!("policy.max_age is over: the configuration alone holds");
                        self.hear(Document::default());
                    }
                }
            }
            tokio::select! { () = &mut end => return, () = tokio::time::sleep(pause) => {} }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Ends when there is something else to report.
    async fn differs(&self, report: &Value) {
        loop {
            tokio::time::sleep(LOOK).await;
            if self.report() != *report {
                return;
            }
        }
    }

    /// `None`: nothing has changed.
    async fn ask(&self, report: &Value) -> Result<Option<Document>, String> {
        let way = self.door.way();
        let question = json!({
            "known": self.kept.document.version,
            "wait_s": WAIT.as_secs(),
            "report": report,
        });
        let mut ask = way.http.post(format!("{}/v1/policy", self.door.base())).timeout(WAIT + SLACK);
        if let Some(token) = &way.key {
            ask = ask.bearer_auth(token);
        }
        let answer = ask.json(&question).send().await.map_err(|e| e.without_url().to_string())?;
        match answer.status() {
            StatusCode::NO_CONTENT => Ok(None),
            StatusCode::OK => {
                let body = answer.bytes().await.map_err(|e| e.without_url().to_string())?;
                if body.len() > MOST_BYTES {
                    return Err(format!("an answer of {} bytes is no policy", body.len()));
                }
                serde_json::from_slice(&body).map(Some).map_err(|e| format!("the answer is no policy: {e}"))
            }
            status => Err(format!("it answered {status}")),
        }
    }

    fn hear(&mut self, document: Document) {
        tracing::info!(version = document.version, "another policy holds");
        self.refused = document.refused();
        for (policy, why) in &self.refused {
            tracing::error!(policy, why, "a policy cannot be followed");
        }
        let shared = Arc::new(document.clone());
        self.publisher.come_under(Arc::clone(&shared));
        self.heard.send_replace(shared);
        self.kept.document = document;
        self.written = UNIX_EPOCH;
    }

    /// Notes that it was heard of now.
    fn keep(&mut self) {
        self.kept.heard_at = now();
        if self.written.elapsed().is_ok_and(|since| since < TOUCH) {
            return;
        }
        self.written = SystemTime::now();
        if let Err(e) = self.kept.write(&self.file) {
            tracing::warn!(error = &e as &dyn std::error::Error, "the policy is not kept for a restart");
        }
    }

    fn report(&self) -> Value {
        let shown = self.shown.load();
        let document = &self.kept.document;
        let is_named = |r: &&TaskReport| document.names(&r.task.to_string(), &r.name);
        let (named, others): (Vec<_>, Vec<_>) = shown.reports.iter().partition(is_named);
        let told = || named.iter().chain(&others).take(MOST_TASKS);
        let tasks: BTreeMap<&str, &str> =
            told().map(|r| (r.name.as_str(), r.evidence.stage.label())).collect();
        let ids: BTreeMap<&str, String> = told().map(|r| (r.name.as_str(), r.task.to_string())).collect();
        json!({"version": document.version, "tasks": tasks, "ids": ids, "refused": self.refused})
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
