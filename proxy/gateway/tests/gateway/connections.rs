//! Connections as agents use and misuse them.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use understudy_call::{AnsweredBy, Truncation};

use crate::scene::*;
use crate::support::*;

#[tokio::test]
async fn calls_that_are_sent_without_waiting_are_answered_in_turn() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let world = open(config(provider.address));
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    let calls: Vec<u8> =
        (0..3).flat_map(|i| post("/v1/chat/completions", format!("{{\"i\":{i}}}"))).collect();
    agent.write_all(&calls).await.unwrap();
    for _ in 0..3 {
        let got = read_reply(&mut agent, false).await;
        assert_eq!((got.status(), got.text()), (200, "{}"));
    }
    let bodies: Vec<_> = provider.seen.lock().unwrap().iter().map(|s| s.body.clone()).collect();
    assert_eq!(bodies, [b"{\"i\":0}", b"{\"i\":1}", b"{\"i\":2}"]);
}

/// HTTP/1.0 knows no chunks: a body whose length is not said ends with the connection,
/// though the agent asked to keep it.
#[tokio::test]
async fn an_agent_of_http_1_0_gets_its_reply_without_chunks() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let request = "GET /v1/models HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n";
    let provider = FakeProvider::saying(chunked).await;
    let world = open(config(provider.address));
    let got = send(world.gateway, request).await;
    assert_eq!((got.status(), got.text()), (200, "abcde"));
    assert_eq!((got.header("transfer-encoding"), got.header("connection")), (None, Some("close")));
    // One whose length is said is as it was.
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let world = open(config(provider.address));
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    for _ in 0..2 {
        let got = exchange(&mut agent, request).await;
        assert_eq!((got.text(), got.header("connection")), ("{}", Some("keep-alive")));
    }
}

#[tokio::test]
async fn nor_does_an_understudy_speak_in_chunks_to_it() {
    let body = BODY.replacen('{', "{\"stream\":true,", 1);
    let s = stage(vec![task(&body)], always(Ok(tool_answer()))).await.accepted().await;
    let request = String::from_utf8(post("/v1/chat/completions", &body)).unwrap();
    let got = send(s.world.gateway, request.replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
    assert_eq!(got.header("x-understudy-answered-by"), Some("head-1"));
    assert_eq!((got.header("transfer-encoding"), got.header("connection")), (None, Some("close")));
    assert!(got.text().starts_with("data: ") && got.text().ends_with("data: [DONE]\n\n"), "{}", got.text());
}

/// Who closes its half has gone, as far as can be told: an SDK that cancels does just
/// that, and what the provider would go on to write costs money.
#[tokio::test]
async fn an_agent_that_closes_its_half_ends_the_call() {
    let provider = FakeProvider::silent().await;
    let world = open(config(provider.address));
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    agent.write_all(&post("/v1/chat/completions", "{}")).await.unwrap();
    agent.shutdown().await.unwrap();
    let mut rest = Vec::new();
    agent.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"", "it was answered");
    let kept = world.kept.at_least(1).await;
    assert_eq!(kept[0].meta.answered_by, AnsweredBy::Nobody);
    let next = send(world.gateway, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(next.status(), 404, "the gateway goes on");
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_408() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let mut cfg = config(provider.address);
    cfg.limits.agent_read = Duration::from_millis(50);
    let world = open(cfg);
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    let whole = post("/v1/chat/completions", "{\"messages\":[]}");
    agent.write_all(&whole[..whole.len() - 4]).await.unwrap();
    let got = read_reply(&mut agent, false).await;
    assert_eq!((got.status(), got.header("x-understudy-fault")), (408, Some("agent")));
    assert!(got.text().contains("did not arrive in time"), "{}", got.text());
    let kept = world.kept.at_least(1).await;
    assert_eq!((kept[0].meta.status, &kept[0].meta.answered_by), (408, &AnsweredBy::Nobody));
}

#[tokio::test]
async fn nor_does_it_matter_who_answers_them() {
    let s = stage(vec![task(BODY)], always(Ok(tool_answer()))).await.accepted().await;
    let mut agent = TcpStream::connect(s.world.gateway).await.unwrap();
    let calls = [BODY, "{}", &numbered(2)].map(|body| post("/v1/chat/completions", body)).concat();
    agent.write_all(&calls).await.unwrap();
    for (n, by) in [Some("head-1"), None, Some("head-1")].into_iter().enumerate() {
        let got = read_reply(&mut agent, false).await;
        assert_eq!((got.status(), got.header("x-understudy-answered-by")), (200, by), "call {n}");
    }
}

/// It may listen for minutes without a word of its own.
#[tokio::test]
async fn a_websocket_on_which_the_agent_is_silent_is_not_cut() {
    let provider = FakeProvider::echoing().await;
    let mut cfg = config(provider.address);
    cfg.limits.agent_read = Duration::from_millis(50);
    let world = open(cfg);
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    assert_eq!(exchange(&mut agent, UPGRADE).await.status(), 101);
    let heard = tokio::time::timeout(Duration::from_millis(300), agent.read_u8()).await;
    assert!(heard.is_err(), "it was cut: {heard:?}");
    agent.write_all(b"still here").await.unwrap();
    let mut back = [0; 10];
    agent.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"still here");
}

#[tokio::test]
async fn a_websocket_that_breaks_off_was_one() {
    let provider = FakeProvider::echoing().await;
    let mut cfg = config(provider.address);
    cfg.limits.provider_read = Duration::from_millis(200);
    let world = open(cfg);
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    assert_eq!(exchange(&mut agent, UPGRADE).await.status(), 101);
    let mut rest = Vec::new();
    let _ = agent.read_to_end(&mut rest).await;
    assert_eq!(rest, b"", "nothing is said over HTTP any more");
    let kept = world.kept.at_least(1).await;
    assert_eq!((kept[0].meta.status, kept[0].meta.truncation), (101, Truncation::ProviderGone));
}

/// With its length given, a reply is written in few system calls: what was put together
/// goes out all the same.
#[tokio::test]
async fn what_came_before_a_reply_broke_off_is_passed_on() {
    let provider = FakeProvider::start(Arc::new(|_, mut stream| {
        Box::pin(async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n").await.ok()?;
            stream.write_all(&[b'a'; 2000]).await.ok()?;
            // For the gateway to take it as the middle of a reply, not as its end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        })
    }))
    .await;
    let world = open(config(provider.address));
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    agent.write_all(&post("/v1/chat/completions", "{}")).await.unwrap();
    let mut all = Vec::new();
    agent.read_to_end(&mut all).await.unwrap();
    let text = String::from_utf8(all).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a reply's head");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!(header(head, "content-length"), Some("5000"));
    assert_eq!(body, "a".repeat(2000), "what came, no second head, and no end is made up");
    let kept = world.kept.at_least(1).await;
    assert_eq!((kept[0].meta.status, kept[0].meta.truncation), (200, Truncation::ProviderGone));
}
