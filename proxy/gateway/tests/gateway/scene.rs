//! A gateway with tasks, whose understudies the tests play.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use understudy_call::{
    Answer, Ask, Choice, Declined, Dialect, Finish, Part, Reply, Responder, ToolCall, UnderstudyId,
};
use understudy_gateway::CallSeen;
use understudy_policy::{Roster, RosterEntry, RosterTask, Stage, TaskId};

use crate::support::*;

pub(crate) const BODY: &str = r#"{"model":"gpt-x","messages":[{"role":"system","content":"Route it."},{"role":"user","content":"card lost"}],"tools":[{"type":"function","function":{"name":"route","parameters":{"type":"object"}}}]}"#;

/// What the provider says.
pub(crate) const PROVIDERS: &str = "{\"id\":\"chatcmpl-p\",\"choices\":[]}";

pub(crate) type Act = Arc<dyn Fn(Ask<'_>) -> BoxFuture<'static, Result<Answer, Declined>> + Send + Sync>;

pub(crate) struct Actor(pub(crate) UnderstudyId, pub(crate) Act);

impl Responder for Actor {
    fn id(&self) -> &UnderstudyId {
        &self.0
    }

    fn respond<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Answer, Declined>> {
        (self.1)(ask)
    }
}

pub(crate) fn tool_answer() -> Answer {
    Answer {
        reply: Reply {
            choices: vec![Choice {
                tool_calls: vec![ToolCall {
                    id: String::new(),
                    name: "route".into(),
                    arguments: "{\"to\":\"cards\"}".into(),
                }],
                finish: Some(Finish::ToolCalls),
                ..Choice::default()
            }],
            ..Reply::default()
        },
        confidence: 0.9,
        stratum: "route".into(),
        spent: Duration::ZERO,
    }
}

pub(crate) fn text_answer(text: &str) -> Answer {
    let mut answer = tool_answer();
    answer.reply.choices = vec![Choice {
        content: vec![Part::Text(text.into())],
        finish: Some(Finish::Stop),
        ..Choice::default()
    }];
    answer
}

pub(crate) fn always(answer: Result<Answer, Declined>) -> Act {
    Arc::new(move |_| {
        let answer = answer.clone();
        Box::pin(async move { answer })
    })
}

pub(crate) fn task(body: &str) -> RosterTask {
    let request = understudy_dialect::parse_request(Dialect::OpenaiChat, body.as_bytes()).unwrap();
    RosterTask {
        task: TaskId(1),
        name: "route".into(),
        form: understudy_tasks::fingerprint(Dialect::OpenaiChat, &request),
        credential: None,
        stage: Stage::Live,
        share: 1.0,
        audit: 0.0,
        control: 0.0,
        budget_ms: 60_000.0,
        entries: vec![entry("head-1")],
        successor: None,
        models: vec![request.model],
    }
}

pub(crate) fn entry(name: &str) -> RosterEntry {
    RosterEntry {
        k: 1,
        understudy: UnderstudyId(name.into()),
        bar: 0.5,
        strata: vec!["route".into()],
        weak: vec!["refund".into()],
    }
}

/// A gateway whose roster has `tasks`, with one actor for every understudy.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) provider: FakeProvider,
    pub(crate) roster: Arc<ArcSwap<Roster>>,
    pub(crate) seen: Arc<Mutex<Vec<CallSeen>>>,
}

pub(crate) async fn stage(tasks: Vec<RosterTask>, act: Act) -> Scene {
    stage_before(FakeProvider::saying(json_reply(PROVIDERS)).await, tasks, act)
}

pub(crate) fn stage_before(provider: FakeProvider, tasks: Vec<RosterTask>, act: Act) -> Scene {
    let roster = Arc::new(ArcSwap::from_pointee(Roster { version: 1, stopped: false, tasks }));
    let seen: Arc<Mutex<Vec<CallSeen>>> = Arc::default();
    let (theirs, all) = (Arc::clone(&roster), Arc::clone(&seen));
    let world = open_with(config(provider.address), |seams| {
        seams.roster = theirs;
        seams.responders = Arc::new(move |id| Some(Arc::new(Actor(id.clone(), Arc::clone(&act)))));
        seams.on_call = Arc::new(move |call| all.lock().unwrap().push(call.clone()));
    });
    Scene { world, provider, roster, seen }
}

impl Scene {
    /// One call that the provider answers, because it has not accepted the key yet.
    pub(crate) async fn accepted(self) -> Self {
        let got = self.ask("{\"model\":\"m\",\"messages\":[]}").await;
        assert_eq!(got.header("x-understudy-answered-by"), None);
        // A call ends after its reply has gone out: the next one's must not come before.
        self.world.kept.at_least(1).await;
        self
    }

    pub(crate) async fn ask(&self, body: &str) -> Got {
        send(self.world.gateway, post("/v1/chat/completions", body)).await
    }

    pub(crate) fn fallback(&self, label: &str) -> u64 {
        self.world.seams.counters.fallback(label)
    }
}

pub(crate) fn numbered(i: usize) -> String {
    BODY.replace("card lost", &format!("card lost {i}"))
}
