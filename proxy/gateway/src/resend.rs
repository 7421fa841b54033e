//! Whether a call whose provider broke off may be sent again.
//!
//! A call may have been acted on as soon as its provider has read it, so one whose
//! method may not be repeated goes out once. There is one exception: over HTTP/2 a
//! provider can say that it has *not* read a request, when it takes no more on this
//! connection (GOAWAY without an error, with a lower stream) or just now
//! (REFUSED_STREAM). Such a call may be sent again whatever its method (RFC 9113, 8.7),
//! and one that is to come over HTTP/1.1 (HTTP_1_1_REQUIRED) must be. pingora tells
//! these apart (`protocols/http/v2/client.rs`) and marks them; its own policy then
//! forgets the mark for a POST.

use pingora_error::{Error, ErrorType, RetryType};
use pingora_proxy::Session;

use crate::call::Call;
use crate::fault;
use crate::tap::Tap;

/// Times that a call is sent again which its provider refused unread: enough for a
/// connection that is being closed, too few to press a provider that is full.
const REFUSALS: usize = 3;

/// Decides; where the call goes out again, its copy begins anew.
pub(crate) fn decide(session: &Session, call: &mut Call, e: &Error, reused: bool) -> bool {
    // pingora can send again what is still in its buffer of 64 KiB, and only to an
    // agent that has heard nothing yet.
    let again = !session.as_downstream().retry_buffer_truncated()
        && fault::unanswered(session)
        && may_be_sent_again(e, session.req_header().method.is_idempotent(), reused, call.refused);
    if again {
        if unread(e) {
            call.refused += 1;
        }
        call.request = Tap::default();
        tracing::info!(
            provider = call.way.as_ref().map_or("", |w| w.upstream.name()),
            error = e.etype().as_str(),
            "a call goes out again"
        );
    }
    again
}

fn may_be_sent_again(e: &Error, repeatable: bool, reused: bool, refused: usize) -> bool {
    match e.retry {
        RetryType::Decided(true) if unread(e) => refused < REFUSALS,
        RetryType::Decided(marked) => marked && repeatable,
        RetryType::ReusedOnly => reused && repeatable,
    }
}

/// Whether the provider says that it has not looked at the call. `InvalidH2` is left
/// out: pingora marks it too, but a provider that writes nonsense may have read.
fn unread(e: &Error) -> bool {
    e.retry == RetryType::Decided(true) && matches!(e.etype(), ErrorType::H2Error | ErrorType::H2Downgrade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broke(kind: ErrorType, retry: RetryType) -> Box<Error> {
        let mut e = Error::new_up(kind);
        e.retry = retry;
        e
    }

    #[test]
    fn what_a_provider_refused_unread_goes_out_again_and_not_for_ever() {
        let marked = RetryType::Decided(true);
        for kind in [ErrorType::H2Error, ErrorType::H2Downgrade] {
            let e = broke(kind, marked);
            assert!((0..REFUSALS).all(|refused| may_be_sent_again(&e, false, false, refused)));
            assert!(!may_be_sent_again(&e, false, false, REFUSALS));
            assert!(!may_be_sent_again(&e, true, true, REFUSALS));
        }
    }

    #[test]
    fn what_a_provider_may_have_read_goes_out_once() {
        for (kind, retry) in [
            (ErrorType::H2Error, RetryType::Decided(false)),
            (ErrorType::InvalidH2, RetryType::Decided(true)),
            (ErrorType::ReadError, RetryType::Decided(true)),
            (ErrorType::ConnectionClosed, RetryType::ReusedOnly),
        ] {
            let e = broke(kind, retry);
            assert!(!may_be_sent_again(&e, false, true, 0), "{e}");
        }
    }

    #[test]
    fn a_method_that_may_be_repeated_is_repeated_as_pingora_would() {
        let stale = broke(ErrorType::ConnectionClosed, RetryType::ReusedOnly);
        assert!(may_be_sent_again(&stale, true, true, 0));
        assert!(!may_be_sent_again(&stale, true, false, 0));
        let invalid = broke(ErrorType::InvalidH2, RetryType::Decided(true));
        assert!(may_be_sent_again(&invalid, true, false, 0));
    }
}
