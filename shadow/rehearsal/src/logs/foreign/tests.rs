use std::collections::BTreeMap;

use understudy_call::Finish;

use super::super::{LogError, LoggedCall, read};

fn all(_: &BTreeMap<String, String>) -> bool {
    true
}

/// Why a file with these bytes is refused.
fn refused(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls.jsonl");
    std::fs::write(&path, bytes).unwrap();
    read(&[path], &all).unwrap_err().to_string()
}

#[test]
fn what_has_no_lines_is_told_with_what_to_do() {
    let utf16 = |text: &str, mark: &[u8]| {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        mark.iter().copied().chain(units).collect::<Vec<u8>>()
    };
    let object = "{\"messages\": []}\n";
    for (bytes, words) in [
        (vec![0x1f, 0x8b, 8, 0, 10, 10], "gunzip"),
        (vec![0x28, 0xb5, 0x2f, 0xfd, 10], "zstd"),
        (b"PK\x03\x04\n".to_vec(), "unzip"),
        (utf16(object, &[0xff, 0xfe]), "iconv"),
        (utf16(object, &[]), "iconv"),
    ] {
        let said = refused(&bytes);
        assert!(said.contains("calls.jsonl cannot be read as a log") && said.contains(words), "{said}");
    }
    let dir = tempfile::tempdir().unwrap();
    let said = read(&[dir.path().to_owned()], &all).unwrap_err().to_string();
    assert!(said.contains("it is a folder; name the files in it"), "{said}");
    let said = read(&["-".into()], &all).unwrap_err().to_string();
    assert!(said.contains("/dev/stdin"), "{said}");
}

#[test]
fn json_that_is_not_one_object_a_line_is_told_with_what_to_do() {
    let call = r#"{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}"#;
    let said = refused(b"{\n  \"messages\": [\n  ]\n}\n");
    assert!(said.contains("line 1: not JSON: ") && said.contains("jq -c ."), "{said}");
    let said = refused(b"[\n  {\n    \"messages\": [\n    ]\n  }\n]\n");
    assert!(said.contains("line 1: not JSON: ") && said.contains("jq -c '.[]'"), "{said}");
    let said = refused(format!("\u{feff} [{call},{call}]\n").as_bytes());
    assert!(said.contains("is not a log") && said.contains("jq -c '.[]'"), "{said}");
    let long = format!("[{}{call}]", format!("{call},").repeat(super::super::LONGEST_LINE / call.len()));
    let said = refused(long.as_bytes());
    assert!(said.contains("line 1: it has ") && said.contains("jq -c '.[]'"), "{said}");
    // What nobody can tell is left at its reason.
    let said = refused(b"Dear diary,\n");
    assert!(said.contains("line 1: not JSON: ") && !said.contains("jq"), "{said}");
    let said = refused(b"{\"level\": \"info\"}\n");
    assert!(!said.contains("jq"), "{said}");
}

#[test]
fn a_hole_that_a_crash_left_costs_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls.jsonl");
    let call = r#"{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}"#;
    std::fs::write(&path, format!("{}\n{call}\n", "\0".repeat(64))).unwrap();
    let log = read(&[path], &all).unwrap();
    assert_eq!((log.calls.len(), log.broken.len()), (1, 1));
}

const REPLY: &str = r#"{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ho"},"finish_reason":"stop"}]}"#;

/// The one call with this response, and why it was not read.
fn with_response(response: &serde_json::Value) -> (Option<LoggedCall>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls.jsonl");
    let request = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let line = serde_json::json!({"request": request, "response": response});
    std::fs::write(&path, line.to_string()).unwrap();
    let mut log = match read(&[path], &all) {
        Ok(log) => log,
        Err(why @ LogError::Unknown { .. }) => return (None, why.to_string()),
        Err(why) => panic!("{why}"),
    };
    let why = log.broken.first().map(|b| b.why.clone()).unwrap_or_default();
    (log.calls.pop(), why)
}

#[test]
fn a_response_may_be_the_text_that_came() {
    let chunk = |delta: &str, end: &str| {
        format!(
            "data: {{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{end}}}]}}\n\n"
        )
    };
    let stream = chunk("{\"role\":\"assistant\",\"content\":\"ho\"}", "null")
        + &chunk("{}", "\"stop\"")
        + "data: [DONE]\n\n";
    for text in [REPLY, &stream] {
        for response in [serde_json::json!(text), serde_json::json!({"status_code": 200, "body": text})] {
            let (call, why) = with_response(&response);
            let call = call.unwrap_or_else(|| panic!("{response}: {why}"));
            assert_eq!(call.reply.first().unwrap().text(), "ho", "{response}");
            assert_eq!(call.reply.choices[0].finish, Some(Finish::Stop), "{response}");
        }
    }
    let (call, why) = with_response(&serde_json::json!("upstream timed out"));
    assert!(call.is_none() && why.starts_with("response: "), "{why}");
}

#[test]
fn a_reply_of_another_api_is_told() {
    let message = serde_json::json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [{"type": "text", "text": "ho"}], "stop_reason": "end_turn"
    });
    let stream =
        format!("event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{message}}}\n\n");
    for response in [message.clone(), serde_json::json!(message.to_string()), serde_json::json!(stream)] {
        let (call, why) = with_response(&response);
        assert!(call.is_none(), "{response}");
        assert!(why.contains("Anthropic") && why.contains("only OpenAI Chat Completions"), "{why}");
    }
    let (call, why) = with_response(&serde_json::json!({"id": "resp_1", "object": "response", "output": []}));
    assert!(call.is_none() && why.contains("Responses API"), "{why}");
}
