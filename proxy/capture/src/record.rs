use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use understudy_call::{
    Belongs, Choice, Credential, Dialect, Exchange, ExchangeId, Metadata, Part, Reply, Request,
};
use understudy_policy::{Decision, EntryOpened, Trial};

use crate::DropReason;
use crate::seal::KeyName;

/// What the gateway saw of one call: raw bodies, chunk by chunk as they passed.
#[derive(Clone)]
pub struct Captured {
    /// Its name.
    pub id: ExchangeId,
    /// What is known without the content.
    pub meta: Metadata,
    /// The request's body.
    pub request: Vec<Bytes>,
    /// The reply's body.
    pub reply: Vec<Bytes>,
    /// The reply's content type: whole JSON or an event stream.
    pub reply_content_type: String,
    /// The encoding of the reply's bytes (`gzip`, `br`, …); empty for none.
    pub reply_encoding: String,
    /// For an audited call, what the understudy answered. For one that only the
    /// understudy answered, the same, and `reply` is empty.
    pub understudy_reply: Option<Reply>,
}

impl Captured {
    /// What it weighs in the queue: its bodies, its headers, the understudy's reply, and
    /// a round figure for the rest.
    #[must_use]
    pub fn weight(&self) -> usize {
        const REST: usize = 1024;
        let bodies: usize = self.request.iter().chain(&self.reply).map(Bytes::len).sum();
        let headers: usize =
            self.meta.headers.iter().map(|(name, value)| PIECE + name.len() + value.len()).sum();
        let understudy = self.understudy_reply.as_ref().map_or(0, reply_weight);
        bodies.saturating_add(headers).saturating_add(understudy).saturating_add(REST)
    }
}

/// What a piece of a call takes beside its text: two or three strings, each of a
/// pointer, a length and a capacity, and what the allocator adds.
const PIECE: usize = 96;

/// Walked, not written: it is asked on the call's path.
fn reply_weight(reply: &Reply) -> usize {
    reply.choices.iter().map(choice_weight).sum::<usize>() + PIECE
}

fn choice_weight(choice: &Choice) -> usize {
    // An understudy says text and calls tools; media is not its own, and is not looked into.
    let said = choice.content.iter().map(|p| match p {
        Part::Text(t) | Part::Refusal(t) => PIECE + t.len(),
        _ => PIECE,
    });
    let called = choice.tool_calls.iter().map(|c| PIECE + c.id.len() + c.name.len() + c.arguments.len());
    let tokens = choice.logprobs.iter().map(|t| PIECE + t.token.len());
    said.sum::<usize>() + called.sum::<usize>() + tokens.sum::<usize>() + PIECE
}

/// Bodies stay out of logs.
impl std::fmt::Debug for Captured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Captured")
            .field("id", &self.id)
            .field("weight", &self.weight())
            .finish_non_exhaustive()
    }
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Offered {
    /// It waits for the writer.
    Taken,
    /// It is gone, and counted.
    Dropped(DropReason),
}

/// Says where a call belongs, from the dialect, the request, the credential and an id of
/// the conversation where the caller gave one.
pub type Fingerprint = dyn Fn(Dialect, &Request, Credential, Option<&str>) -> Belongs + Send + Sync;

/// Scores an understudy's answer (third) against the provider's (second).
pub type AuditScore = dyn Fn(&Request, &Reply, &Reply) -> f64 + Send + Sync;

/// What the writer asks of its neighbours about the raw pair, before it is redacted.
#[derive(Clone)]
pub struct Hooks {
    /// Where it belongs.
    pub fingerprint: Arc<Fingerprint>,
    /// An audit's score, 0 to 1.
    pub audit: Arc<AuditScore>,
}

/// One record of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "most records are exchanges, and one is in memory at a time")]
pub enum Record {
    /// A call.
    Exchange(Exchange),
    /// A trial.
    Trial(Trial),
    /// A change of stage.
    Decision(Decision),
    /// An entry.
    EntryOpened(EntryOpened),
    /// Anything else that has to survive: names, approvals, cast versions, operator actions.
    Note {
        /// What it is.
        kind: String,
        /// What it says.
        json: Value,
    },
    /// The state at the beginning of a volume; `null` where nothing was known yet.
    Checkpoint(Value),
}

impl Record {
    /// Whose key it is sealed with.
    pub(crate) fn key_name(&self) -> KeyName {
        match self {
            Self::Exchange(ex) => KeyName { form: ex.meta.form, credential: Some(ex.meta.credential) },
            _ => KeyName::default(),
        }
    }

    /// The name used in tables and labels.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Exchange(_) => "exchange",
            Self::Trial(_) => "trial",
            Self::Decision(_) => "decision",
            Self::EntryOpened(_) => "entry_opened",
            Self::Note { .. } => "note",
            Self::Checkpoint(_) => "checkpoint",
        }
    }
}
