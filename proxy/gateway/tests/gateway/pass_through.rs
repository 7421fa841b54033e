use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use understudy_call::{AnsweredBy, Dialect, Truncation};
use understudy_gateway::Drained;

use crate::support::*;

#[tokio::test]
async fn the_agent_gets_the_providers_bytes() {
    let replies: [&[u8]; 9] = [
        b"HTTP/1.1 200 OK\r\nDate: Tue, 01 Jan 1999 00:00:00 GMT\r\nServer: cloudflare\r\nX-CaseD-Name: a\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"a\": \"\xc3\xa9\"}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 500 Oh No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\ndate: x\r\nContent-Length: 1\r\n\r\n\xff",
        b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /v1/else?where=1\r\nContent-Length: 0\r\n\r\n",
    ];
    for reply in replies {
        let provider = FakeProvider::saying(reply).await;
        let world = open(config(provider.address));
        let request = post("/v1/chat/completions?x=%20y&z", "{\"model\": \"m\"}");
        let direct = send(provider.address, &request).await;
        let via = send(world.gateway, &request).await;
        assert_eq!(direct.end_to_end(), via.end_to_end(), "{}", String::from_utf8_lossy(reply));
        assert_eq!(direct.body, via.body);
        let [first, second] = &provider.seen.lock().unwrap()[..] else { panic!("two calls") };
        assert_eq!(first.body, second.body);
        assert_eq!(second.target(), "/v1/chat/completions?x=%20y&z");
        assert_eq!(second.header("authorization"), Some("Bearer sk-test"));
        assert_eq!(second.header("host"), Some(provider.address.to_string().as_str()));
        let extra: Vec<&str> = second.head.lines().filter(|l| !first.head.contains(l)).collect();
        assert_eq!(
            extra,
            [format!("Host: {}", provider.address)],
            "nothing is added on the way to the provider"
        );
    }
}

#[tokio::test]
async fn a_connection_carries_one_call_after_another() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let world = open(config(provider.address));
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    for i in 0..5 {
        let got = exchange(&mut agent, post("/v1/chat/completions", format!("{{\"i\":{i}}}"))).await;
        assert_eq!((got.status(), got.text()), (200, "{}"));
    }
    let got = exchange(&mut agent, "HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(got.status(), 200);
    let got = exchange(&mut agent, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(got.text(), "{}");
}

#[tokio::test]
async fn no_chunk_of_a_stream_is_held_back() {
    let go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go);
    let provider = FakeProvider::start(Arc::new(move |_, mut stream| {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await.ok()?;
            for i in 0..20 {
                // The next event is written only once the agent has the one before.
                gate.acquire().await.unwrap().forget();
                let event = format!("data: {{\"i\":{i}}}\n\n");
                stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.ok()?;
            }
            stream.write_all(b"0\r\n\r\n").await.ok()?;
            Some(stream)
        })
    }))
    .await;
    let world = open(config(provider.address));
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    agent.write_all(&post("/v1/chat/completions", "{\"stream\":true}")).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(agent.read_u8().await.unwrap());
    }
    for i in 0..20 {
        go.add_permits(1);
        let chunk = read_chunk(&mut agent).await.unwrap();
        assert_eq!(chunk, format!("data: {{\"i\":{i}}}\n\n").as_bytes());
    }
    assert_eq!(read_chunk(&mut agent).await.unwrap(), b"");
    let kept = world.kept.at_least(1).await;
    let events: String = (0..20).map(|i| format!("data: {{\"i\":{i}}}\n\n")).collect();
    assert_eq!(kept[0].reply.concat(), events.as_bytes());
    assert_eq!(kept[0].reply_content_type, "text/event-stream");
}

#[tokio::test]
async fn uploads_and_unknown_paths_pass_untouched() {
    let provider = FakeProvider::saying(json_reply("{\"id\":\"file-1\"}")).await;
    let world = open(config(provider.address));
    let body: Vec<u8> = (0..3_000_000u32).flat_map(|i| (i ^ (i >> 7)).to_le_bytes()).collect();
    let got = send(world.gateway, post("/v1/files", &body)).await;
    assert_eq!(got.status(), 200);
    assert!(provider.last().body == body);
    // Chunked, of a length that is not said.
    let mut request =
        b"PUT /v1/some/thing/new?a=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(100_000).take(10) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    let got = send(world.gateway, &request).await;
    assert_eq!(got.text(), "{\"id\":\"file-1\"}");
    assert!(provider.last().body == body[..1_000_000]);
    assert_eq!(provider.last().target(), "/v1/some/thing/new?a=1");
    let kept = world.kept.at_least(2).await;
    assert!(
        kept.iter().all(|k| k.meta.dialect == Dialect::Other && k.request.is_empty() && k.reply.is_empty())
    );
    assert_eq!(kept[0].meta.sizes.request, body.len() as u64);
}

#[tokio::test]
async fn a_websocket_goes_through_in_both_directions() {
    let provider = FakeProvider::echoing().await;
    let world = open(config(provider.address));
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    let got = exchange(&mut agent, UPGRADE).await;
    assert_eq!(got.status(), 101);
    let seen = provider.last();
    assert_eq!((seen.header("upgrade"), seen.header("sec-websocket-key")), (Some("websocket"), Some("k")));
    for message in ["hello", "\u{0}\u{1}binary", "bye"] {
        agent.write_all(message.as_bytes()).await.unwrap();
        let mut back = vec![0; message.len()];
        agent.read_exact(&mut back).await.unwrap();
        assert_eq!(back, message.as_bytes());
    }
}

#[tokio::test]
async fn an_upgrade_that_is_no_websocket_is_ignored() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let world = open(config(provider.address));
    let got = send(world.gateway, "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n").await;
    assert_eq!(got.status(), 200);
    assert_eq!((provider.last().header("upgrade"), provider.last().header("connection")), (None, None));
}

#[tokio::test]
async fn a_call_is_recorded_with_its_bytes_and_without_its_key() {
    let mut reply = json_reply("{\"choices\":[]}");
    let head = "HTTP/1.1 200 OK\r\n";
    reply.splice(
        ..head.len(),
        format!("{head}X-Request-Id: req_1\r\nSet-Cookie: secret=1\r\nX-RateLimit-Limit: 9\r\n").bytes(),
    );
    let provider = FakeProvider::saying(reply).await;
    let world = open(config(provider.address));
    let body = "{\"model\":\"m\",\"messages\":[]}";
    send(world.gateway, post("/v1/chat/completions", body)).await;
    let kept = world.kept.at_least(1).await;
    let call = &kept[0];
    assert_eq!(call.request.concat(), body.as_bytes());
    assert_eq!(call.reply.concat(), b"{\"choices\":[]}");
    assert_eq!(call.meta.provider, "openai");
    assert_eq!(call.meta.dialect, Dialect::OpenaiChat);
    assert_eq!(call.meta.answered_by, AnsweredBy::Provider);
    assert_eq!((call.meta.status, call.meta.truncation), (200, Truncation::Whole));
    assert_eq!(call.meta.credential, key().credential("openai", b"Bearer sk-test"));
    assert!(call.meta.timings.first_byte.unwrap() <= call.meta.timings.total.unwrap());
    let names: Vec<&str> = call.meta.headers.iter().map(|(n, _)| n.as_str()).collect();
    assert!(names.contains(&"x-request-id") && names.contains(&"x-ratelimit-limit"));
    assert!(!format!("{call:?}").contains("secret=1") && !format!("{call:?}").contains("sk-test"));
}

#[tokio::test]
async fn a_provider_that_breaks_off_is_the_agents_broken_reply_and_a_cut_record() {
    let provider = FakeProvider::start(Arc::new(|_, mut stream| {
        Box::pin(async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await.ok()?;
            None
        })
    }))
    .await;
    let world = open(config(provider.address));
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    agent.write_all(&post("/v1/chat/completions", "{}")).await.unwrap();
    let mut all = Vec::new();
    let _ = agent.read_to_end(&mut all).await;
    assert!(all.ends_with(b"3\r\nabc\r\n"), "what came is passed on, and no end is made up");
    let kept = world.kept.at_least(1).await;
    assert_eq!(kept[0].meta.truncation, Truncation::ProviderGone);
}

#[tokio::test]
async fn a_call_under_way_ends_before_the_gateway_does() {
    let (go, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (gate, here) = (Arc::clone(&go), Arc::clone(&arrived));
    let provider = FakeProvider::start(Arc::new(move |_, mut stream| {
        let (gate, here) = (Arc::clone(&gate), Arc::clone(&here));
        Box::pin(async move {
            here.add_permits(1);
            gate.acquire().await.unwrap().forget();
            stream.write_all(&json_reply("{\"late\":1}")).await.ok()?;
            Some(stream)
        })
    }))
    .await;
    let mut world = open(config(provider.address));
    let mut idle = TcpStream::connect(world.gateway).await.unwrap();
    let at = world.gateway;
    let call = tokio::spawn(async move { send(at, post("/v1/chat/completions", "{}")).await });
    arrived.acquire().await.unwrap().forget();
    let running = world.running.take().unwrap();
    let drained = tokio::task::spawn_blocking(move || running.shutdown(Duration::from_secs(60)));
    // The connection that waits for nothing is closed; the call is not.
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    go.add_permits(1);
    assert_eq!(call.await.unwrap().text(), "{\"late\":1}");
    assert_eq!(drained.await.unwrap(), Drained::Whole);
    assert!(TcpStream::connect(at).await.is_err());
}

/// What a provider streams whose last bytes keep the agent waiting: its reply up to
/// `until`, and no more before the gateway has let go of it.
async fn streaming(head: &'static str, until: &'static str) -> FakeProvider {
    FakeProvider::start(Arc::new(move |_, mut stream| {
        Box::pin(async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{head}Transfer-Encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            for event in [CHUNK, until] {
                stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.ok()?;
            }
            while stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {}
            None
        })
    }))
    .await
}

const CHUNK: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n";

/// Some clients close as soon as they have read `[DONE]`.
#[tokio::test]
async fn an_agent_that_closes_at_the_end_of_a_stream_has_had_a_whole_answer() {
    for (head, until, whole) in [
        ("", "data: [DONE]\n\n", true),
        ("", "data: {\"choices\":[]}\n\n", false),
        // Nobody has looked into what is compressed.
        ("Content-Encoding: gzip\r\n", "data: [DONE]\n\n", false),
    ] {
        let provider = streaming(head, until).await;
        let errors: Arc<Mutex<Vec<Option<&str>>>> = Arc::default();
        let all = Arc::clone(&errors);
        let world = open_with(config(provider.address), |seams| {
            seams.on_call = Arc::new(move |call| all.lock().unwrap().push(call.error));
        });
        let mut agent = TcpStream::connect(world.gateway).await.unwrap();
        agent.write_all(&post("/v1/chat/completions", "{\"stream\":true}")).await.unwrap();
        let mut had = Vec::new();
        while !had.ends_with(until.as_bytes()) {
            had.push(agent.read_u8().await.unwrap());
        }
        drop(agent);
        let kept = world.kept.at_least(1).await;
        let (meta, error) = (&kept[0].meta, errors.lock().unwrap()[0]);
        if whole {
            let bytes = kept[0].reply.concat();
            let reply =
                understudy_dialect::parse_reply(Dialect::OpenaiChat, 200, "text/event-stream", &bytes);
            assert!(reply.unwrap().is_whole());
            assert_eq!((&meta.answered_by, meta.truncation), (&AnsweredBy::Provider, Truncation::Whole));
            assert_eq!(error, None);
        } else {
            assert_eq!((&meta.answered_by, meta.truncation), (&AnsweredBy::Nobody, Truncation::ClientGone));
            assert_eq!(error, Some("client_gone"), "{head}{until}");
        }
    }
}

#[tokio::test]
async fn a_conversation_that_the_agent_names_is_known_by_its_key_though_nobody_read_the_call() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let world = open(config(provider.address));
    let body = "{\"model\":\"m\",\"messages\":[]}";
    let usual = String::from_utf8(post("/v1/chat/completions", body)).unwrap();
    for name in ["X-Understudy-Conversation: errand-1\r\n", "X-Other: errand-1\r\n"] {
        let request = usual.replacen("\r\n", &format!("\r\n{name}"), 1);
        assert_eq!(send(world.gateway, request).await.status(), 200);
    }
    let kept = world.kept.at_least(2).await;
    let request = understudy_dialect::parse_request(Dialect::OpenaiChat, body.as_bytes()).unwrap();
    let form = understudy_tasks::fingerprint(Dialect::OpenaiChat, &request);
    // As the journal's writer names it.
    let named = world.seams.conversations.of(kept[0].meta.credential, form, Some("errand-1"), &request);
    assert_eq!(kept[0].meta.conversation, Some(named.conversation));
    assert_eq!((kept[0].meta.form, kept[1].meta.conversation), (None, None));
}
