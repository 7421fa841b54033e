//! What holds of every curriculum.
mod formats;
mod invariants;
mod reasons;
mod said_once;
mod written;

use serde_json::{Value, json};
use understudy_call::{
    AnsweredBy, Choice, ConversationKey, Credential, Dialect, Exchange, ExchangeId, Finish, Lane, Message,
    Metadata, Part, Reply, Request, Role, StandIns, Tool, ToolCall, Truncation, UnderstudyId,
};
use understudy_tasks::{Form, Task, task_id};

use crate::{Curated, Permission, Row, Rules, Split, curate};

const CALLER: Credential = Credential([7; 16]);

/// A speaker that plays and dims.
fn tools() -> Vec<Tool> {
    let tool = |name: &str, properties: Value| Tool {
        name: name.to_owned(),
        description: None,
        parameters: json!({"type": "object", "properties": properties}),
        strict: None,
        extra: Default::default(),
    };
    vec![
        tool("play", json!({"artist": {"type": "string"}, "volume": {"type": "integer"}})),
        tool("dim", json!({"room": {"type": "string"}})),
    ]
}

fn request(turns: Vec<Message>) -> Request {
    let mut messages = vec![Message::text_of(Role::System, "You are a speaker.")];
    messages.extend(turns);
    Request { model: "gpt-4o-mini".to_owned(), messages, tools: tools().into(), ..Request::default() }
}

fn asks(text: &str) -> Vec<Message> {
    vec![Message::text_of(Role::User, text)]
}

fn calls(name: &str, arguments: &Value) -> Choice {
    Choice {
        tool_calls: vec![ToolCall { id: "c1".into(), name: name.into(), arguments: arguments.to_string() }],
        finish: Some(Finish::ToolCalls),
        ..Choice::default()
    }
}

fn plays(artist: &str) -> Choice {
    calls("play", &json!({ "artist": artist }))
}

fn says(text: &str) -> Choice {
    Choice { content: vec![Part::Text(text.into())], finish: Some(Finish::Stop), ..Choice::default() }
}

fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.to_le_bytes());
    key
}

/// An exchange of the speaker's task at `seq`, in the conversation of that number.
fn exchange(seq: u64, conversation: u64, turns: Vec<Message>, choice: Choice) -> (u64, Exchange) {
    let request = request(turns);
    let form = understudy_tasks::fingerprint(Dialect::OpenaiChat, &request);
    let meta = Metadata {
        form: Some(form),
        conversation: Some(ConversationKey(key(conversation))),
        ..Metadata::answered("openai", Dialect::OpenaiChat, CALLER)
    };
    let exchange = Exchange::new(
        ExchangeId(key(seq)),
        meta,
        Some(request),
        Some(Reply { choices: vec![choice], ..Reply::default() }),
    );
    (seq, exchange)
}

/// A call like any other of the speaker's task.
fn usual(seq: u64) -> (u64, Exchange) {
    let artist = format!("artist {}", seq % 97);
    exchange(seq, seq, asks(&format!("please play song {seq} by {artist}")), plays(&artist))
}

fn by_understudy((seq, mut exchange): (u64, Exchange)) -> (u64, Exchange) {
    exchange.meta.answered_by = AnsweredBy::Understudy(UnderstudyId("u".into()));
    exchange.meta.lane = Lane::Understudy;
    (seq, exchange)
}

fn task() -> Task {
    let form = Form::of(Dialect::OpenaiChat, &request(asks("hello")));
    Task {
        id: task_id(form.hash, Some(CALLER)),
        form,
        credential: Some(CALLER),
        name: "speaker".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        provider: "openai".to_owned(),
        calls: 0,
        acts: false,
        framing: Default::default(),
    }
}

fn permitted() -> Rules {
    let by = Permission { by: "the test".into(), at: "2026-11-25".into(), terms: "its own".into() };
    Rules { permitted: [("openai".to_owned(), by)].into(), ..Rules::default() }
}

/// All conversations in training.
fn all_train() -> Rules {
    Rules { development: 0.0, held: 0.0, ..permitted() }
}

fn curated(exchanges: Vec<(u64, Exchange)>, rules: &Rules) -> Curated {
    let made = curate(&task(), exchanges.into_iter(), rules);
    let dropped: u64 = made.report.dropped.iter().map(|d| d.count).sum();
    assert_eq!(made.report.exchanges, made.report.rows + dropped, "{:#?}", made.report);
    assert_eq!(made.report.rows, made.rows.len() as u64);
    made
}

fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|r| r.messages.last().map(Message::text).unwrap_or_default()).collect()
}

fn splits_of(made: &Curated) -> Vec<Split> {
    made.rows.iter().map(|r| r.split).collect()
}
