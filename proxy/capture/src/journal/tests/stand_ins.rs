//! A redacted value of the provider's own is marked, for nobody can learn it.

use super::*;

/// What the journal says of a reply to this user.
fn said_of(config: JournalConfig, user: &str, said: &str) -> Exchange {
    let j = open_with(config, hooks()).unwrap();
    let _ = j.offer(call(1, user, said));
    j.append(vec![]).unwrap();
    exchanges(&j).remove(0)
}

fn stand_ins(user: &str, said: &str) -> StandIns {
    let dir = tempfile::tempdir().unwrap();
    said_of(config(dir.path()), user, said).stand_ins
}

#[test]
fn an_address_that_only_the_reply_holds_marks_it() {
    for said in [
        r#"{"forward_to": "billing@corp.com"}"#,
        "Call us at +49 170 1234567, please.",
        "I wrote to bob@corp.com and to billing@corp.com.",
    ] {
        assert_eq!(stand_ins("I am bob@corp.com, where is my invoice?", said), StandIns::Own, "{said}");
    }
}

#[test]
fn an_address_that_the_request_holds_too_does_not_mark_it_as_the_providers() {
    let user = "I am bob@corp.com, call me at 415-555-0132";
    for said in
        ["sent to bob@corp.com", "Bob@Corp.com", r#"{"to": "bob\u0040corp.com"}"#, "call +1 (415) 555-0132"]
    {
        assert_eq!(stand_ins(user, said), StandIns::Echoed, "{said}");
    }
}

#[test]
fn a_reply_without_a_redacted_value_is_not_marked() {
    assert_eq!(stand_ins("I am bob@corp.com", "Order 4711 was shipped."), StandIns::None);
    let dir = tempfile::tempdir().unwrap();
    let off = JournalConfig { redact: false, ..config(dir.path()) };
    let kept = said_of(off, "where is my invoice?", "ask billing@corp.com");
    assert_eq!(kept.stand_ins, StandIns::None);
    assert_eq!(kept.reply.unwrap().choices[0].text(), "ask billing@corp.com");
}

#[test]
fn values_of_tools_and_earlier_turns_are_the_requests() {
    let dir = tempfile::tempdir().unwrap();
    let j = open(dir.path());
    let mut c = call(1, "x", "y");
    let asks = |parameters: Value, user: &str| {
        json!({"model": "gpt-4o", "user": user,
            "messages": [
                {"role": "system", "content": "Escalate to ops@corp.com."},
                {"role": "user", "content": "Who am I?"},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
                    "function": {"name": "look_up", "arguments": "{\"by\": \"me@corp.com\"}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "{\"mail\": \"bob@corp.com\"}"}],
            "tools": [{"type": "function", "function": {"name": "send", "parameters": parameters}}]})
    };
    let said = |to: &str| {
        json!({"id": "r", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [{"index": 0,
            "message": {"role": "assistant", "content": null, "tool_calls": [{"id": "c2", "type": "function",
                "function": {"name": "send", "arguments": json!({ "to": to }).to_string()}}]},
            "finish_reason": "tool_calls"}]})
    };
    let parameters = json!({"type": "object", "properties": {"to": {"enum": ["desk@corp.com"]}}});
    let of = [
        ("ops@corp.com", StandIns::Echoed),
        ("me@corp.com", StandIns::Echoed),
        ("bob@corp.com", StandIns::Echoed),
        ("desk@corp.com", StandIns::Echoed),
        // No understudy is shown who the caller's user is.
        ("user@corp.com", StandIns::Own),
        ("other@corp.com", StandIns::Own),
    ];
    for (to, _) in of {
        c.request = vec![Bytes::from(asks(parameters.clone(), "user@corp.com").to_string())];
        c.reply = vec![Bytes::from(said(to).to_string())];
        let _ = j.offer(c.clone());
    }
    j.append(vec![]).unwrap();
    let found: Vec<StandIns> = exchanges(&j).iter().map(|e| e.stand_ins).collect();
    assert_eq!(found, of.map(|(_, stand_ins)| stand_ins));
}

#[test]
fn exchanges_from_logs_are_marked_and_older_records_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let j = open(dir.path());
    let off = JournalConfig { redact: false, ..config(&dir.path().join("raw")) };
    let raw = said_of(off, "where is my invoice?", "ask billing@corp.com");
    j.append_exchanges(vec![raw]).unwrap();
    let marked = exchanges(&j).remove(0);
    assert_eq!(marked.stand_ins, StandIns::Own);
    let mut older = serde_json::to_value(&marked).unwrap();
    assert_eq!(older.as_object_mut().unwrap().remove("stand_ins"), Some(json!("own")));
    let older: Exchange = serde_json::from_value(older).unwrap();
    assert_eq!(older, Exchange { stand_ins: StandIns::None, ..marked });
}
