use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use understudy_call::AnsweredBy;
use understudy_gateway::{GatewayError, Seams};

use crate::support::*;

fn fault(world: &World, whose: &str) -> u64 {
    world.seams.counters.faults().into_iter().find(|(l, _)| *l == whose).unwrap().1
}

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let world = open(config(provider.address));
    for request in [
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\ncOntent-length: 5\r\n\r\n0\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ] {
        assert_eq!(send(world.gateway, request).await.status(), 400, "{request}");
    }
    assert_eq!(provider.calls(), 0);
    let named_alike = "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length-Hint: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(send(world.gateway, named_alike).await.status(), 200);
}

#[tokio::test]
async fn a_path_without_a_provider_says_which_there_are() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let world = open(config(provider.address));
    let got = send(world.gateway, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((got.status(), got.header("x-understudy-fault")), (404, Some("agent")));
    assert!(got.text().contains("/openai/v1, /v1"), "{}", got.text());
    assert_eq!(fault(&world, "agent"), 1);
}

/// A page leads a name of its own to this machine, and is then its own origin here.
#[tokio::test]
async fn a_page_that_leads_its_own_name_here_is_refused() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let world = open(config(provider.address));
    let ask = async |host: &str, more: &str| {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n{more}Content-Length: 2\r\n\r\n{{}}"
        );
        send(world.gateway, head).await
    };
    let page = "evil.example:4141";
    for sign in
        ["Sec-Fetch-Site: same-origin\r\n", "Origin: http://evil.example:4141\r\n", "Origin: null\r\n"]
    {
        let got = ask(page, sign).await;
        assert_eq!((got.status(), got.header("x-understudy-fault")), (421, Some("agent")), "{sign}");
        assert!(got.text().contains("use localhost"), "{}", got.text());
    }
    assert_eq!(provider.calls(), 0);
    for (host, sign) in [
        // An SDK under whatever name the machine has.
        (page, ""),
        // A page from elsewhere, whom the provider's own rules hold back.
        (page, "Origin: http://app.example\r\n"),
        // An agent in a browser.
        ("localhost:4141", "Sec-Fetch-Site: cross-site\r\nOrigin: http://localhost:4141\r\n"),
        ("127.0.0.1:4141", "Sec-Fetch-Site: cross-site\r\n"),
        ("[::1]:4141", "Sec-Fetch-Site: cross-site\r\n"),
        ("api.openai.com", "Sec-Fetch-Site: cross-site\r\n"),
    ] {
        assert_eq!(ask(host, sign).await.status(), 200, "{host} {sign}");
    }
}

#[tokio::test]
async fn a_body_or_head_over_the_limit_is_refused() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let mut cfg = config(provider.address);
    cfg.limits.request_body = 1000;
    cfg.limits.request_head = 2048;
    let world = open(cfg);
    let got = send(world.gateway, post("/v1/chat/completions", "x".repeat(1001))).await;
    assert_eq!(got.status(), 413);
    assert!(
        serde_json::from_slice::<serde_json::Value>(&got.body).unwrap()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("1000 bytes")
    );
    let chunked = format!(
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        1001,
        "x".repeat(1001)
    );
    assert_eq!(send(world.gateway, chunked).await.status(), 413);
    let head = format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(2048));
    assert_eq!(send(world.gateway, head).await.status(), 431);
    assert_eq!(send(world.gateway, post("/v1/chat/completions", "x".repeat(1000))).await.status(), 200);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let mut cfg = config(provider.address);
    cfg.limits.connections = 1;
    let world = open(cfg);
    let mut first = TcpStream::connect(world.gateway).await.unwrap();
    assert_eq!(exchange(&mut first, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await.status(), 200);
    let mut second = TcpStream::connect(world.gateway).await.unwrap();
    let got = read_reply(&mut second, false).await;
    assert_eq!((got.status(), got.header("x-understudy-fault")), (503, Some("understudy")));
    assert_eq!(world.seams.counters.connections_refused(), 1);
}

#[tokio::test]
async fn a_head_that_trickles_too_long_is_cut() {
    let provider = FakeProvider::saying(json_reply("{}")).await;
    let mut cfg = config(provider.address);
    cfg.limits.agent_head = Duration::from_millis(1);
    let world = open(cfg);
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    let (mut read, mut write) = agent.split();
    let trickle = async {
        use tokio::io::AsyncWriteExt;
        while write.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let mut buf = [0; 1];
    let closed = tokio::select! { () = trickle => true, n = read.read(&mut buf) => n.unwrap_or(0) == 0 };
    assert!(closed);
    assert_eq!(provider.calls(), 0);
}

#[tokio::test]
async fn a_provider_that_is_down_is_the_providers_fault() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let world = open(config(gone));
    let got = send(world.gateway, post("/v1/chat/completions", "{}")).await;
    assert_eq!((got.status(), got.header("x-understudy-fault")), (502, Some("provider")));
    let said: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert!(said["error"]["message"].as_str().unwrap().contains("`openai` cannot be reached"), "{said}");
    let kept = world.kept.at_least(1).await;
    assert_eq!((kept[0].meta.status, &kept[0].meta.answered_by), (502, &AnsweredBy::Nobody));
    assert_eq!(fault(&world, "provider"), 1);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_in_time_is_504() {
    let provider = FakeProvider::silent().await;
    let mut cfg = config(provider.address);
    cfg.limits.provider_read = Duration::from_millis(50);
    let world = open(cfg);
    let got = send(world.gateway, post("/v1/chat/completions", "{}")).await;
    assert_eq!((got.status(), got.header("x-understudy-fault")), (504, Some("provider")));
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let provider = FakeProvider::start(Arc::new(|seen, mut stream| {
        Box::pin(async move {
            // The first call of a connection is answered, the next is read and dropped.
            if seen.body == b"first" {
                use tokio::io::AsyncWriteExt;
                stream.write_all(&json_reply("{}")).await.ok()?;
                return Some(stream);
            }
            None
        })
    }))
    .await;
    let world = open(config(provider.address));
    assert_eq!(send(world.gateway, post("/v1/chat/completions", "first")).await.status(), 200);
    assert_eq!(send(world.gateway, post("/v1/chat/completions", "second")).await.status(), 502);
    assert_eq!(provider.calls(), 2);
}

#[tokio::test]
async fn a_taken_port_is_said_before_anything_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut cfg = config(taken.local_addr().unwrap());
    cfg.listen = vec![taken.local_addr().unwrap()];
    let err = understudy_gateway::build(cfg, Seams::pass_through(key())).unwrap_err();
    assert!(matches!(err, GatewayError::PortTaken { .. }));
    assert!(err.to_string().contains("the port is taken"));
}

#[tokio::test]
async fn every_mistake_in_the_configuration_is_said_at_once() {
    let mut cfg = config("127.0.0.1:1".parse().unwrap());
    cfg.providers[0].base_url = "https://10.0.0.1/v1".into();
    cfg.providers.push(cfg.providers[0].clone());
    cfg.providers[1].base_url = "ftp://x".into();
    let err = understudy_gateway::build(cfg, Seams::pass_through(key())).unwrap_err().to_string();
    for part in
        ["needs a host name", "http or https", "two providers have this name", "the prefix is there twice"]
    {
        assert!(err.contains(part), "{err}");
    }
}
