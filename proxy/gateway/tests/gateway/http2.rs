//! Providers over HTTP/2, one of which the tests play frame by frame (RFC 9113).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use understudy_call::Truncation;

use crate::support::*;
use crate::tls::{certified, provider, tls_config};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

/// What is done with a request that has come whole.
#[derive(Clone, Copy)]
enum Act {
    Answer,
    Reset(u32),
    /// No error, and no stream was looked at.
    GoAway,
}

/// A provider that does with the nth request what a test says.
struct Framed {
    address: SocketAddr,
    ca: NamedTempFile,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Framed {
    async fn start(act: fn(usize) -> Act) -> Self {
        let (acceptor, ca) = certified();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, all) = (acceptor.clone(), Arc::clone(&all));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    converse(stream, act, &all).await;
                });
            }
        });
        Self { address, ca, seen }
    }

    fn world(&self) -> World {
        open(tls_config(self.address, Some(&self.ca), true))
    }

    fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// Until the other side closes.
async fn converse(
    mut stream: TlsStream<TcpStream>,
    act: fn(usize) -> Act,
    seen: &Mutex<Vec<Vec<u8>>>,
) -> Option<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.ok()?;
    // Windows of a mebibyte, of each stream (setting 4) and of the connection.
    write_frame(&mut stream, SETTINGS, 0, 0, &[0, 4, 0, 16, 0, 0]).await?;
    write_frame(&mut stream, WINDOW_UPDATE, 0, 0, &[0, 16, 0, 0]).await?;
    let mut body = Vec::new();
    loop {
        let (kind, flags, id, payload) = read_frame(&mut stream).await?;
        if kind == SETTINGS && flags & ACK == 0 {
            write_frame(&mut stream, SETTINGS, ACK, 0, &[]).await?;
        }
        if kind == DATA {
            body.extend(payload);
        }
        if !matches!(kind, DATA | HEADERS) || flags & END_STREAM == 0 {
            continue;
        }
        let n = {
            let mut seen = seen.lock().unwrap();
            seen.push(std::mem::take(&mut body));
            seen.len() - 1
        };
        match act(n) {
            Act::Answer => {
                // `:status: 200` is the eighth of the table that both sides know (RFC 7541, A).
                write_frame(&mut stream, HEADERS, END_HEADERS, id, &[0x88]).await?;
                write_frame(&mut stream, DATA, END_STREAM, id, b"ok").await?;
            }
            Act::Reset(why) => write_frame(&mut stream, RST_STREAM, 0, id, &why.to_be_bytes()).await?,
            Act::GoAway => write_frame(&mut stream, GOAWAY, 0, 0, &[0; 8]).await?,
        }
    }
}

/// Kind, flags, stream, payload.
async fn read_frame(stream: &mut TlsStream<TcpStream>) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, u32::from_be_bytes(id), payload))
}

async fn write_frame(
    stream: &mut TlsStream<TcpStream>,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> Option<()> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame).await.ok()?;
    stream.flush().await.ok()
}

#[tokio::test]
async fn a_call_that_was_refused_unread_goes_out_again_whole() {
    let refusals: [fn(usize) -> Act; 2] = [
        |n| if n == 0 { Act::Reset(REFUSED_STREAM) } else { Act::Answer },
        |n| if n == 0 { Act::GoAway } else { Act::Answer },
    ];
    for act in refusals {
        let provider = Framed::start(act).await;
        let world = provider.world();
        let body = "{\"model\":\"m\",\"messages\":[]}";
        let got = send(world.gateway, post("/v1/chat/completions", body)).await;
        assert_eq!((got.status(), got.text()), (200, "ok"));
        assert_eq!(*provider.seen.lock().unwrap(), [body.as_bytes(), body.as_bytes()]);
        let kept = world.kept.at_least(1).await;
        assert_eq!(kept[0].request.concat(), body.as_bytes(), "it is recorded once");
        assert_eq!(kept[0].meta.sizes.request, body.len() as u64);
        assert_eq!((kept[0].meta.status, kept[0].meta.truncation), (200, Truncation::Whole));
    }
}

#[tokio::test]
async fn a_call_that_may_have_been_read_does_not_go_out_again() {
    let provider = Framed::start(|_| Act::Reset(INTERNAL_ERROR)).await;
    let world = provider.world();
    let got = send(world.gateway, post("/v1/chat/completions", "{}")).await;
    assert_eq!((got.status(), got.header("x-understudy-fault")), (502, Some("provider")));
    assert_eq!(provider.calls(), 1);
}

#[tokio::test]
async fn nor_does_one_that_is_no_longer_held_whole() {
    let provider = Framed::start(|_| Act::Reset(REFUSED_STREAM)).await;
    let world = provider.world();
    let got = send(world.gateway, post("/v1/chat/completions", "x".repeat(70_000))).await;
    assert_eq!((got.status(), got.header("x-understudy-fault")), (502, Some("provider")));
    assert_eq!(provider.calls(), 1);
}

#[tokio::test]
async fn a_provider_that_goes_on_refusing_is_not_pressed() {
    let provider = Framed::start(|_| Act::Reset(REFUSED_STREAM)).await;
    let world = provider.world();
    let got = send(world.gateway, post("/v1/chat/completions", "{}")).await;
    assert_eq!((got.status(), got.header("x-understudy-fault")), (502, Some("provider")));
    assert_eq!(provider.calls(), 4);
}

/// pingora would make chunks of what comes over HTTP/2.
#[tokio::test]
async fn for_an_agent_of_http_1_0_the_provider_is_asked_over_http1() {
    let (at, ca) = provider().await;
    let world = open(tls_config(at, Some(&ca), true));
    let got = send(world.gateway, "GET /v1/models HTTP/1.0\r\nHost: x\r\n\r\n").await;
    assert_eq!((got.status(), got.header("transfer-encoding")), (200, None));
    assert!(!got.text().starts_with("HTTP/2.0") && got.text().contains(" /v1/models"), "{}", got.text());
}

#[tokio::test]
async fn an_agent_that_waits_for_a_100_gets_one() {
    let (at, ca) = provider().await;
    let mut cfg = tls_config(at, Some(&ca), true);
    cfg.limits.agent_read = Duration::from_secs(5);
    let world = open(cfg);
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    let got = exchange(
        &mut agent,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    )
    .await;
    assert_eq!(got.status(), 100);
    agent.write_all(b"{}").await.unwrap();
    let got = read_reply(&mut agent, false).await;
    assert_eq!((got.status(), got.text()), (200, "HTTP/2.0 /v1/chat/completions Some(\"localhost\")"));
}
