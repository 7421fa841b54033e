use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Declined, Dialect, Reply, Request, UnderstudyId};

/// The bytes in hexadecimal, without taking memory: a record holds several hashes.
fn hexed<'t>(bytes: &[u8], text: &'t mut [u8]) -> &'t str {
    // Never an error: each text has room for two digits a byte, which are ASCII.
    let done = hex::encode_to_slice(bytes, text);
    done.ok().and_then(|()| std::str::from_utf8(text).ok()).unwrap_or_default()
}

macro_rules! hash_newtype {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(hexed(&self.0, &mut [0; 2 * $len]))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }
        impl std::str::FromStr for $name {
            type Err = hex::FromHexError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                let mut out = [0u8; $len];
                hex::decode_to_slice(s, &mut out)?;
                Ok(Self(out))
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(hexed(&self.0, &mut [0; 2 * $len]))
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let s = std::borrow::Cow::<'de, str>::deserialize(d)?;
                s.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hash_newtype!(
    /// Names an exchange; time-ordered (UUID version 7).
    ExchangeId, 16);
hash_newtype!(
    /// A keyed hash of the credential with which a call was made. The
    /// credential itself never enters an exchange.
    Credential, 16);
hash_newtype!(
    /// The hash of what a task's calls have in common.
    FormHash, 16);
hash_newtype!(
    /// A keyed hash that names a conversation.
    ConversationKey, 16);

/// A call as captured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// Its name.
    pub id: ExchangeId,
    /// What is known of it without its content.
    pub meta: Metadata,
    /// The request; `None` when its dialect is not decoded yet, or it did not parse.
    pub request: Option<Request>,
    /// The reply; likewise. For a streamed call, put together again.
    pub reply: Option<Reply>,
    /// For an audited call: what the understudy answered, beside the provider's
    /// reply above. Never a reference, never an example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub understudy_reply: Option<Reply>,
    /// For an audited call: the score of the understudy's answer against the
    /// provider's, taken on the raw pair in memory before anything was
    /// redacted, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_score: Option<f64>,
    /// What the reply's redacted values are to the request.
    #[serde(default, skip_serializing_if = "StandIns::is_none")]
    pub stand_ins: StandIns,
}

impl Exchange {
    /// One that no understudy had a part in, with nothing redacted.
    #[must_use]
    pub fn new(id: ExchangeId, meta: Metadata, request: Option<Request>, reply: Option<Reply>) -> Self {
        Self {
            id,
            meta,
            request,
            reply,
            understudy_reply: None,
            audit_score: None,
            stand_ins: StandIns::None,
        }
    }

    /// Whether its reply is one to learn from, to measure and to compare with: a
    /// success, captured whole, that ended of its own accord.
    #[must_use]
    pub fn has_whole_reply(&self) -> bool {
        (200..300).contains(&self.meta.status)
            && self.meta.truncation == Truncation::Whole
            && self.reply.as_ref().is_some_and(Reply::is_whole)
    }

    /// Whether its reply is known word for word, but for what the request holds too.
    /// Of a redacted value of the provider's own only the stand-in is known: nobody
    /// could say the value, and whoever learnt the stand-in would say it to the agent.
    #[must_use]
    pub fn reply_is_known(&self) -> bool {
        self.stand_ins != StandIns::Own
    }
}

/// Where the values of a reply come from that were redacted: a record has only their
/// stand-ins, and who answers a live call must never say one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StandIns {
    /// None was redacted; or the record is older than this field, and does not say.
    #[default]
    None,
    /// All of them stand in the request too: who reads a live request can say the
    /// live value, and who repeats the record cannot.
    Echoed,
    /// One of them is the provider's own, and nobody can learn it from records.
    Own,
}

impl StandIns {
    /// Whether none was redacted.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Where a call belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Belongs {
    /// Its form.
    pub form: FormHash,
    /// Its conversation.
    pub conversation: ConversationKey,
    /// See [`Metadata::opening`].
    pub opening: u16,
}

/// What is known of a call without its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// The provider's configured name.
    pub provider: String,
    /// The wire API.
    pub dialect: Dialect,
    /// Who called, as a keyed hash.
    pub credential: Credential,
    /// The call's form, where its dialect is decoded.
    pub form: Option<FormHash>,
    /// Its conversation, likewise.
    pub conversation: Option<ConversationKey>,
    /// So many messages at the request's beginning, system text among them, are what all
    /// calls of the form begin with: examples that the agent gives as turns. The form's
    /// hash has them, they are no part of the call, and the model's words in them are no
    /// turn of this conversation. Mostly 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub opening: u16,
    /// What was done with it.
    pub lane: Lane,
    /// Who answered.
    pub answered_by: AnsweredBy,
    /// HTTP status of the reply; 0 when none came.
    pub status: u16,
    /// How long it took.
    pub timings: Timings,
    /// Bytes on the wire.
    pub sizes: Sizes,
    /// Whether the bytes captured are all there were.
    pub truncation: Truncation,
    /// Headers from the allow-list: content-type, request id, rate limits, retry-after, traceparent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// An id of the conversation that the caller gave, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explicit_conversation: Option<String>,
    /// The understudy that was asked, where one was, and how it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
}

impl Metadata {
    /// Of a call that the provider answered well, and of which nothing more is known.
    #[must_use]
    pub fn answered(provider: impl Into<String>, dialect: Dialect, credential: Credential) -> Self {
        Self {
            provider: provider.into(),
            dialect,
            credential,
            form: None,
            conversation: None,
            opening: 0,
            lane: Lane::Provider,
            answered_by: AnsweredBy::Provider,
            status: 200,
            timings: Timings::default(),
            sizes: Sizes::default(),
            truncation: Truncation::Whole,
            headers: Vec::new(),
            explicit_conversation: None,
            asked: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(n: &u16) -> bool {
    *n == 0
}

/// An understudy was asked a live call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Who.
    pub understudy: UnderstudyId,
    /// By the right of which entry of its task.
    pub entry: u32,
    /// Why it did not answer; `None` when it did.
    pub declined: Option<Declined>,
    /// Whether the call was drawn for an audit, before anyone was asked.
    #[serde(default)]
    pub audit: bool,
    /// The tool or label that it chose, where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stratum: Option<String>,
}

/// What is done with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// The provider answers.
    Provider,
    /// The understudy answers.
    Understudy,
    /// The understudy answers, and the provider is asked too.
    Audit,
    /// The conversation stays with the provider for good, to compare with.
    Control,
}

impl Lane {
    /// The name used in records and labels.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Understudy => "understudy",
            Self::Audit => "audit",
            Self::Control => "control",
        }
    }
}

/// Who answered a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// The provider.
    Provider,
    /// This understudy: never a reference, never an example.
    Understudy(UnderstudyId),
    /// Nobody: the call broke off.
    Nobody,
}

/// How long a call took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Unix milliseconds at which the request's head was read.
    pub started_unix_ms: i64,
    /// From there to the reply's first body byte.
    pub first_byte: Option<Duration>,
    /// From there to the reply's end.
    pub total: Option<Duration>,
    /// How long the understudy was busy with it, declines included.
    pub understudy: Option<Duration>,
    /// For an audited call, how long the provider took with it afterwards; the
    /// other times are what the agent saw.
    #[serde(default)]
    pub audit: Option<Duration>,
}

/// Bytes of a call's bodies on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Of the request.
    pub request: u64,
    /// Of the reply.
    pub reply: u64,
}

/// Whether the captured bytes are all there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// All of them.
    #[default]
    Whole,
    /// A body went past the capture limit.
    TooLarge,
    /// The agent hung up before the reply's end.
    ClientGone,
    /// The provider broke off.
    ProviderGone,
}
