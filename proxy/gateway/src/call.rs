//! What is known of one call while it goes through the phases.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use understudy_call::{
    AnsweredBy, Asked, ConversationKey, Credential, Dialect, ExchangeId, FormHash, Lane, Metadata, Reply,
    Sizes, Timings, Truncation, UnderstudyId, Usage,
};
use understudy_policy::{Stage, TaskId};

use crate::cork::Socket;
use crate::tap::{self, Tap};
use crate::upstream::Upstream;
use crate::{CallSeen, Recorded};

#[derive(Debug)]
pub(crate) struct Call {
    /// Its name, in its own record, its audit's and in telemetry.
    pub(crate) id: ExchangeId,
    pub(crate) started: Instant,
    /// Counts the call as under way until it is dropped.
    pub(crate) flight: Option<crate::counters::InFlight>,
    pub(crate) started_unix_ms: i64,
    /// Set once the call has a provider.
    pub(crate) way: Option<Way>,
    pub(crate) dialect: Dialect,
    pub(crate) credential: Credential,
    pub(crate) request: Tap,
    pub(crate) reply: Tap,
    /// Bytes of each body to keep; `None` keeps nothing.
    pub(crate) keep: Option<usize>,
    pub(crate) seen: ReplySeen,
    pub(crate) lane: Lane,
    pub(crate) form: Option<FormHash>,
    pub(crate) conversation: Option<ConversationKey>,
    pub(crate) opening: u16,
    pub(crate) explicit_conversation: Option<String>,
    pub(crate) task: Option<(TaskId, Stage)>,
    pub(crate) model: Option<String>,
    pub(crate) fallback: Option<&'static str>,
    /// The understudy that was asked last.
    pub(crate) asked: Option<Asked>,
    /// Each that was asked and did not answer, and why.
    pub(crate) declined: Vec<(UnderstudyId, &'static str)>,
    /// How long understudies were busy with it, declines included.
    pub(crate) understudy: Option<Duration>,
    pub(crate) served: Option<Served>,
    /// The audit offers the exchange when the provider has answered it too.
    pub(crate) audited: bool,
    pub(crate) traceparent: Option<String>,
    /// The connection to the provider.
    pub(crate) socket: Option<Socket>,
    pub(crate) connects: usize,
    /// Times that the provider refused it unread.
    pub(crate) refused: usize,
    pub(crate) broke: Option<Broke>,
}

/// Where a call goes.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) upstream: Arc<Upstream>,
    /// Path and query as the provider sees them.
    pub(crate) target: String,
}

/// What was seen of the reply's head.
#[derive(Debug, Default)]
pub(crate) struct ReplySeen {
    pub(crate) status: u16,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) content_type: String,
    pub(crate) encoding: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// An understudy answered.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) by: UnderstudyId,
    pub(crate) reply: Reply,
}

/// How a call broke off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broke {
    pub(crate) label: &'static str,
    pub(crate) truncation: Truncation,
}

impl Call {
    pub(crate) fn new() -> Self {
        let started_unix_ms = unix_ms();
        Self {
            id: new_id(started_unix_ms),
            started: Instant::now(),
            flight: None,
            started_unix_ms,
            way: None,
            dialect: Dialect::Other,
            credential: Credential([0; 16]),
            request: Tap::default(),
            reply: Tap::default(),
            keep: None,
            seen: ReplySeen::default(),
            lane: Lane::Provider,
            form: None,
            conversation: None,
            opening: 0,
            explicit_conversation: None,
            task: None,
            model: None,
            fallback: None,
            asked: None,
            declined: Vec::new(),
            understudy: None,
            served: None,
            audited: false,
            traceparent: None,
            socket: None,
            connects: 0,
            refused: 0,
            broke: None,
        }
    }

    /// Whether a streamed answer was whole when the agent closed, though the provider's bytes
    /// had not ended. Many clients close at `[DONE]`, before the last chunk's mark can come.
    /// Of a stream that is compressed or was not kept nobody can say.
    pub(crate) fn is_told(&self) -> bool {
        (200..300).contains(&self.seen.status) && self.seen.encoding.is_empty() && self.reply.ends_done()
    }

    /// What is known without the content, now that the call has ended.
    pub(crate) fn metadata(&mut self) -> Metadata {
        let answered_by = match (&self.served, self.broke) {
            (Some(served), None) => AnsweredBy::Understudy(served.by.clone()),
            (None, None) => AnsweredBy::Provider,
            (_, Some(_)) => AnsweredBy::Nobody,
        };
        let truncation = match self.broke {
            Some(broke) => broke.truncation,
            None if self.request.cut() || self.reply.cut() => Truncation::TooLarge,
            None => Truncation::Whole,
        };
        let mut headers = std::mem::take(&mut self.seen.headers);
        if let Some(parent) = &self.traceparent {
            headers.push(("traceparent".to_owned(), parent.clone()));
        }
        Metadata {
            provider: self.way.as_ref().map(|w| w.upstream.name().to_owned()).unwrap_or_default(),
            dialect: self.dialect,
            credential: self.credential,
            form: self.form,
            conversation: self.conversation,
            opening: self.opening,
            lane: self.lane,
            answered_by,
            status: self.seen.status,
            timings: Timings {
                started_unix_ms: self.started_unix_ms,
                first_byte: self.seen.first_byte,
                total: Some(self.started.elapsed()),
                understudy: self.understudy,
                audit: None,
            },
            sizes: Sizes { request: self.request.passed(), reply: self.reply.passed() },
            truncation,
            headers,
            explicit_conversation: self.explicit_conversation.clone(),
            asked: self.asked.clone(),
        }
    }

    pub(crate) fn seen(&self, meta: Metadata) -> CallSeen {
        CallSeen {
            id: self.id,
            meta,
            task: self.task,
            fallback: self.fallback,
            declined: self.declined.clone(),
            model: self.model.clone(),
            usage: self.usage(),
            traceparent: self.traceparent.clone(),
            error: self.broke.map(|b| b.label),
        }
    }

    fn usage(&self) -> Option<Usage> {
        self.served.as_ref().and_then(|s| s.reply.usage)
    }

    /// The record of a call that goes on to be audited: its request and the
    /// understudy's reply; the provider's comes with the audit.
    pub(crate) fn copied(&self, meta: Metadata) -> Recorded {
        Recorded {
            id: self.id,
            meta,
            request: self.request.chunks().to_vec(),
            reply: Vec::new(),
            reply_content_type: String::new(),
            reply_encoding: String::new(),
            understudy_reply: self.served.as_ref().map(|s| s.reply.clone()),
        }
    }

    pub(crate) fn recorded(&mut self, meta: Metadata) -> Recorded {
        let (request, reply) = tap::together(self.request.take(), self.reply.take());
        Recorded {
            id: self.id,
            meta,
            request,
            reply,
            reply_content_type: std::mem::take(&mut self.seen.content_type),
            reply_encoding: std::mem::take(&mut self.seen.encoding),
            understudy_reply: self.served.take().map(|s| s.reply),
        }
    }
}

/// The name of a call that began at this Unix millisecond, ordered by time (UUID
/// version 7, RFC 9562). Its random bits come from a seed of this process and a
/// count, which spares each call the system's random numbers.
fn new_id(began: i64) -> ExchangeId {
    static SEED: OnceLock<u128> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let seed = *SEED.get_or_init(|| uuid::Uuid::new_v4().as_u128());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let (high, low) = ((seed >> 64) as u64, seed as u64);
    let [a, b, c, d, e, f, g, h] = mixed(high ^ mixed(low.wrapping_add(count))).to_be_bytes();
    let [.., i, j] = mixed(low ^ mixed(high.wrapping_add(count))).to_be_bytes();
    let millis = u64::try_from(began).unwrap_or_default();
    ExchangeId(
        uuid::Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j])
            .into_uuid()
            .into_bytes(),
    )
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The reply headers that are kept: an allow-list, so that what is not known to
/// be harmless is not stored. The journal's writer has one of its own; what that
/// discards is not copied here.
pub(crate) fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let kept = |name: &str| {
        matches!(name, "content-type" | "x-request-id" | "request-id" | "retry-after")
            || name.starts_with("x-ratelimit-")
            || name.starts_with("anthropic-ratelimit-")
    };
    headers
        .iter()
        .filter(|(name, _)| kept(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}
