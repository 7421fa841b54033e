//! Remote: any OpenAI-compatible server, the provider's own smaller model
//! included. It gets the call as it is, under its own key and budget.
//!
//! A server that gives log-probabilities has a reserve: the confidence is their
//! sum. One that gives none has no reserve: every answer has confidence 0, and
//! the bar can only take all calls or none.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use understudy_call::{Answer, Ask, Declined, Dialect, Responder, UnderstudyId, Usage};
use understudy_policy::TaskId;

use crate::error::CastError;
use crate::example::stratum_in;
use crate::{check, head, wire};

/// Time to get a connection to a server elsewhere.
const CONNECT: Duration = Duration::from_secs(2);

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

/// What a remote may spend in a day. `None` is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Budget {
    /// Tokens, both ways.
    pub tokens_per_day: Option<u64>,
    /// Money, in the currency of the prices.
    pub money_per_day: Option<f64>,
    /// Price of a million tokens of prompt.
    pub input_price: f64,
    /// Price of a million tokens of reply.
    pub output_price: f64,
}

/// Counts what a remote spends; passed in, as time is.
pub trait Meter: Send + Sync {
    /// Whether there is anything left.
    fn may_spend(&self) -> bool;
    /// Counts an answer.
    fn spend(&self, usage: Usage);
}

/// A [`Meter`] over days, which whoever makes it counts.
pub struct DailyMeter {
    budget: Budget,
    today: Box<dyn Fn() -> u64 + Send + Sync>,
    spent: Mutex<(u64, u64, f64)>,
}

impl fmt::Debug for DailyMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DailyMeter").field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl DailyMeter {
    /// A meter with nothing spent; `today` numbers the days.
    pub fn new(budget: Budget, today: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { budget, today: Box::new(today), spent: Mutex::new((0, 0, 0.0)) }
    }

    /// Tokens and money of today.
    fn of_today(&self, add: impl FnOnce(&mut u64, &mut f64)) -> (u64, f64) {
        let today = (self.today)();
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.0 != today {
            *spent = (today, 0, 0.0);
        }
        let (_, tokens, money) = &mut *spent;
        add(tokens, money);
        (*tokens, *money)
    }
}

impl Meter for DailyMeter {
    fn may_spend(&self) -> bool {
        let (tokens, money) = self.of_today(|_, _| ());
        self.budget.tokens_per_day.is_none_or(|most| tokens < most)
            && self.budget.money_per_day.is_none_or(|most| money < most)
    }

    fn spend(&self, usage: Usage) {
        self.of_today(|tokens, money| {
            *tokens += usage.input_tokens + usage.output_tokens;
            *money += (usage.input_tokens as f64 * self.budget.input_price
                + usage.output_tokens as f64 * self.budget.output_price)
                / 1e6;
        });
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
        if !self.meter.may_spend() {
            return Err(Declined::Budget);
        }
        let mut request = ask.request.clone();
        request.model.clone_from(&self.config.model);
        request.stream = false;
        request.include_usage = false;
        request.sampling.logprobs = self.config.logprobs.then_some(true);
        let body = understudy_dialect::render_request(Dialect::OpenaiChat, &request)
            .map_err(|_| Declined::Invalid)?;
        let url = format!("{}/chat/completions", self.config.url.trim_end_matches('/'));
        let came = wire::post(&self.http, &url, self.config.key.as_deref(), body, ask.deadline).await?;
        if came.status != 200 {
            return Err(wire::declined(&came));
        }
        let mut reply =
            understudy_dialect::parse_reply(Dialect::OpenaiChat, came.status, &came.content_type, &came.body)
                .map_err(|_| Declined::Invalid)?;
        self.meter.spend(reply.usage.unwrap_or_default());
        let [choice] = reply.choices.as_mut_slice() else {
            return Err(Declined::Invalid);
        };
        if reply.error.is_some() || !check::usable(ask.request, choice) {
            return Err(Declined::Invalid);
        }
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
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_budget_is_spent_and_comes_back_the_next_day() {
        let day = Arc::new(AtomicU64::new(7));
        let clock = Arc::clone(&day);
        let budget =
            Budget { money_per_day: Some(1.0), input_price: 1.0, output_price: 4.0, ..Budget::default() };
        let meter = DailyMeter::new(budget, move || clock.load(Ordering::Relaxed));
        assert!(meter.may_spend());
        meter.spend(Usage { input_tokens: 200_000, output_tokens: 200_000, ..Usage::default() });
        assert!(!meter.may_spend());
        day.store(8, Ordering::Relaxed);
        assert!(meter.may_spend());
    }

    #[test]
    fn a_key_is_never_printed() {
        let config = RemoteConfig {
            name: "small".into(),
            url: "http://localhost".into(),
            key: Some("sk-secret".into()),
            model: "m".into(),
            logprobs: false,
            budget: Budget::default(),
        };
        assert!(!format!("{config:?}").contains("sk-secret"));
    }
}
