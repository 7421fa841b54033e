//! What the gateway needs of the rest, as small as it can be.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use understudy_call::{ExchangeId, Metadata, Reply, Responder, UnderstudyId, Usage};
use understudy_policy::{Roster, Stage, TaskId};
use understudy_tasks::{Conversations, HashKey};

use crate::Counters;

/// A call as it went by, for the journal.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its name.
    pub id: ExchangeId,
    /// What is known of it without its content.
    pub meta: Metadata,
    /// The request's body as it went by; empty where the dialect is not decoded.
    pub request: Vec<Bytes>,
    /// The reply's body likewise, still in its content encoding. For an audited
    /// call the provider's.
    pub reply: Vec<Bytes>,
    /// The reply's content type.
    pub reply_content_type: String,
    /// The reply's content encoding (`gzip`, `br`, …); empty for none.
    pub reply_encoding: String,
    /// For an audited call, what the understudy answered.
    pub understudy_reply: Option<Reply>,
}

/// Takes calls for the journal.
pub trait Recorder: Send + Sync {
    /// Takes a call, or drops it and counts why; `false` when it dropped it. Never waits.
    fn offer(&self, call: Recorded) -> bool;
}

/// Finds an understudy of the cast by name.
pub type Responders = Arc<dyn Fn(&UnderstudyId) -> Option<Arc<dyn Responder>> + Send + Sync>;

/// Told of every call when it has ended.
pub type OnCall = Arc<dyn Fn(&CallSeen) + Send + Sync>;

/// What the provider is told of the trace that a call is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The value of `traceparent`: the call's own span, whose child the provider's is.
    pub traceparent: String,
    /// Whether the trace is the agent's, whose `tracestate` then goes on with it.
    pub continued: bool,
}

/// Says it, for a call and the `traceparent` that the agent sent.
pub type Trace = Arc<dyn Fn(ExchangeId, Option<&str>) -> TraceContext + Send + Sync>;

/// What telemetry needs of a call, without its content.
#[derive(Debug, Clone)]
pub struct CallSeen {
    /// The call's name in the journal.
    pub id: ExchangeId,
    /// What is known of it without its content.
    pub meta: Metadata,
    /// The task and its stage, where the call is one of a task that serves.
    pub task: Option<(TaskId, Stage)>,
    /// Why the provider answered a call that an understudy might have, the last reason first.
    pub fallback: Option<&'static str>,
    /// Each understudy that was asked and did not answer, with its reason
    /// ([`understudy_call::Declined::label`], or `panicked`).
    pub declined: Vec<(UnderstudyId, &'static str)>,
    /// The model as the agent wrote it; only known where the request was read
    /// (a task serves that could be this caller's).
    pub model: Option<String>,
    /// The understudy's token counts, where one answered. The provider's are in the journal.
    pub usage: Option<Usage>,
    /// The agent's `traceparent`.
    pub traceparent: Option<String>,
    /// What went wrong, where the gateway itself answered or the call broke off.
    pub error: Option<&'static str>,
}

/// What the gateway is given.
#[derive(Clone)]
pub struct Seams {
    /// Where calls are recorded; `None` records nothing, and calls still flow.
    pub recorder: Option<Arc<dyn Recorder>>,
    /// Which task is at which stage.
    pub roster: Arc<ArcSwap<Roster>>,
    /// The cast.
    pub responders: Responders,
    /// The key of credential and call hashes.
    pub hash_key: HashKey,
    /// Names conversations, by the same key. The recorder's writer has a clone of it, so
    /// that both name a call alike.
    pub conversations: Conversations,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Told of every call.
    pub on_call: OnCall,
    /// What providers are told of the traces; `None` sends the agent's headers on as they are.
    pub trace: Option<Trace>,
}

impl std::fmt::Debug for Seams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seams").field("records", &self.recorder.is_some()).finish_non_exhaustive()
    }
}

impl Seams {
    /// Seams of a gateway that only passes calls through.
    #[must_use]
    pub fn pass_through(hash_key: HashKey) -> Self {
        Self {
            recorder: None,
            roster: Arc::new(ArcSwap::from_pointee(Roster::default())),
            responders: Arc::new(|_| None),
            conversations: Conversations::new(hash_key.clone()),
            hash_key,
            counters: Arc::new(Counters::default()),
            on_call: Arc::new(|_| {}),
            trace: None,
        }
    }
}
