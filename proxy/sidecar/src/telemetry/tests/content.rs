//! What is said about a call.

use super::super::attributes::chunks;
use super::*;

/// A stream of three chunks, as it came in pieces that are no chunks.
fn streamed() -> Recorded {
    let pieces = ["data: {\"a\":1}\n\nda", "ta: {}\n\n: a comment\n\n", "data: {}\n\ndata: [DONE]\n\n"];
    Recorded {
        reply: pieces.into_iter().map(Bytes::from).collect(),
        reply_content_type: "text/event-stream; charset=utf-8".into(),
        ..bodies(7)
    }
}

#[test]
fn the_chunks_of_a_stream_are_counted_without_its_end() {
    assert_eq!(chunks(&streamed()), 3);
    assert_eq!(chunks(&bodies(7)), 0, "a whole reply has none");
}

#[test]
fn the_texts_at_which_a_reply_stops_are_told() {
    let told = |stop: &str| {
        let request = format!(r#"{{"model":"gpt-4o","messages":[]{stop}}}"#);
        let bodies = Recorded { request: vec![Bytes::from(request)], ..bodies(7) };
        let spans = emit(vec![Told::Bodies(Box::new(bodies)), Told::Call(Box::new(seen(7, None)))]);
        attribute(&spans[0], "gen_ai.request.stop_sequences")
    };
    assert_eq!(told(r##","stop":["END","#"]"##).unwrap(), r##"["END","#"]"##);
    assert_eq!(told(r#","stop":"END""#).unwrap(), r#"["END"]"#);
    assert_eq!(told(""), None);
}

#[test]
fn the_old_names_say_who_answered_as_the_new_ones_do() {
    let mut served = seen(1, None);
    served.meta.answered_by = AnsweredBy::Understudy(UnderstudyId("head-0123".into()));
    served.meta.dialect = Dialect::Other;
    for (old_names, wanted) in [(true, Some("understudy")), (false, None)] {
        let kept = Kept::default();
        let mut emitter = Emitter::new(&kept.providers(1.0), Servers::default(), old_names);
        emitter.take(Told::Call(Box::new(served.clone())));
        emitter.take(Told::Trial(Box::new(trial(SpanContext::NONE, SpanContext::NONE))));
        let spans = kept.spans();
        assert_eq!(spans.len(), 2);
        for span in &spans {
            assert_eq!(attribute(span, "gen_ai.provider.name").as_deref(), Some("understudy"));
            assert_eq!(attribute(span, "gen_ai.system").as_deref(), wanted);
        }
    }
}

#[test]
fn a_conversation_that_the_agent_names_is_told_by_its_keyed_hash() {
    let told = |conversation, explicit: Option<&str>| {
        let mut call = seen(1, None);
        call.meta.dialect = Dialect::Other;
        call.meta.conversation = conversation;
        call.meta.explicit_conversation = explicit.map(str::to_owned);
        let spans = emit(vec![Told::Call(Box::new(call))]);
        assert!(!format!("{spans:?}").contains("dagny"), "an id is content");
        attribute(&spans[0], "gen_ai.conversation.id")
    };
    let key = Some(understudy_call::ConversationKey([0xab; 16]));
    assert_eq!(told(key, Some("dagny@mail.example")), Some("ab".repeat(16)));
    assert_eq!(told(None, Some("dagny@mail.example")), None);
    assert_eq!(told(key, None), None, "nobody named it");
}
