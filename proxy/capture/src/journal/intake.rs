//! From the raw bytes of a call to a record that may be written: read, fingerprint,
//! score, redact. The order matters: form, conversation and an audit's score are
//! taken from the raw pair, and nothing raw leaves this file.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use understudy_call::{AnsweredBy, Belongs, Dialect, Exchange, Lane, Truncation};

use crate::encoding::plain;
use crate::redact::Redactor;
use crate::stats::Counters;
use crate::{Captured, Hooks};

/// Whether form and conversation of an exchange are to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Printed {
    /// Whoever brought it may have made them up: an import has no key.
    Not,
    /// Where they are there, the gateway took them from this call's own bytes.
    MayBe,
}

pub(super) struct Intake {
    pub(super) hooks: Hooks,
    /// `None` when the operator turned redaction off.
    pub(super) redactor: Option<Redactor>,
    pub(super) body_limit: usize,
}

impl Intake {
    /// Reads what the gateway saw. Bodies that are too large, were cut, or are of a
    /// dialect that is not decoded leave metadata only.
    pub(super) fn read(&self, call: Captured, counters: &Counters) -> Exchange {
        let Captured { id, mut meta, request, reply, reply_content_type, reply_encoding, understudy_reply } =
            call;
        let size = |chunks: &[Bytes]| chunks.iter().map(Bytes::len).sum::<usize>();
        if size(&request) > self.body_limit || size(&reply) > self.body_limit {
            meta.truncation = Truncation::TooLarge;
        }
        let decoded = meta.dialect == Dialect::OpenaiChat && meta.truncation != Truncation::TooLarge;
        let mut ex = Exchange::new(id, meta, None, None);
        if decoded {
            let d = ex.meta.dialect;
            ex.request = understudy_dialect::parse_request(d, &joined(request)).ok();
            let reply = joined(reply);
            if ex.request.is_some() && !reply.is_empty() {
                ex.reply = plain(&reply_encoding, &reply, self.body_limit).and_then(|bytes| {
                    understudy_dialect::parse_reply(d, ex.meta.status, &reply_content_type, &bytes).ok()
                });
            }
            let reply_lost = ex.reply.is_none() && !reply.is_empty();
            if ex.request.is_none() || reply_lost {
                counters.unparsed.fetch_add(1, Relaxed);
            }
            if ex.request.is_some() {
                let alone =
                    matches!(ex.meta.answered_by, AnsweredBy::Understudy(_)) && ex.meta.lane != Lane::Audit;
                if alone && ex.reply.is_none() {
                    ex.reply = understudy_reply;
                } else {
                    ex.understudy_reply = understudy_reply;
                }
            }
        }
        ex
    }

    /// Fingerprints, scores and redacts an exchange, in this order.
    pub(super) fn finish(&self, ex: &mut Exchange, printed: Printed, counters: &Counters) {
        self.print(ex, printed, counters);
        self.redact(ex, counters);
    }

    /// Form, conversation and score, from the raw pair.
    pub(super) fn print(&self, ex: &mut Exchange, printed: Printed, counters: &Counters) {
        if let Some(request) = &ex.request {
            let meta = &ex.meta;
            let has = printed == Printed::MayBe && meta.form.is_some() && meta.conversation.is_some();
            let explicit = meta.explicit_conversation.as_deref();
            let print = || (self.hooks.fingerprint)(meta.dialect, request, meta.credential, explicit);
            let found = if has { None } else { kept(print, counters) };
            let score = match (&ex.reply, &ex.understudy_reply, ex.audit_score) {
                // A reply that failed or was cut off examines nobody.
                (Some(reference), Some(answer), None) if ex.has_whole_reply() => {
                    kept(|| (self.hooks.audit)(request, reference, answer), counters)
                }
                (_, _, given) => given,
            };
            ex.audit_score = score;
            if let Some(Belongs { form, conversation, opening }) = found {
                ex.meta.form = Some(form);
                ex.meta.conversation = Some(conversation);
                ex.meta.opening = opening;
            }
        }
    }

    /// Leaves nothing in it that may not be written.
    pub(super) fn redact(&self, ex: &mut Exchange, counters: &Counters) {
        ex.meta.headers.retain(|(name, _)| may_be_kept(name));
        if ex.request.is_some() {
            counters.with_content.fetch_add(1, Relaxed);
        }
        if let Some(redactor) = &self.redactor
            && redactor.exchange(ex)
            && ex.request.is_some()
        {
            counters.redacted.fetch_add(1, Relaxed);
        }
    }
}

/// The allow-list of headers. The gateway keeps it too; a record is written for
/// years, so it is kept twice.
pub(super) fn may_be_kept(name: &str) -> bool {
    // The gateway's are in lower case already.
    let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    };
    matches!(&*name, "content-type" | "x-request-id" | "request-id" | "retry-after" | "traceparent")
        || name.starts_with("x-ratelimit-")
        || ((name.starts_with("openai-") || name.starts_with("anthropic-")) && name.contains("ratelimit"))
}

fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    match chunks.len() {
        0 => Bytes::new(),
        1 => chunks.swap_remove(0),
        _ => chunks.concat().into(),
    }
}

/// A neighbour's panic costs what it would have said, not the writer.
fn kept<T>(f: impl FnOnce() -> T, counters: &Counters) -> Option<T> {
    catch_unwind(AssertUnwindSafe(f))
        .inspect_err(|_| {
            counters.hook_panics.fetch_add(1, Relaxed);
        })
        .ok()
}
