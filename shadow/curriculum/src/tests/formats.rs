use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::RowAccessor as _;
use bytes::Bytes;
use understudy_call::TokenLogprob;

use super::*;
use crate::{Reason, openai, parquet, parts};

#[test]
fn openais_lines_are_whole_chats() {
    let (_, mut e) = usual(1);
    e.request.as_mut().unwrap().parallel_tool_calls = Some(false);
    let mut out = Vec::new();
    openai::write_line(&e, &mut out).unwrap();
    let line: Value = serde_json::from_slice(&out).unwrap();
    let names: Vec<&String> = line.as_object().unwrap().keys().collect();
    assert_eq!(names, ["messages", "tools", "parallel_tool_calls"]);
    let roles: Vec<&str> =
        line["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant"]);
    let call = &line["messages"][2]["tool_calls"][0];
    assert_eq!((&call["id"], &call["type"]), (&json!("c1"), &json!("function")));
    assert_eq!(call["function"], json!({"name": "play", "arguments": "{\"artist\":\"artist 1\"}"}));
    assert_eq!(line["tools"][0]["function"]["name"], "play");

    let (_, text) = exchange(2, 2, asks("hello"), says("good evening"));
    out.clear();
    openai::write_line(&text, &mut out).unwrap();
    let line: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(line["messages"][2], json!({"role": "assistant", "content": "good evening"}));
    e.reply = None;
    assert!(openai::write_line(&e, &mut out).is_err());
}

#[test]
fn a_parquet_file_reads_back_as_the_rows() {
    let made = curated((1..300).map(usual).collect(), &permitted());
    let mut out = Vec::new();
    parquet::write(&made, &mut out, |_| true).unwrap();
    let file = SerializedFileReader::new(Bytes::from(out)).unwrap();
    let meta = file.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let sum = meta.iter().find(|k| k.key == "data_sha256").unwrap().value.clone().unwrap();
    assert_eq!(sum, parts::data_sha256(&made).unwrap());
    let read: Vec<_> = file.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    let open: Vec<&Row> = parts::open(&made).collect();
    assert_eq!(read.len(), open.len());
    assert!(open.len() < made.rows.len(), "held rows are not written");
    for (read, row) in read.iter().zip(open) {
        assert_eq!(*read.get_string(0).unwrap(), row.exchange.to_string());
        assert_eq!(read.get_long(2).unwrap(), i64::try_from(row.seq).unwrap());
        assert_eq!(read.get_string(3).unwrap(), row.split.label());
        assert_eq!((read.get_string(4).unwrap().as_str(), read.get_long(5).unwrap()), ("play", 1));
        assert_eq!(*read.get_string(6).unwrap(), parts::messages_json(row));
        assert_eq!(*read.get_string(7).unwrap(), row.reply);
    }
    let mut none = Vec::new();
    parquet::write(&curated(Vec::new(), &permitted()), &mut none, |_| true).unwrap();
    assert_eq!(SerializedFileReader::new(Bytes::from(none)).unwrap().metadata().num_row_groups(), 0);
}

/// `text` as one token that might have been another one.
fn doubtful(text: &str, others: &Value) -> Choice {
    let extra = json!({"bytes": null, "top_logprobs": others});
    let token =
        TokenLogprob { token: text.to_owned(), logprob: -0.25, extra: extra.as_object().unwrap().clone() };
    Choice { logprobs: vec![token], ..says(text) }
}

#[test]
fn what_the_provider_told_of_its_tokens_is_in_the_trainers_rows() {
    let others: Vec<Value> =
        (0..9).map(|i| json!({"token": format!("t{i}"), "logprob": -f64::from(i)})).collect();
    let told = doubtful("t1", &json!(others));
    let calls = Choice { logprobs: told.logprobs.clone(), ..plays("abba") };
    let given = vec![
        exchange(1, 1, asks("one"), told),
        exchange(2, 2, asks("two"), doubtful("t2", &json!([{"token": "t2", "logprob": -0.25}]))),
        exchange(3, 3, asks("three"), calls),
    ];
    let made = curated(given, &permitted());
    let mut lines = Vec::new();
    made.rows.iter().try_for_each(|r| parts::write_row(r, &mut lines)).unwrap();
    let lines: Vec<Value> = lines
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let top: Vec<Value> = (0..5).map(|i| json!([format!("t{i}"), -f64::from(i)])).collect();
    assert_eq!(lines[0]["tokens"], json!([{"token": "t1", "top": top}]));
    assert!(lines[1].get("tokens").is_none(), "nothing else was likely enough to be told: {}", lines[1]);
    assert!(lines[2].get("tokens").is_none(), "the tokens of a call are not its text: {}", lines[2]);
}

#[test]
fn a_row_is_named_after_the_exchange_whose_tokens_it_has() {
    let others = json!([{"token": "t1", "logprob": -0.25}, {"token": "t2", "logprob": -1.5}]);
    let given = vec![
        exchange(1, 1, asks("one"), says("t1")),
        exchange(2, 1, asks("one"), doubtful("t1", &others)),
        exchange(3, 1, asks("one"), says("t1")),
        exchange(4, 2, asks("two"), says("t1")),
        exchange(5, 2, asks("two"), says("t1")),
    ];
    let made = curated(given, &permitted());
    let rows: Vec<(ExchangeId, bool)> = made.rows.iter().map(|r| (r.exchange, r.tokens.is_empty())).collect();
    assert_eq!(rows, [(ExchangeId(key(2)), false), (ExchangeId(key(5)), true)]);
}

#[test]
fn what_all_messages_of_a_task_begin_with_is_learnt_with_none() {
    let rules = "Play what people ask for, and say nothing else.\nThey say: ";
    let mut task = task();
    let calls: Vec<(u64, Exchange)> = (1..=60)
        .map(|seq| {
            let (_, plain) = usual(seq);
            let said = plain.request.as_ref().unwrap().turns().last().unwrap().text();
            exchange(seq, seq, asks(&format!("{rules}{said}")), plays(&format!("artist {}", seq % 97)))
        })
        .collect();
    for (_, call) in &calls {
        task.framing.meet(call.request.as_ref().unwrap(), 0);
    }
    let made = curate(&task, calls.into_iter().chain([usual(61)]), &all_train());
    assert_eq!(made.report.count(Reason::OutsideFrame), 1);
    assert_eq!(made.report.frame, task.framing.frame().map(understudy_tasks::Frame::hash));
    assert!(made.rows.len() > 50, "{:#?}", made.report);
    assert!(texts(&made.rows).iter().all(|t| t.starts_with("please play song ")), "{:?}", texts(&made.rows));
}
