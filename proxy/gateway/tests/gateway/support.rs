use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use understudy_gateway::{GatewayConfig, Provider, Recorded, Recorder, Running, Seams};
use understudy_tasks::HashKey;

/// A request as the stand-in provider saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|l| {
        let (n, v) = l.split_once(": ")?;
        n.eq_ignore_ascii_case(name).then_some(v)
    })
}

/// Asks for a WebSocket.
pub(crate) const UPGRADE: &str = "GET /v1/realtime?model=m HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Answers one request; what it returns is kept alive for the next.
pub(crate) type Script = Arc<dyn Fn(Seen, TcpStream) -> BoxFuture<'static, Option<TcpStream>> + Send + Sync>;

/// A stand-in provider that writes exactly the bytes a test gives it.
pub(crate) struct FakeProvider {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
}

impl FakeProvider {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, all) = (Arc::clone(&script), Arc::clone(&all));
                tokio::spawn(async move {
                    let mut next = Some(stream);
                    while let Some(mut stream) = next {
                        let Some(request) = read_request(&mut stream).await else { return };
                        all.lock().unwrap().push(request.clone());
                        next = script(request, stream).await;
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// Always the same bytes.
    pub(crate) async fn saying(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Arc<Vec<u8>> = Arc::new(bytes.into());
        Self::start(Arc::new(move |_, mut stream| {
            let bytes = Arc::clone(&bytes);
            Box::pin(async move {
                stream.write_all(&bytes).await.ok()?;
                Some(stream)
            })
        }))
        .await
    }

    /// Takes every call and answers none.
    pub(crate) async fn silent() -> Self {
        Self::start(Arc::new(|_, stream| {
            Box::pin(async move {
                std::future::pending::<()>().await;
                Some(stream)
            })
        }))
        .await
    }

    /// Takes an upgrade to a WebSocket, and says back whatever comes.
    pub(crate) async fn echoing() -> Self {
        Self::start(Arc::new(|_, mut stream| {
            Box::pin(async move {
                stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n").await.ok()?;
                let mut buf = [0; 64];
                loop {
                    let n = stream.read(&mut buf).await.ok()?;
                    if n == 0 {
                        return None;
                    }
                    stream.write_all(&buf[..n]).await.ok()?;
                }
            })
        }))
        .await
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let head = read_head(stream).await?;
    let body = read_body(stream, &head, true).await?;
    Some(Seen { head, body })
}

async fn read_body(stream: &mut TcpStream, head: &str, request: bool) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(n) = header(head, "content-length") {
        body.resize(n.parse().unwrap(), 0);
        stream.read_exact(&mut body).await.ok()?;
    } else if header(head, "transfer-encoding").is_some() {
        loop {
            let chunk = read_chunk(stream).await?;
            if chunk.is_empty() {
                break;
            }
            body.extend(chunk);
        }
    } else if !request {
        stream.read_to_end(&mut body).await.ok()?;
    }
    Some(body)
}

/// One chunk of a chunked body; empty at its end.
pub(crate) async fn read_chunk(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = Vec::new();
    while !size.ends_with(b"\r\n") {
        size.push(stream.read_u8().await.ok()?);
    }
    let n = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
    let mut chunk = vec![0; n + 2];
    stream.read_exact(&mut chunk).await.ok()?;
    chunk.truncate(n);
    Some(chunk)
}

/// A reply as the agent saw it.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Status line and headers as they were spelt, hop-by-hop ones aside, in a fixed order.
    pub(crate) fn end_to_end(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self
            .head
            .lines()
            .filter(|l| {
                let name = l.split(':').next().unwrap().to_ascii_lowercase();
                !["connection", "keep-alive", "transfer-encoding", ""].contains(&name.as_str())
            })
            .collect();
        lines.sort_unstable();
        lines
    }
}

/// Sends raw bytes on a connection of its own and reads the reply.
pub(crate) async fn send(to: SocketAddr, request: impl AsRef<[u8]>) -> Got {
    let mut stream = TcpStream::connect(to).await.unwrap();
    exchange(&mut stream, request).await
}

pub(crate) async fn exchange(stream: &mut TcpStream, request: impl AsRef<[u8]>) -> Got {
    stream.write_all(request.as_ref()).await.unwrap();
    let head_only = request.as_ref().starts_with(b"HEAD");
    read_reply(stream, head_only).await
}

pub(crate) async fn read_reply(stream: &mut TcpStream, head_only: bool) -> Got {
    let head = read_head(stream).await.expect("a reply's head");
    let status = head.split(' ').nth(1).unwrap();
    let body = if head_only || matches!(status, "204" | "304") || status.starts_with('1') {
        Vec::new()
    } else {
        read_body(stream, &head, false).await.expect("the reply's body")
    };
    Got { head, body }
}

pub(crate) fn post(path: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    post_as(path, "Bearer sk-test", body)
}

pub(crate) fn post_as(path: &str, authorization: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

pub(crate) fn json_reply(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Keeps what is offered.
#[derive(Default)]
pub(crate) struct Kept {
    all: Mutex<Vec<Recorded>>,
    more: Notify,
}

impl Recorder for Kept {
    fn offer(&self, call: Recorded) -> bool {
        self.all.lock().unwrap().push(call);
        self.more.notify_waiters();
        true
    }
}

impl Kept {
    /// Waits until so many calls were offered.
    pub(crate) async fn at_least(&self, n: usize) -> Vec<Recorded> {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let all = self.all.lock().unwrap().clone();
            if all.len() >= n {
                return all;
            }
            more.await;
        }
    }
}

pub(crate) struct World {
    pub(crate) gateway: SocketAddr,
    pub(crate) seams: Seams,
    pub(crate) kept: Arc<Kept>,
    pub(crate) running: Option<Running>,
}

pub(crate) fn config(provider: SocketAddr) -> GatewayConfig {
    GatewayConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        providers: vec![Provider {
            base_url: format!("http://{provider}/v1"),
            http2: false,
            ..Provider::openai()
        }],
        threads: 2,
        ..GatewayConfig::default()
    }
}

pub(crate) fn key() -> HashKey {
    HashKey::new([7; 32])
}

pub(crate) fn open(cfg: GatewayConfig) -> World {
    open_with(cfg, |_| {})
}

pub(crate) fn open_with(cfg: GatewayConfig, change: impl FnOnce(&mut Seams)) -> World {
    let kept: Arc<Kept> = Arc::default();
    let mut seams = Seams::pass_through(key());
    seams.recorder = Some(kept.clone());
    change(&mut seams);
    let running = understudy_gateway::build(cfg, seams.clone()).unwrap().start().unwrap();
    World { gateway: running.addresses()[0], seams, kept, running: Some(running) }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown(Duration::from_millis(1));
        }
    }
}
