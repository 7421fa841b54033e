//! The choice between understudy and provider, for one call.
//!
//! Nothing is sent before the understudy's reply is whole and checked, and
//! whatever goes wrong on the way there (a decline, an error, a deadline, a
//! panic) means that the provider answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::task::JoinHandle;
use understudy_call::{
    Answer, Ask, Belongs, ConversationKey, Declined, Dialect, Lane, Priority, Reply, Request, Responder,
    UnderstudyId, Usage,
};
use understudy_dialect::LocalReply;
use understudy_policy::{Roster, RosterEntry, RosterTask, lane};

use crate::Fallback;
use crate::call::{self, Call, Served};
use crate::fault;
use crate::head;
use crate::proxy::Gateway;
use crate::repeats::{self, Place};

/// pingora replays a body that was read early only up to its retry buffer's 64 KiB.
const READ_EARLY: usize = 64 << 10;

/// Who answered a call.
const ANSWERED_BY: &str = "x-understudy-answered-by";
/// For which task.
const TASK: &str = "x-understudy-task";

/// A call that may be answered here.
struct Part<'g> {
    task: RosterTask,
    request: Arc<Request>,
    conversation: ConversationKey,
    body: Bytes,
    /// Keeps calls with the same messages away until it is answered or given up.
    place: Place<'g>,
}

impl Gateway {
    /// Whether anything serves that could answer this call; else it is not even read.
    pub(crate) fn serves(&self, call: &Call) -> bool {
        call.dialect == Dialect::OpenaiChat && self.seams.roster.load().serves(call.credential)
    }

    /// Answers the call from an understudy; `false` leaves it to the provider.
    pub(crate) async fn try_answer(&self, session: &mut Session, call: &mut Call) -> Result<bool> {
        // A page may read a reply only where its server says so for the page's origin
        // (Fetch, CORS protocol), and that is the provider's to say.
        if session.req_header().headers.contains_key(header::ORIGIN) {
            return Ok(self.fall_back(call, Fallback::Browser));
        }
        let roster = self.seams.roster.load_full();
        let body = match self.read_early(session).await? {
            Ok(body) => body,
            Err(why) => return Ok(self.fall_back(call, why)),
        };
        let part = match self.cast_for(&roster, call, body) {
            Ok(Some(part)) => part,
            Ok(None) => return Ok(false),
            Err(why) => return Ok(self.fall_back(call, why)),
        };
        let asked = Instant::now();
        let answered = self.ask(session, call, &part).await;
        call.understudy = Some(asked.elapsed());
        let (by, answer) = match answered? {
            Ok(found) => found,
            Err(why) => return Ok(self.fall_back(call, why)),
        };
        // The kill switch may have been thrown meanwhile.
        if self.seams.roster.load().stopped {
            call.lane = Lane::Provider;
            return Ok(false);
        }
        self.speak(session, call, part, by, answer).await?;
        Ok(true)
    }

    fn fall_back(&self, call: &mut Call, why: Fallback) -> bool {
        self.seams.counters.add_fallback(why);
        call.fallback = Some(why.label());
        false
    }

    /// Reads the body where it can still be forwarded afterwards.
    async fn read_early(&self, session: &mut Session) -> Result<Result<Bytes, Fallback>> {
        let said = session.req_header().headers.get(header::CONTENT_LENGTH);
        let Some(length) = said.and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok()) else {
            return Ok(Err(Fallback::UnknownLength));
        };
        if length > READ_EARLY {
            return Ok(Err(Fallback::TooLarge));
        }
        head::go_on(session).await?;
        session.as_downstream_mut().enable_retry_buffering();
        while session.as_downstream_mut().read_request_body().await.map_err(|e| e.into_down())?.is_some() {}
        Ok(Ok(session.as_downstream().get_retry_buffer().unwrap_or_default()))
    }

    /// Finds the call's task and lane; `None` where the provider is to answer
    /// it anyway, a reason where only this call is kept from the understudy.
    fn cast_for(&self, roster: &Roster, call: &mut Call, body: Bytes) -> Result<Option<Part<'_>>, Fallback> {
        let request =
            understudy_dialect::parse_request(call.dialect, &body).map_err(|_| Fallback::Unparsed)?;
        let form = understudy_tasks::fingerprint(call.dialect, &request);
        let explicit = call.explicit_conversation.as_deref();
        let Belongs { form, conversation, opening } =
            self.seams.conversations.of(call.credential, form, explicit, &request);
        call.form = Some(form);
        call.conversation = Some(conversation);
        call.opening = opening;
        call.model = Some(request.model.clone());
        let of_form = || roster.tasks.iter().filter(|t| t.form == form);
        let task = of_form()
            .find(|t| t.credential == Some(call.credential))
            .or_else(|| of_form().find(|t| t.credential.is_none()));
        let Some(task) = task else { return Ok(None) };
        call.task = Some((task.task, task.stage));
        // Before any lane is drawn, or the control group alone would have such calls.
        if !task.answered_as(&request.model) {
            return Err(Fallback::OtherModel);
        }
        let draw = self.seams.hash_key.call(&body);
        let lane = lane::choose(task, conversation, draw);
        if matches!(lane, Lane::Provider | Lane::Control) {
            call.lane = lane;
            return Ok(None);
        }
        if let Some(why) = request.ineligible.first() {
            return Err(Fallback::Ineligible(*why));
        }
        let now = Instant::now();
        self.standings.check(call.credential, now)?;
        let asked = repeats::hash(&self.seams.hash_key, call.credential, form, &request);
        let place = self.repeats.take(asked, now).ok_or(Fallback::Repeat)?;
        call.lane = lane;
        Ok(Some(Part { task: task.clone(), conversation, request: Arc::new(request), body, place }))
    }

    /// Asks one understudy after another, within the provider's own time. An
    /// error of pingora means that the agent has hung up.
    async fn ask(
        &self,
        session: &mut Session,
        call: &mut Call,
        part: &Part<'_>,
    ) -> Result<Result<(UnderstudyId, Answer), Fallback>> {
        let budget = Duration::try_from_secs_f64(part.task.budget_ms / 1000.0).unwrap_or_default();
        let mut why = Fallback::Missing;
        for entry in part.task.entries_for(part.conversation) {
            let Some(left) = budget.checked_sub(call.started.elapsed()).filter(|d| !d.is_zero()) else {
                why = Fallback::Declined(Declined::TooSlow);
                break;
            };
            let Some(responder) = (self.seams.responders)(&entry.understudy) else {
                why = Fallback::Missing;
                continue;
            };
            let mut asked = Asked(self.spawn_ask(responder, call, part, entry.bar, left));
            let answered = tokio::select! {
                biased;
                answered = tokio::time::timeout(left, &mut asked.0) => answered,
                gone = session.as_downstream_mut().read_body_or_idle(true) => {
                    let e = gone.err().unwrap_or_else(fault::agent_gone);
                    return Err(e.into_down());
                }
            };
            let answered = match answered {
                Ok(Ok(answered)) => {
                    answered.and_then(|a| checked(a, entry, &part.request)).map_err(Fallback::Declined)
                }
                Ok(Err(_)) => Err(Fallback::Panicked),
                Err(_) => Err(Fallback::Declined(Declined::Late)),
            };
            // The ledger's budgets for late and invalid answers read this.
            call.asked = Some(understudy_call::Asked {
                understudy: entry.understudy.clone(),
                entry: entry.k,
                audit: call.lane == Lane::Audit,
                declined: answered.as_ref().err().map(|why| match why {
                    Fallback::Declined(declined) => *declined,
                    _ => Declined::Unavailable,
                }),
                stratum: answered.as_ref().ok().map(|a| a.stratum.clone()),
            });
            why = match answered {
                Ok(answer) => return Ok(Ok((entry.understudy.clone(), answer))),
                Err(why) => why,
            };
            call.declined.push((entry.understudy.clone(), why.label()));
        }
        // The provider answers now; the lane is what was done with the call.
        call.lane = Lane::Provider;
        Ok(Err(why))
    }

    fn spawn_ask(
        &self,
        responder: Arc<dyn Responder>,
        call: &Call,
        part: &Part<'_>,
        bar: f64,
        deadline: Duration,
    ) -> JoinHandle<Result<Answer, Declined>> {
        let (request, opening, credential) = (Arc::clone(&part.request), call.opening, call.credential);
        self.aside.spawn(async move {
            let ask = Ask {
                request: &request,
                opening,
                credential,
                exchange: None,
                deadline,
                bar: Some(bar),
                priority: Priority::Live,
            };
            responder.respond(ask).await
        })
    }

    /// Sends the whole answer in the agent's dialect.
    async fn speak(
        &self,
        session: &mut Session,
        call: &mut Call,
        part: Part<'_>,
        by: UnderstudyId,
        answer: Answer,
    ) -> Result<()> {
        let reply = dressed(call.dialect, &part.request, answer.reply);
        let mut head = ResponseHeader::build(200, Some(8))?;
        head.insert_header(ANSWERED_BY, by.0.as_str())?;
        head.insert_header(TASK, part.task.task.to_string())?;
        head.insert_header("x-request-id", format!("req_{}", uuid::Uuid::from_bytes(call.id.0).simple()))?;
        let chunks = if part.request.stream {
            head.insert_header(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")?;
            head.insert_header(header::CACHE_CONTROL, "no-cache")?;
            if head::is_http_1_0(session) {
                // It ends with the connection.
                session.set_keepalive(None);
            } else {
                head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
            }
            understudy_dialect::render_stream(call.dialect, &reply, part.request.include_usage)
        } else {
            let body = understudy_dialect::render_reply(call.dialect, &reply);
            head.insert_header(header::CONTENT_TYPE, "application/json")?;
            head.insert_header(header::CONTENT_LENGTH, body.len())?;
            vec![body]
        };
        call.seen.status = 200;
        call.request.note(&part.body, call.keep);
        session.write_response_header(Box::new(head), false).await.map_err(|e| e.into_down())?;
        let last = chunks.len().saturating_sub(1);
        for (i, chunk) in chunks.into_iter().enumerate() {
            let chunk = Bytes::from(chunk);
            call.seen.first_byte.get_or_insert_with(|| call.started.elapsed());
            call.reply.note(&chunk, None);
            session.write_response_body(Some(chunk), i == last).await.map_err(|e| e.into_down())?;
        }
        part.place.answered(Instant::now());
        self.seams.counters.add_served();
        call.served = Some(Served { by, reply });
        if call.lane == Lane::Audit {
            self.audits.send(session.req_header(), call, part.body);
        }
        Ok(())
    }
}

/// Ends the understudy's work when nobody waits for it any more.
struct Asked(JoinHandle<Result<Answer, Declined>>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether the answer may be said: sure enough, of a stratum that has earned it, whole.
fn checked(answer: Answer, entry: &RosterEntry, request: &Request) -> Result<Answer, Declined> {
    if answer.confidence < entry.bar || answer.confidence.is_nan() {
        return Err(Declined::BelowBar);
    }
    if !entry.strata.contains(&answer.stratum) {
        return Err(if entry.weak.contains(&answer.stratum) { Declined::Weak } else { Declined::Rare });
    }
    let known = |name: &str| request.tools.iter().any(|t| t.name == name);
    let object =
        |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok();
    let sound = answer.reply.is_whole()
        && answer.reply.choices.len() == 1
        && answer
            .reply
            .choices
            .iter()
            .flat_map(|c| &c.tool_calls)
            .all(|c| known(&c.name) && object(&c.arguments));
    if sound { Ok(answer) } else { Err(Declined::Invalid) }
}

/// The reply with ids, model and usage as the provider would have them, and nothing of
/// whoever else made it: a server that a remote asks has fields of its own.
fn dressed(dialect: Dialect, request: &Request, reply: Reply) -> Reply {
    let mut reply = understudy_dialect::plain(reply);
    reply.usage.get_or_insert_with(|| estimated(request, &reply.choices));
    LocalReply::new(dialect, uuid::Uuid::new_v4().as_u128(), call::unix_ms() / 1000, request).dress(reply)
}

/// For an understudy that counts no tokens: four characters a token, which is
/// what English text comes to.
fn estimated(request: &Request, choices: &[understudy_call::Choice]) -> Usage {
    let tokens = |chars: usize| (chars as u64).div_ceil(4);
    let input: usize = request.messages.iter().map(|m| m.text().chars().count()).sum();
    let output: usize = choices
        .iter()
        .map(|c| {
            c.text().chars().count()
                + c.tool_calls.iter().map(|t| t.name.len() + t.arguments.len()).sum::<usize>()
        })
        .sum();
    Usage { input_tokens: tokens(input), output_tokens: tokens(output), ..Usage::default() }
}
