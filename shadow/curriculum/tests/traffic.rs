//! What the report says of recorded traffic: training rows only.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "tests")]

use std::path::Path;

use serde_json::{Value, json};
use understudy_call::{Belongs, Credential, Dialect, Exchange, ExchangeId, Metadata};
use understudy_curriculum::{Curated, Permission, Reason, Rules, Split, curate};
use understudy_dialect::{parse_reply, parse_request};
use understudy_tasks::{Conversations, HashKey, TaskBook, fingerprint};

/// A line's call, or every reply of its trajectory with all that stands before it.
fn calls_of(line: Value) -> Vec<Value> {
    if line.get("reply").is_some() {
        return vec![line];
    }
    let messages = line["messages"].as_array().unwrap();
    let replies = messages.iter().enumerate().filter(|(_, m)| m["role"] == "assistant");
    replies.map(|(i, m)| json!({"id": line["id"], "messages": &messages[..i], "reply": m})).collect()
}

/// The training calls of an agent, as exchanges.
fn exchanges(folder: &Path, name: &str) -> Vec<(u64, Exchange)> {
    let agent: Value =
        serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.agent.json"))).unwrap()).unwrap();
    let conversations = Conversations::new(HashKey::new([1; 32]));
    let credential = Credential([2; 16]);
    let calls = folder.join(format!("{name}.calls.jsonl"));
    let file = if calls.exists() { calls } else { folder.join(format!("{name}.trajectories.jsonl")) };
    std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap())
        .filter(|l| l["split"] == "train")
        .flat_map(calls_of)
        .zip(1u64..)
        .map(|(line, seq)| {
            let mut body = json!({"messages": [{"role": "system", "content": agent["system"]}]});
            for field in ["model", "tools", "tool_choice", "response_format"] {
                if agent.get(field).is_some_and(|v| !v.is_null()) {
                    body[field] = agent[field].clone();
                }
            }
            body["messages"].as_array_mut().unwrap().extend(line["messages"].as_array().unwrap().clone());
            let finish = if line["reply"].get("tool_calls").is_some_and(Value::is_array) {
                "tool_calls"
            } else {
                "stop"
            };
            let reply = json!({"choices": [{"index": 0, "message": line["reply"], "finish_reason": finish}]});
            let request = parse_request(Dialect::OpenaiChat, body.to_string().as_bytes()).unwrap();
            let reply =
                parse_reply(Dialect::OpenaiChat, 200, "application/json", reply.to_string().as_bytes())
                    .unwrap();
            let form = fingerprint(Dialect::OpenaiChat, &request);
            // A trajectory names its conversation; a lone call does not.
            let named = line["id"]
                .as_str()
                .filter(|_| line["messages"].as_array().unwrap().len() > 1 || line.get("split").is_none());
            let Belongs { form, conversation, opening } = conversations.of(credential, form, named, &request);
            let mut id = [0; 16];
            id[..8].copy_from_slice(&seq.to_be_bytes());
            let meta = Metadata {
                form: Some(form),
                conversation: Some(conversation),
                opening,
                ..Metadata::answered("recorded", Dialect::OpenaiChat, credential)
            };
            let exchange = Exchange::new(ExchangeId(id), meta, Some(request), Some(reply));
            (seq, exchange)
        })
        .collect()
}

fn curated(name: &str) -> Option<Curated> {
    let Some(folder) = std::env::var_os("UNDERSTUDY_TRAFFIC") else {
        eprintln!("skipped: UNDERSTUDY_TRAFFIC is unset");
        return None;
    };
    let exchanges = exchanges(Path::new(&folder), name);
    let mut book = TaskBook::default();
    let id = book.assign(&exchanges.first().unwrap().1).unwrap();
    let by = Permission { by: "the recordings' licence".into(), ..Permission::default() };
    let rules = Rules { permitted: [("recorded".to_owned(), by)].into(), ..Rules::default() };
    let made = curate(book.task(id).unwrap(), exchanges.into_iter(), &rules);
    let r = &made.report;
    eprintln!(
        "{name}: {} in, {} rows, {:?} {:?} {:?}",
        r.exchanges, r.rows, r.splits, r.conflicts, r.characters
    );
    for d in &r.dropped {
        eprintln!("  {:<16} {:>6}", d.reason.label(), d.count);
        for s in &d.samples {
            eprintln!("      {} → {}", s.asked, s.answered);
        }
    }
    for c in r.classes.iter().take(12) {
        eprintln!("  {:<40} {:>6} {:>6}", c.class, c.before, c.after);
    }
    eprintln!("  {:?} {:?} {:?}", r.script, r.language, r.notes);
    Some(made)
}

#[test]
fn the_voice_assistants_training_calls_become_rows() {
    let Some(made) = curated("voice-assistant") else { return };
    let report = &made.report;
    assert_eq!((report.exchanges, report.classes.len()), (13_723, 7));
    assert!(report.rows > 13_000 && report.refusal().is_none(), "{:?}", report.refusal());
    assert_eq!((report.count(Reason::Failed), report.count(Reason::TooLong)), (0, 0));
    assert!(report.split(Split::Train).rows > 11_000);
}

#[test]
fn the_bank_routers_training_calls_become_rows() {
    let Some(made) = curated("bank-router") else { return };
    assert_eq!((made.report.exchanges, made.report.classes.len()), (9_112, 70));
    assert!(made.report.rows > 8_500 && made.report.refusal().is_none());
    assert_eq!(made.report.said_once, 0, "labels come again");
}

#[test]
fn what_a_tutor_says_is_hardly_ever_said_again() {
    let Some(made) = curated("maths-tutor") else { return };
    let answerable = made.report.answerable();
    assert!(answerable < 0.2, "too little for an entry: {answerable}");
}

#[test]
fn the_airline_agents_training_turns_become_rows() {
    let Some(made) = curated("airline-agent") else { return };
    let report = &made.report;
    assert!(report.rows > 1_500 && report.refusal().is_none(), "{:?}", report.refusal());
    assert_eq!(
        report.count(Reason::Conflict) + report.count(Reason::Outvoted) > 0,
        report.conflicts.questions > 0
    );
    // It greets and asks in the same words again and again, and tells most things once.
    let texts = made.rows.iter().filter(|r| !r.reply.starts_with('>'));
    let (left, said): (Vec<_>, Vec<_>) = texts.partition(|r| r.defers);
    assert!(left.len() > 2 * said.len() && said.len() > 50, "{} left, {} learnt", left.len(), said.len());
}
