use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use understudy_call::{AnsweredBy, Declined, Dialect, Finish, Lane, UnderstudyId};
use understudy_policy::Roster;

use crate::support::*;

use crate::scene::*;

#[tokio::test]
async fn an_understudy_answers_in_the_agents_dialect() {
    let s = stage(vec![task(BODY)], always(Ok(tool_answer()))).await.accepted().await;
    let got = s.ask(BODY).await;
    assert_eq!(s.provider.calls(), 1);
    assert_eq!(got.header("x-understudy-answered-by"), Some("head-1"));
    assert_eq!(got.header("x-understudy-task"), Some("0000000000000001"));
    let reply: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert!(reply["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(reply["model"], "gpt-x");
    assert_eq!(reply["choices"][0]["finish_reason"], "tool_calls");
    let call = &reply["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], "{\"to\":\"cards\"}");
    assert!(call["id"].as_str().unwrap().starts_with("call_"));
    assert!(reply["usage"]["total_tokens"].as_u64().unwrap() > 0);
    let kept = s.world.kept.at_least(2).await;
    assert_eq!(kept[1].meta.answered_by, AnsweredBy::Understudy(UnderstudyId("head-1".into())));
    assert_eq!((kept[1].meta.lane, kept[1].meta.status), (Lane::Understudy, 200));
    assert_eq!(kept[1].meta.asked.as_ref().unwrap().declined, None);
    assert!(kept[1].reply.is_empty() && kept[1].understudy_reply.is_some());
    assert_eq!(kept[1].request.concat(), BODY.as_bytes());
    assert_eq!(s.world.seams.counters.served(), 1);
}

#[tokio::test]
async fn an_understudy_answers_as_a_stream_where_one_is_asked_for() {
    let mut streamed: serde_json::Value = serde_json::from_str(BODY).unwrap();
    streamed["stream"] = true.into();
    streamed["stream_options"] = serde_json::json!({"include_usage": true});
    let body = streamed.to_string();
    let s = stage(vec![task(&body)], always(Ok(tool_answer()))).await.accepted().await;
    let mut agent = TcpStream::connect(s.world.gateway).await.unwrap();
    let got = exchange(&mut agent, post("/v1/chat/completions", &body)).await;
    assert!(got.header("content-type").unwrap().starts_with("text/event-stream"));
    assert!(got.text().ends_with("data: [DONE]\n\n"));
    let reply =
        understudy_dialect::parse_reply(Dialect::OpenaiChat, 200, "text/event-stream", &got.body).unwrap();
    assert_eq!(reply.choices[0].tool_calls[0].arguments, "{\"to\":\"cards\"}");
    assert!(reply.is_whole() && reply.usage.is_some());
    // The connection goes on.
    assert_eq!(exchange(&mut agent, post("/v1/chat/completions", numbered(1))).await.status(), 200);
}

#[tokio::test]
async fn a_call_of_the_function_that_was_named_ends_as_the_providers_does() {
    for stream in [false, true] {
        let mut forced: serde_json::Value = serde_json::from_str(BODY).unwrap();
        forced["tool_choice"] = serde_json::json!({"type": "function", "function": {"name": "route"}});
        forced["stream"] = stream.into();
        let body = forced.to_string();
        let s = stage(vec![task(&body)], always(Ok(tool_answer()))).await.accepted().await;
        let got = s.ask(&body).await;
        assert_eq!(got.header("x-understudy-answered-by"), Some("head-1"));
        let kind = got.header("content-type").unwrap();
        let reply = understudy_dialect::parse_reply(Dialect::OpenaiChat, 200, kind, &got.body).unwrap();
        assert_eq!(reply.choices[0].tool_calls[0].name, "route");
        assert_eq!(reply.choices[0].finish, Some(Finish::Stop), "streamed: {stream}");
    }
}

#[tokio::test]
async fn every_decline_goes_to_the_provider_and_says_why() {
    let mut rare = tool_answer();
    rare.stratum = "other".into();
    let mut weak = tool_answer();
    weak.stratum = "refund".into();
    let mut unsure = tool_answer();
    unsure.confidence = 0.4;
    let mut invented = tool_answer();
    invented.reply.choices[0].tool_calls[0].name = "no_such_tool".into();
    let mut broken = tool_answer();
    broken.reply.choices[0].tool_calls[0].arguments = "{".into();
    let mut cut = text_answer("half");
    cut.reply.choices[0].finish = Some(Finish::Length);
    for (answer, label) in [
        (Err(Declined::BelowBar), "below_bar"),
        (Err(Declined::Busy), "busy"),
        (Err(Declined::Unavailable), "unavailable"),
        (Ok(rare), "rare"),
        (Ok(weak), "weak"),
        (Ok(unsure), "below_bar"),
        (Ok(invented), "invalid"),
        (Ok(broken), "invalid"),
        (Ok(cut), "invalid"),
    ] {
        let s = stage(vec![task(BODY)], always(answer)).await.accepted().await;
        let got = s.ask(BODY).await;
        assert_eq!((got.status(), got.header("x-understudy-answered-by")), (200, None));
        assert_eq!(got.text(), "{\"id\":\"chatcmpl-p\",\"choices\":[]}");
        assert_eq!(s.provider.last().body, BODY.as_bytes(), "the provider gets the body as it came");
        assert_eq!(s.fallback(label), 1, "{label}");
        let kept = s.world.kept.at_least(2).await;
        assert_eq!((kept[1].meta.lane, &kept[1].meta.answered_by), (Lane::Provider, &AnsweredBy::Provider));
        assert_eq!(kept[1].meta.asked.as_ref().unwrap().declined.unwrap().label(), label);
        assert_eq!(kept[1].request.concat(), BODY.as_bytes());
        assert_eq!(s.seen.lock().unwrap()[1].fallback, Some(label));
    }
}

#[tokio::test]
async fn a_panic_of_the_understudy_is_not_the_agents() {
    let s = stage(vec![task(BODY)], Arc::new(|_| Box::pin(async { panic!("the actor fell") })))
        .await
        .accepted()
        .await;
    for i in 0..20 {
        assert_eq!(s.ask(&numbered(i)).await.text(), "{\"id\":\"chatcmpl-p\",\"choices\":[]}");
    }
    assert_eq!(s.fallback("panicked"), 20);
}

#[tokio::test]
async fn a_late_understudy_is_not_waited_for() {
    let mut late = task(BODY);
    late.budget_ms = 30.0;
    let s = stage(vec![late], Arc::new(|_| Box::pin(std::future::pending()))).await.accepted().await;
    assert_eq!(s.ask(BODY).await.text(), "{\"id\":\"chatcmpl-p\",\"choices\":[]}");
    assert_eq!(s.fallback("late"), 1);
}

#[tokio::test]
async fn the_next_understudy_is_asked_when_the_first_declines() {
    let mut two = task(BODY);
    two.entries = vec![entry("head-1"), entry("prompted-2")];
    let turns = AtomicUsize::new(0);
    let act: Act = Arc::new(move |_| {
        let first = turns.fetch_add(1, Ordering::Relaxed) == 0;
        Box::pin(async move { if first { Err(Declined::Novel) } else { Ok(tool_answer()) } })
    });
    let s = stage(vec![two], act).await.accepted().await;
    assert_eq!(s.ask(BODY).await.header("x-understudy-answered-by"), Some("prompted-2"));
    assert_eq!(s.fallback("novel"), 0);
    s.world.kept.at_least(2).await;
    assert_eq!(s.seen.lock().unwrap()[1].declined, [(UnderstudyId("head-1".into()), "novel")]);
}

#[tokio::test]
async fn only_a_caller_whom_the_provider_accepts_is_served() {
    let s = stage(vec![task(BODY)], always(Ok(tool_answer()))).await.accepted().await;
    let stranger = post_as("/v1/chat/completions", "Bearer sk-other", BODY);
    let got = send(s.world.gateway, &stranger).await;
    assert_eq!(got.header("x-understudy-answered-by"), None);
    assert_eq!(s.fallback("not_accepted"), 1);
    // The provider has taken that key now.
    assert!(send(s.world.gateway, &stranger).await.header("x-understudy-answered-by").is_some());
}

#[tokio::test]
async fn a_rate_limit_is_the_providers_to_say() {
    let limited: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\nContent-Length: 2\r\n\r\n{}";
    let n = Arc::new(AtomicUsize::new(0));
    let provider = FakeProvider::start(Arc::new(move |_, mut stream| {
        let first = n.fetch_add(1, Ordering::Relaxed) == 0;
        Box::pin(async move {
            stream
                .write_all(if first { b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" } else { limited })
                .await
                .ok()?;
            Some(stream)
        })
    }))
    .await;
    let roster =
        Arc::new(ArcSwap::from_pointee(Roster { version: 1, stopped: false, tasks: vec![task(BODY)] }));
    let world = open_with(config(provider.address), |seams| {
        seams.roster = roster;
        seams.responders = Arc::new(|id| Some(Arc::new(Actor(id.clone(), always(Ok(tool_answer()))))));
    });
    let plain = post("/v1/chat/completions", "{\"model\":\"m\",\"messages\":[]}");
    assert_eq!(send(world.gateway, &plain).await.status(), 200);
    assert_eq!(send(world.gateway, &plain).await.status(), 429);
    assert_eq!(send(world.gateway, post("/v1/chat/completions", BODY)).await.status(), 429);
    assert_eq!(world.seams.counters.fallback("rate_limited"), 1);
}

#[tokio::test]
async fn what_an_understudy_cannot_honour_is_not_asked() {
    let s = stage(vec![task(BODY)], always(Ok(tool_answer()))).await.accepted().await;
    let many = BODY.replacen('{', "{\"n\":2,", 1);
    assert_eq!(s.ask(&many).await.header("x-understudy-answered-by"), None);
    assert_eq!(s.fallback("many_choices"), 1);
    let twice = BODY.replacen('{', "{\"model\":\"gpt-y\",", 1);
    assert_eq!(s.ask(&twice).await.header("x-understudy-answered-by"), None);
    assert_eq!(s.provider.last().body, twice.as_bytes());
    assert_eq!(s.fallback("unknown_field"), 1);
    assert_eq!(s.ask("{\"model\":").await.status(), 200, "malformed JSON is the provider's to judge");
    assert_eq!(s.fallback("unparsed"), 1);
    let large = numbered(1).replace("card", &"card ".repeat(20_000));
    assert_eq!(s.ask(&large).await.status(), 200);
    assert!(s.provider.last().body == large.as_bytes());
    assert_eq!(s.fallback("too_large"), 1);
    let chunked = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{BODY}\r\n0\r\n\r\n",
        BODY.len()
    );
    assert_eq!(send(s.world.gateway, chunked).await.status(), 200);
    assert_eq!(s.provider.last().body, BODY.as_bytes());
    assert_eq!(s.fallback("unknown_length"), 1);
    assert_eq!(s.world.seams.counters.served(), 0);
}

#[tokio::test]
async fn the_same_call_within_a_minute_goes_to_the_provider() {
    let s = stage(vec![task(BODY)], always(Ok(tool_answer()))).await.accepted().await;
    assert!(s.ask(BODY).await.header("x-understudy-answered-by").is_some());
    assert!(s.ask(BODY).await.header("x-understudy-answered-by").is_none());
    assert!(s.ask(&numbered(2)).await.header("x-understudy-answered-by").is_some());
    assert_eq!(s.fallback("repeat"), 1);
}

#[tokio::test]
async fn a_retry_that_is_warmer_or_streamed_does_not_get_the_same_answer_again() {
    for (field, value) in [
        ("temperature", serde_json::json!(1)),
        ("seed", serde_json::json!(7)),
        ("stream", serde_json::json!(true)),
        ("user", serde_json::json!("u-1")),
    ] {
        let s = stage(vec![task(BODY)], always(Ok(tool_answer()))).await.accepted().await;
        assert!(s.ask(BODY).await.header("x-understudy-answered-by").is_some());
        let mut retry: serde_json::Value = serde_json::from_str(BODY).unwrap();
        retry[field] = value;
        assert!(s.ask(&retry.to_string()).await.header("x-understudy-answered-by").is_none(), "{field}");
        assert_eq!(s.fallback("repeat"), 1, "{field}");
    }
}

#[tokio::test]
async fn a_model_as_which_the_provider_did_not_answer_the_task_is_the_providers_to_give_or_refuse() {
    let s = stage(vec![task(BODY)], always(Ok(tool_answer()))).await.accepted().await;
    let other = BODY.replace("gpt-x", "gpt-forbidden");
    assert!(s.ask(&other).await.header("x-understudy-answered-by").is_none());
    assert_eq!(s.fallback("other_model"), 1);
    assert!(s.ask(BODY).await.header("x-understudy-answered-by").is_some());
    // In the control group as outside of it: no arm may have such calls alone.
    let control = understudy_policy::RosterTask { control: 1.0, ..task(BODY) };
    let s = stage(vec![control], always(Ok(tool_answer()))).await.accepted().await;
    s.ask(&other).await;
    assert_eq!(s.fallback("other_model"), 1);
    // Where none is known, as after a state of an earlier version, it goes on.
    let unknown = understudy_policy::RosterTask { models: Vec::new(), ..task(BODY) };
    s.roster.store(Arc::new(Roster { version: 2, stopped: false, tasks: vec![unknown] }));
    let another = numbered(3).replace("gpt-x", "gpt-forbidden");
    assert!(s.ask(&another).await.header("x-understudy-answered-by").is_some());
}

#[tokio::test]
async fn a_page_in_a_browser_gets_the_providers_answer_which_says_that_it_may_read_it() {
    let allowed = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\n{}";
    let provider = FakeProvider::saying(allowed).await;
    let s = stage_before(provider, vec![task(BODY)], always(Ok(tool_answer()))).accepted().await;
    let request = String::from_utf8(post("/v1/chat/completions", BODY)).unwrap();
    let paged = request.replacen("\r\n", "\r\nOrigin: http://localhost:3000\r\n", 1);
    let got = send(s.world.gateway, paged).await;
    assert_eq!(got.header("x-understudy-answered-by"), None);
    assert_eq!(got.header("access-control-allow-origin"), Some("*"));
    assert_eq!(s.fallback("browser"), 1);
    assert!(s.ask(BODY).await.header("x-understudy-answered-by").is_some());
}

#[tokio::test]
async fn what_a_remote_s_server_adds_does_not_reach_the_agent() {
    let mut answer = text_answer("hello");
    answer.stratum = "route".into();
    answer.reply.extra.insert("x_vendor".into(), "v".into());
    answer.reply.extra.insert("system_fingerprint".into(), "fp_vendor".into());
    answer.reply.extra.insert("@usage".into(), serde_json::json!({"vendor_seconds": 1}));
    let choice = &mut answer.reply.choices[0];
    choice.extra.insert("reasoning_content".into(), "the vendor thought".into());
    choice.extra.insert("@choice".into(), serde_json::json!({"stop_reason": "vendor"}));
    for stream in [false, true] {
        let s = stage(vec![task(BODY)], always(Ok(answer.clone()))).await.accepted().await;
        let mut body: serde_json::Value = serde_json::from_str(BODY).unwrap();
        body["stream"] = stream.into();
        let got = s.ask(&body.to_string()).await;
        assert_eq!(got.header("x-understudy-answered-by"), Some("head-1"));
        assert!(got.text().contains("hello") && !got.text().contains("vendor"), "{}", got.text());
    }
}

#[tokio::test]
async fn of_equal_calls_at_once_the_understudy_answers_one() {
    let (began, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (b, g) = (Arc::clone(&began), Arc::clone(&go));
    let act: Act = Arc::new(move |_| {
        let (began, go) = (Arc::clone(&b), Arc::clone(&g));
        Box::pin(async move {
            began.add_permits(1);
            go.acquire().await.unwrap().forget();
            Ok(tool_answer())
        })
    });
    let s = stage(vec![task(BODY)], act).await.accepted().await;
    let at = s.world.gateway;
    let first = tokio::spawn(async move { send(at, post("/v1/chat/completions", BODY)).await });
    began.acquire().await.unwrap().forget();
    for _ in 0..4 {
        assert_eq!(s.ask(BODY).await.header("x-understudy-answered-by"), None);
    }
    go.add_permits(1);
    assert_eq!(first.await.unwrap().header("x-understudy-answered-by"), Some("head-1"));
    // A call ends after its reply has gone out.
    s.world.kept.at_least(6).await;
    assert_eq!((s.fallback("repeat"), s.world.seams.counters.served()), (4, 1));
}

#[tokio::test]
async fn one_who_declined_may_be_asked_the_same_again() {
    let s = stage(vec![task(BODY)], always(Err(Declined::Busy))).await.accepted().await;
    for _ in 0..2 {
        assert_eq!(s.ask(BODY).await.header("x-understudy-answered-by"), None);
    }
    assert_eq!((s.fallback("busy"), s.fallback("repeat")), (2, 0));
}

#[tokio::test]
async fn the_kill_switch_holds_from_the_next_call() {
    let s = stage(vec![task(BODY)], always(Ok(tool_answer()))).await.accepted().await;
    assert!(s.ask(BODY).await.header("x-understudy-answered-by").is_some());
    s.roster.store(Arc::new(Roster { version: 2, stopped: true, tasks: vec![task(BODY)] }));
    assert!(s.ask(&numbered(1)).await.header("x-understudy-answered-by").is_none());
}

#[tokio::test]
async fn a_control_conversation_stays_with_the_provider() {
    let mut controlled = task(BODY);
    controlled.control = 1.0;
    let s = stage(vec![controlled], always(Ok(tool_answer()))).await.accepted().await;
    assert!(s.ask(BODY).await.header("x-understudy-answered-by").is_none());
    assert_eq!(s.world.kept.at_least(2).await[1].meta.lane, Lane::Control);
}

#[tokio::test]
async fn an_agent_that_hangs_up_ends_the_understudys_work() {
    struct Dropped(Arc<Notify>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (began, ended) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let (b, e) = (Arc::clone(&began), Arc::clone(&ended));
    let act: Act = Arc::new(move |_| {
        let (began, dropped) = (Arc::clone(&b), Dropped(Arc::clone(&e)));
        Box::pin(async move {
            let _dropped = dropped;
            began.add_permits(1);
            std::future::pending().await
        })
    });
    let s = stage(vec![task(BODY)], act).await.accepted().await;
    let mut agent = TcpStream::connect(s.world.gateway).await.unwrap();
    agent.write_all(&post("/v1/chat/completions", BODY)).await.unwrap();
    began.acquire().await.unwrap().forget();
    drop(agent);
    ended.notified().await;
    let kept = s.world.kept.at_least(2).await;
    assert_eq!(kept[1].meta.answered_by, AnsweredBy::Nobody);
    assert_eq!(s.provider.calls(), 1);
}
