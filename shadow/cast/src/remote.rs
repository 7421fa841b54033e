//! Remote: any OpenAI-compatible server, the provider's own smaller model
//! included. It gets what decides the reply, under its own key and budget. What the
//! agent tells its provider alone (who its user is, what to store, whose cache) is
//! nobody else's to know.
//!
//! A server that gives log-probabilities has a reserve: the confidence is their
//! sum. One that gives none has no reserve: every answer has confidence 0, and
//! the bar can only take all calls or none.
//!
//! *Budget.* A call is charged before it is sent, by an estimate, and what the
//! server counted takes its place when it comes. So calls in flight are spent
//! already, and one that is cut off or answered without a count is not free.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use understudy_call::{Answer, Ask, Declined, Dialect, Request, Responder, UnderstudyId, Usage};
use understudy_policy::TaskId;

use crate::error::CastError;
use crate::example::stratum_in;
use crate::{check, head, wire};

mod meter;

pub use meter::{Books, Budget, Charge, DailyMeter, Meter, Spent};

/// Time to get a connection to a server elsewhere.
const CONNECT: Duration = Duration::from_secs(2);

/// Tokens of a reply whose request names no limit, until they are counted.
const USUAL_REPLY: u64 = 256;

/// Statuses of a request that was refused before a model saw it: they cost nothing.
const REFUSED: [u16; 4] = [401, 403, 404, 429];

/// The dialect's notes on how a field was written (`proxy/dialect/src/openai.rs`), all
/// that is sent on of what has no noun. In a call that an understudy may answer the
/// rest is meant for the provider alone or says the default: `user`,
/// `safety_identifier`, `prompt_cache_key`, `service_tier`, `store`, `metadata` and
/// their like, the table in `proxy/dialect/src/openai/request.rs`. The remote is asked
/// for no stream, so a note on one (`@stream_options`) would be refused.
const NOTES: [&str; 6] = ["@given", "@max_tokens", "@response_format", "@stop", "@tool_choice", "@tools"];

/// A server, as configured.
#[derive(Clone, PartialEq)]
pub struct RemoteConfig {
    /// Its name.
    pub name: String,
    /// The URL in front of `/chat/completions`, as `OPENAI_BASE_URL` has it.
    pub url: String,
    /// Its key.
    pub key: Option<String>,
    /// The model to ask for.
    pub model: String,
    /// Whether it gives log-probabilities.
    pub logprobs: bool,
    /// What it may spend.
    pub budget: Budget,
}

impl fmt::Debug for RemoteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteConfig")
            .field("name", &self.name)
            .field("url", &self.url)
            .field("model", &self.model)
            .field("logprobs", &self.logprobs)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// What a call is expected to take: four characters a token, as English has it,
/// and all the tokens that it permits.
fn expected(request: &Request, body: &[u8]) -> Usage {
    Usage {
        input_tokens: body.len().div_ceil(4) as u64,
        output_tokens: request.sampling.max_tokens.map_or(USUAL_REPLY, u64::from),
        ..Usage::default()
    }
}

/// Why a server gave no answer. One that does not take the request's form (a schema, a
/// parameter) was not asked: nothing that it said is invalid.
fn refusal(came: &wire::Came) -> Declined {
    match wire::declined(came) {
        Declined::Invalid => Declined::Unavailable,
        why => why,
    }
}

/// A remote for one task.
pub struct Remote {
    id: UnderstudyId,
    config: RemoteConfig,
    meter: Arc<dyn Meter>,
    http: reqwest::Client,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("id", &self.id).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Remote {
    /// A remote for a task.
    ///
    /// # Errors
    /// [`CastError::Client`] when TLS cannot be set up.
    pub fn new(task: TaskId, config: RemoteConfig, meter: Arc<dyn Meter>) -> Result<Self, CastError> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT).build().map_err(CastError::Client)?;
        let mut h = blake3::Hasher::new();
        h.update(b"understudy remote 1");
        h.update(&task.0.to_le_bytes());
        for text in [&config.name, &config.url, &config.model] {
            h.update(&(text.len() as u64).to_le_bytes());
            h.update(text.as_bytes());
        }
        h.update(&[u8::from(config.logprobs)]);
        Ok(Self { id: UnderstudyId(format!("remote-{}", head::short(&h))), config, meter, http })
    }

    /// The configured name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    async fn answer(&self, ask: Ask<'_>) -> Result<Answer, Declined> {
        let begun = Instant::now();
        let mut request = ask.request.clone();
        request.model.clone_from(&self.config.model);
        request.stream = false;
        request.include_usage = false;
        request.sampling.logprobs = self.config.logprobs.then_some(true);
        request.extra.retain(|field, _| NOTES.contains(&field.as_str()));
        let body = understudy_dialect::render_request(Dialect::OpenaiChat, &request)
            .map_err(|_| Declined::Invalid)?;
        let url = format!("{}/chat/completions", self.config.url.trim_end_matches('/'));
        let charge = self.meter.try_charge(expected(&request, &body)).ok_or(Declined::Budget)?;
        let sent = wire::post(&self.http, &url, self.config.key.as_deref(), body, ask.deadline).await;
        let is_free = match &sent {
            Ok(came) => REFUSED.contains(&came.status),
            Err(lost) => lost.unsent,
        };
        if is_free {
            self.meter.settle(charge, Usage::default());
        }
        let came = sent?;
        if came.status != 200 {
            return Err(refusal(&came));
        }
        let mut reply =
            understudy_dialect::parse_reply(Dialect::OpenaiChat, came.status, &came.content_type, &came.body)
                .map_err(|_| Declined::Invalid)?;
        // Some servers write a usage of nothing.
        if let Some(took) = reply.usage.filter(|u| u.input_tokens > 0 || u.output_tokens > 0) {
            self.meter.settle(charge, took);
        }
        let [choice] = reply.choices.as_mut_slice() else {
            return Err(Declined::Invalid);
        };
        if reply.error.is_some() {
            return Err(Declined::Invalid);
        }
        check::accept(ask.request, choice)?;
        let given = std::mem::take(&mut choice.logprobs);
        let confidence = given.iter().map(|t| t.logprob).sum::<f64>();
        if self.config.logprobs && given.is_empty() {
            return Err(Declined::Invalid);
        }
        if ask.bar.is_some_and(|bar| confidence < bar) {
            return Err(Declined::BelowBar);
        }
        let stratum = stratum_in(ask.request, choice);
        reply.model.clone_from(&ask.request.model);
        Ok(Answer { reply, confidence, stratum, spent: begun.elapsed() })
    }
}

impl Responder for Remote {
    fn id(&self) -> &UnderstudyId {
        &self.id
    }

    fn respond<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Answer, Declined>> {
        Box::pin(self.answer(ask))
    }
}

#[cfg(test)]
mod tests;
