//! What the tests of this crate are made of.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use understudy_call::{
    Ask, Choice, ConversationKey, Credential, Declined, EmbedError, Embedder, ExchangeId, Finish, Message,
    Part as Piece, Priority, Request, Role, Tool, ToolCall,
};
use understudy_tasks::{Framing, Part};

use crate::client::{ChatAnswer, ChatAsk, ChatModel};
use crate::example::{Example, label};

pub(crate) const CREDENTIAL: Credential = Credential([1; 16]);
pub(crate) const OTHER: Credential = Credential([2; 16]);

pub(crate) fn id(n: u64) -> ExchangeId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    ExchangeId(id)
}

pub(crate) fn choice(text: &str) -> Choice {
    Choice { content: vec![Piece::Text(text.to_owned())], finish: Some(Finish::Stop), ..Choice::default() }
}

pub(crate) fn tool_call(name: &str, arguments: &str) -> Choice {
    let call = ToolCall { id: String::new(), name: name.to_owned(), arguments: arguments.to_owned() };
    Choice { tool_calls: vec![call], finish: Some(Finish::ToolCalls), ..Choice::default() }
}

pub(crate) fn tool(name: &str, parameters: serde_json::Value) -> Tool {
    Tool { name: name.to_owned(), description: None, parameters, strict: None, extra: Default::default() }
}

pub(crate) fn example(n: u64, text: &str, reply: Choice) -> Example {
    Example {
        exchange: id(n),
        seq: n,
        conversation: ConversationKey([0; 16]),
        credential: CREDENTIAL,
        part: Part { masked: Vec::new(), turns: vec![Message::text_of(Role::User, text)] },
        part_text: text.to_owned(),
        turns_at: 0,
        embedding: None,
        label: label(&reply),
        reply,
        tokens: None,
        echoes: false,
    }
}

pub(crate) fn question(text: &str) -> Request {
    Request {
        model: "big".to_owned(),
        messages: vec![Message::text_of(Role::System, "Help."), Message::text_of(Role::User, text)],
        ..Request::default()
    }
}

pub(crate) fn ask(request: &Request, exchange: Option<ExchangeId>) -> Ask<'_> {
    Ask {
        request,
        opening: 0,
        credential: CREDENTIAL,
        exchange,
        deadline: Duration::from_secs(5),
        bar: None,
        priority: Priority::Shadow,
    }
}

/// The rules that an agent puts before each question, and the frame that it is.
pub(crate) fn rules_in_the_message() -> (&'static str, Framing) {
    let rules = "Say yes or no to what follows, in one word.\n";
    let mut framing = Framing::default();
    for n in 0..40 {
        framing.meet(&question(&format!("{rules}question {n}")), 0);
    }
    assert!(framing.frame().is_some());
    (rules, framing)
}

/// −1 to 1 from two numbers, always the same.
pub(crate) fn noise(a: u64, b: u64) -> f32 {
    let mut x = (a << 20) ^ b ^ 0x9e37_79b9;
    for _ in 0..3 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    (x % 20_001) as f32 / 10_000.0 - 1.0
}

pub(crate) fn block_on<F: Future>(f: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f)
}

/// An embedder that knows a few texts.
#[derive(Default)]
pub(crate) struct Vectors {
    pub(crate) name: String,
    known: HashMap<String, Vec<f32>>,
    asked: Mutex<Vec<Priority>>,
}

impl Vectors {
    pub(crate) fn with(mut self, text: &str, v: Vec<f32>) -> Self {
        if self.name.is_empty() {
            self.name = "e".to_owned();
        }
        self.known.insert(text.to_owned(), v);
        self
    }

    /// Whose turn it was at each request.
    pub(crate) fn asked(&self) -> Vec<Priority> {
        self.asked.lock().unwrap().clone()
    }
}

impl Embedder for Vectors {
    fn id(&self) -> String {
        self.name.clone()
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        priority: Priority,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        self.asked.lock().unwrap().push(priority);
        let found: Option<Vec<Vec<f32>>> = texts.iter().map(|t| self.known.get(t).cloned()).collect();
        Box::pin(async move { found.ok_or_else(|| EmbedError::Unavailable("not known".to_owned())) })
    }
}

/// A model that gives answers in turn and keeps what it was asked.
pub(crate) struct Script {
    pub(crate) name: Mutex<String>,
    answers: Mutex<Vec<Result<ChatAnswer, Declined>>>,
    pub(crate) asked: Mutex<Vec<ChatAsk>>,
}

impl Script {
    pub(crate) fn new(answers: Vec<Result<ChatAnswer, Declined>>) -> Arc<Self> {
        let mut answers = answers;
        answers.reverse();
        Arc::new(Self {
            name: Mutex::new("m@1".to_owned()),
            answers: Mutex::new(answers),
            asked: Mutex::default(),
        })
    }
}

impl ChatModel for Script {
    fn model(&self) -> BoxFuture<'_, Option<String>> {
        let name = self.name.lock().unwrap().clone();
        Box::pin(async move { Some(name) })
    }

    fn chat(&self, ask: ChatAsk) -> BoxFuture<'_, Result<ChatAnswer, Declined>> {
        self.asked.lock().unwrap().push(ask);
        let next = self.answers.lock().unwrap().pop().unwrap_or(Err(Declined::Unavailable));
        Box::pin(async move { next })
    }
}
