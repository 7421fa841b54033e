use std::collections::BTreeMap;
use std::path::PathBuf;

use understudy_call::{
    AnsweredBy, ConversationKey, Credential, Dialect, Exchange, ExchangeId, Finish, Ineligible, Message,
    Metadata, Part, Reply, Request, Role, StandIns, Truncation, UnderstudyId, Usage,
};

use super::times::rfc3339_ms;
use super::{Halves, LogError, LoggedCall, STRANGE, read, read_apart};

fn write(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn all(_: &BTreeMap<String, String>) -> bool {
    true
}

const PAIR: &str = r#"{"request":{"model":"m","messages":[{"role":"user","content":"hi"}]},"response":{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ho"},"finish_reason":"stop"}]},"timestamp":"TIME","duration_ms":250}"#;

#[test]
fn pairs_are_read_in_time_order_and_broken_lines_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{}\nnot json\n\n{}\n{{\"request\":{{\"model\":\"m\"}},\"response\":{{}}}}\n",
        PAIR.replace("TIME", "2025-01-02T00:00:00Z"),
        PAIR.replace("TIME", "2025-01-01T00:00:00.5+01:00"),
    );
    let log = read(&[write(&dir, "a.jsonl", &text)], &all).unwrap();
    assert_eq!(log.calls.len(), 2);
    assert!(log.calls[0].at_ms < log.calls[1].at_ms);
    assert_eq!(log.calls[0].took.unwrap().as_millis(), 250);
    assert_eq!(log.broken.iter().map(|b| b.line).collect::<Vec<_>>(), [2, 5]);
    assert!(log.has_times && log.has_durations);
}

#[test]
fn calls_that_are_put_apart_are_a_log_of_their_own_in_time_order() {
    let dir = tempfile::tempdir().unwrap();
    let line = |time: &str, split: &str| {
        PAIR.replace("TIME", time).replacen('{', &format!("{{\"split\":\"{split}\","), 1)
    };
    let text = [
        line("2025-01-03T00:00:00Z", "train"),
        "not json".to_owned(),
        line("2025-01-02T00:00:00Z", "test"),
        line("2025-01-01T00:00:00Z", "train"),
        line("2025-01-01T00:00:00Z", "test"),
        line("2025-01-01T00:00:00Z", "neither"),
    ];
    let file = write(&dir, "a.jsonl", &text.join("\n"));
    let is =
        |split: &'static str| move |m: &BTreeMap<String, String>| m.get("split").is_some_and(|s| s == split);
    let (rest, test) = read_apart(&[file], &|m| !is("neither")(m), &is("test")).unwrap();
    let times = |log: &super::Log| log.calls.iter().map(|c| c.at_ms.unwrap()).collect::<Vec<_>>();
    assert!(times(&rest).is_sorted() && times(&test).is_sorted());
    assert_eq!((rest.calls.len(), test.calls.len()), (2, 2));
    assert!(test.calls.iter().all(|c| c.marks["split"] == "test"));
    assert_eq!((rest.broken.len(), test.broken.len()), (1, 0));
}

#[test]
fn an_exported_journal_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut exchange = Exchange::new(
        ExchangeId([5; 16]),
        Metadata {
            conversation: Some(ConversationKey([6; 16])),
            ..Metadata::answered("openai", Dialect::OpenaiChat, Credential([7; 16]))
        },
        Some(Request { messages: vec![Message::text_of(Role::User, "hi")], ..Request::default() }),
        Some(Reply::default()),
    );
    exchange.meta.timings.started_unix_ms = 1_767_000_000_000;
    exchange.stand_ins = StandIns::Own;
    let by_understudy = || {
        let mut it = exchange.clone();
        it.meta.answered_by = AnsweredBy::Understudy(UnderstudyId("u".into()));
        it
    };
    let audited = Exchange { understudy_reply: Some(Reply::default()), ..by_understudy() };
    let mut cut = exchange.clone();
    cut.meta.truncation = Truncation::TooLarge;
    let undecoded = Exchange { request: None, ..exchange.clone() };
    let lines: Vec<String> = [exchange.clone(), by_understudy(), audited, cut, undecoded]
        .iter()
        .enumerate()
        .map(|(seq, exchange)| serde_json::json!({ "seq": seq, "exchange": exchange }).to_string())
        .collect();
    let log = read(&[write(&dir, "export.jsonl", &lines.join("\n"))], &all).unwrap();
    assert_eq!(log.broken.iter().map(|b| b.line).collect::<Vec<_>>(), [2, 4, 5], "{:?}", log.broken);
    assert_eq!(log.calls.len(), 2);
    let call = &log.calls[0];
    assert_eq!(
        (Some(&call.request), Some(&call.reply)),
        (exchange.request.as_ref(), exchange.reply.as_ref())
    );
    assert_eq!(call.conversation.as_deref(), Some("06".repeat(16).as_str()));
    assert_eq!((call.at_ms, call.stand_ins), (Some(1_767_000_000_000), StandIns::Own));
}

#[test]
fn a_log_that_begins_with_calls_that_failed_is_read_from_the_first_that_did_not() {
    let dir = tempfile::tempdir().unwrap();
    let failed = |response: &str| {
        format!(
            "{{\"request\":{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}},\"response\":{response}}}\n"
        )
    };
    let lost = failed("null");
    let whole = PAIR.replace("TIME", "2025-01-02T00:00:00Z");
    let text = format!("{lost}{}not json\n{whole}\n{lost}", failed("\"upstream timed out\""));
    let log = read(&[write(&dir, "a.jsonl", &text)], &all).unwrap();
    assert_eq!(log.calls.len(), 1);
    // One that fails later is counted likewise.
    assert_eq!(log.broken.iter().map(|b| b.line).collect::<Vec<_>>(), [1, 2, 3, 5]);

    let after = |failures: usize| lost.repeat(failures) + &whole + "\n" + &lost;
    let log = read(&[write(&dir, "outage.jsonl", &after(STRANGE - 1))], &all).unwrap();
    assert_eq!((log.calls.len(), log.broken.len()), (1, STRANGE));
    let why = read(&[write(&dir, "other.jsonl", &after(STRANGE))], &all).unwrap_err();
    assert!(matches!(why, LogError::Unknown { line: 1, .. }), "{why}");
    // Nothing of it is known, and not every line is JSON.
    let why = read(&[write(&dir, "odd.jsonl", &format!("not json\n{lost}"))], &all).unwrap_err();
    assert!(matches!(why, LogError::Unknown { line: 2, .. }), "{why}");
}

#[test]
fn a_batch_is_joined_over_two_files_in_either_order() {
    let dir = tempfile::tempdir().unwrap();
    let input = write(
        &dir,
        "in.jsonl",
        r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"hi"}]}}"#,
    );
    let output = write(
        &dir,
        "out.jsonl",
        r#"{"id":"r","custom_id":"a","response":{"status_code":200,"body":{"id":"x","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ho"},"finish_reason":"stop"}]}},"error":null}"#,
    );
    for files in [[input.clone(), output.clone()], [output, input]] {
        let log = read(&files, &all).unwrap();
        assert_eq!(log.calls.len(), 1);
        assert_eq!(log.calls[0].reply.first().unwrap().text(), "ho");
        assert_eq!(log.halves, Halves::default());
    }
}

/// Lines of a batch's input file: ids, and what is asked.
fn asked(calls: &[(&str, &str)]) -> String {
    let line = |(id, says): &(&str, &str)| {
        format!(
            r#"{{"custom_id":"{id}","body":{{"model":"m","messages":[{{"role":"user","content":"{says}"}}]}}}}"#
        )
    };
    calls.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Lines of a batch's output file: ids, and what is answered.
fn answered(calls: &[(&str, &str)]) -> String {
    let line = |(id, says): &(&str, &str)| {
        format!(
            r#"{{"custom_id":"{id}","response":{{"status_code":200,"body":{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{says}"}},"finish_reason":"stop"}}]}}}}}}"#
        )
    };
    calls.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn ids_that_two_batches_share_join_nothing_that_does_not_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let first = [
        write(&dir, "in1.jsonl", &asked(&[("a", "one"), ("b", "two"), ("c", "three")])),
        write(&dir, "out1.jsonl", &answered(&[("a", "1"), ("b", "2"), ("c", "3")])),
    ];
    let second = [
        write(&dir, "in2.jsonl", &asked(&[("a", "uno"), ("b", "due")])),
        write(&dir, "out2.jsonl", &answered(&[("a", "I"), ("b", "II")])),
    ];
    let read = |files: [&PathBuf; 4]| read(&files.map(PathBuf::clone), &all).unwrap();
    let said = |log: &super::Log| -> Vec<(String, String)> {
        let pair = |c: &LoggedCall| (c.request.messages[0].text(), c.reply.first().unwrap().text());
        log.calls.iter().map(pair).collect()
    };
    // All inputs, then all outputs: only what is one batch's alone is known.
    for files in
        [[&first[0], &second[0], &first[1], &second[1]], [&first[1], &second[1], &first[0], &second[0]]]
    {
        let log = read(files);
        assert_eq!(said(&log), [("three".to_owned(), "3".to_owned())]);
        // Of six lines with the two ids in each half one waited, and the others are refused.
        assert_eq!((log.halves.unanswered + log.halves.unasked, log.broken.len()), (2, 6));
        let why = &log.broken[0].why;
        assert!(why.contains("custom_id a comes twice") && why.contains("one batch at a time"), "{why}");
    }
    // One batch after the other.
    let log = read([&first[0], &first[1], &second[0], &second[1]]);
    assert_eq!((log.calls.len(), log.broken.len(), log.halves), (5, 0, Halves::default()));
    assert!(said(&log).contains(&("uno".to_owned(), "I".to_owned())));
    // An output that is named twice is no reply to the next batch.
    let twice = [&first[0], &first[1], &first[1], &second[0], &second[1]].map(PathBuf::clone);
    let log = super::read(&twice, &all).unwrap();
    assert_eq!((log.calls.len(), log.broken.len(), log.halves), (5, 0, Halves::default()));
    assert!(said(&log).contains(&("uno".to_owned(), "I".to_owned())), "{:?}", said(&log));
    // A file that is named twice is no other request.
    let log = read([&first[0], &first[0], &first[1], &second[1]]);
    assert_eq!((log.calls.len(), log.broken.len()), (3, 0));
}

#[test]
fn halves_of_a_batch_without_the_other_half_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let input = write(&dir, "in.jsonl", &asked(&[("a", "hi"), ("b", "hi"), ("c", "hi")]));
    let output = write(&dir, "out.jsonl", &answered(&[("c", "ho"), ("d", "ho")]));
    let log = read(&[input.clone(), output], &all).unwrap();
    assert_eq!((log.calls.len(), log.broken.len()), (1, 0));
    assert_eq!(log.halves, Halves { unanswered: 2, unasked: 1 });
    // The input file alone.
    let log = read(&[input], &all).unwrap();
    assert_eq!((log.calls.len(), log.halves), (0, Halves { unanswered: 3, unasked: 0 }));
}

#[test]
fn a_mark_of_the_encoding_costs_no_call_and_a_line_that_is_too_long_costs_itself() {
    let dir = tempfile::tempdir().unwrap();
    let call = r#"{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}"#;
    let long = call.replace("\"u\"", &format!("\"{}\"", "u".repeat(super::LONGEST_LINE)));
    let log = read(&[write(&dir, "long.jsonl", &format!("\u{feff}{call}\n{long}\n{call}\n"))], &all).unwrap();
    assert_eq!(log.calls.len(), 2);
    let broken: Vec<_> = log.broken.iter().map(|b| (b.line, b.why.contains("bytes, and at most"))).collect();
    assert_eq!(broken, [(2, true)]);
}

#[test]
fn the_last_assistant_message_is_the_reply() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        &dir,
        "ft.jsonl",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}]}\n\
         {\"messages\":[{\"role\":\"user\",\"content\":\"u\"}]}\n",
    );
    let log = read(&[file], &all).unwrap();
    assert_eq!(log.calls[0].request.messages.len(), 2);
    assert_eq!(log.broken.len(), 1);
}

/// A completion as OpenAI's store lists it, its messages beside it. `split` is a mark
/// of whoever exported it.
const STORED: &str = r#"{"object":"chat.completion","id":"chatcmpl-1","model":"gpt-4o-2024-08-06","created":1738960610,"request_id":"req_1","tool_choice":null,"usage":{"total_tokens":31,"completion_tokens":18,"prompt_tokens":13},"seed":4944116822809979520,"top_p":0.9,"temperature":0.5,"presence_penalty":0.0,"frequency_penalty":0.0,"n":N,"stop":["END"],"max_completion_tokens":18,"system_fingerprint":"fp_1","input_user":null,"service_tier":"default","tools":null,"metadata":{},"response_format":null,"split":"train","choices":[CHOICES],"messages":[{"id":"chatcmpl-1-0","role":"system","content":"be kind","name":null,"content_parts":null},{"id":"chatcmpl-1-1","role":"user","content":null,"name":null,"content_parts":[{"type":"text","text":"hi"}]}]}"#;

/// The one call of a stored completion that ended so, with as many choices.
fn stored(ends: &[&str]) -> LoggedCall {
    let choice = |(i, end): (usize, &&str)| {
        format!(
            r#"{{"index":{i},"message":{{"content":"ho {i}","role":"assistant","tool_calls":null,"function_call":null}},"finish_reason":"{end}","logprobs":null}}"#
        )
    };
    let choices: Vec<String> = ends.iter().enumerate().map(choice).collect();
    let line = STORED.replace(":N,", &format!(":{},", ends.len())).replace("CHOICES", &choices.join(","));
    let dir = tempfile::tempdir().unwrap();
    let mut log = read(&[write(&dir, "stored.jsonl", &line)], &all).unwrap();
    assert_eq!((log.calls.len(), log.broken.len()), (1, 0), "{:?}", log.broken);
    log.calls.remove(0)
}

#[test]
fn a_stored_completion_keeps_what_was_asked_and_answered() {
    let call = stored(&["stop"]);
    let asked = &call.request.sampling;
    assert_eq!((asked.temperature, asked.top_p, asked.n), (Some(0.5), Some(0.9), Some(1)));
    assert_eq!((asked.seed, asked.max_tokens), (Some(4_944_116_822_809_979_520), Some(18)));
    assert_eq!(asked.stop, ["END"]);
    assert_eq!(call.request.messages.len(), 2);
    assert_eq!(call.request.messages[1].content, [Part::Text("hi".to_owned())]);
    // Neither the store's own fields nor the line's marks keep it with the provider.
    assert!(call.request.ineligible.is_empty(), "{:?}", call.request.ineligible);
    assert_eq!(call.marks.get("split").map(String::as_str), Some("train"));

    assert!(call.reply.is_whole());
    assert_eq!((call.reply.id.as_str(), call.reply.model.as_str()), ("chatcmpl-1", "gpt-4o-2024-08-06"));
    assert_eq!((call.reply.created, call.at_ms), (1_738_960_610, Some(1_738_960_610_000)));
    let usage = Usage { input_tokens: 13, output_tokens: 18, ..Usage::default() };
    assert_eq!(call.reply.usage, Some(usage));
}

#[test]
fn a_stored_completion_cut_by_its_length_is_no_reference() {
    let cut = stored(&["length"]).reply;
    assert_eq!(cut.choices[0].finish, Some(Finish::Length));
    assert!(!cut.is_whole() && cut.usage.is_some());
    // Nor is one of which another choice was cut.
    let two = stored(&["stop", "length"]);
    assert_eq!(two.reply.choices.len(), 2);
    assert_eq!(two.reply.choices[1].text(), "ho 1");
    assert!(!two.reply.is_whole());
    assert_eq!(two.request.ineligible, [Ineligible::ManyChoices]);
}

#[test]
fn a_trajectory_becomes_one_call_for_each_assistant_turn() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "x.agent.json", r#"{"system":"be kind","model":"m"}"#);
    let file = write(
        &dir,
        "x.trajectories.jsonl",
        r#"{"agent":"x","split":"train","id":"t0","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":null,"tool_calls":[{"type":"function","function":{"name":"f","arguments":"{}"}}]}]}"#,
    );
    let log = read(std::slice::from_ref(&file), &|m| m.get("split").is_some_and(|s| s == "train")).unwrap();
    assert_eq!(log.calls.len(), 2);
    assert_eq!(log.calls[1].request.messages.len(), 4);
    assert_eq!(log.calls[1].conversation.as_deref(), Some("t0"));
    assert_eq!(log.calls[1].reply.first().unwrap().tool_calls[0].name, "f");
    assert!(read(&[file], &|m| m.get("split").is_some_and(|s| s == "test")).unwrap().calls.is_empty());
}

#[test]
fn a_file_that_is_no_log_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let odd = read(&[write(&dir, "odd.jsonl", "{\"a\":1}\n")], &all).unwrap_err();
    assert!(matches!(odd, LogError::Unknown { line: 1, .. }), "{odd}");
    let empty = read(&[write(&dir, "empty.jsonl", "")], &all).unwrap_err();
    assert!(matches!(empty, LogError::Empty { .. }), "{empty}");
    assert!(empty.to_string().ends_with("holds no line of JSON: it is empty"), "{empty}");
    let alone = read(&[write(&dir, "y.calls.jsonl", "{\"agent\":\"y\",\"messages\":[],\"reply\":{}}")], &all);
    assert!(alone.unwrap_err().to_string().contains("y.agent.json"));
}

#[test]
fn times_are_read_with_fraction_and_zone() {
    assert_eq!(rfc3339_ms("1970-01-01T00:00:01Z"), Some(1000));
    assert_eq!(rfc3339_ms("1970-01-01T01:00:00.25+01:00"), Some(250));
    assert_eq!(rfc3339_ms("not a time at all, no"), None);
}
