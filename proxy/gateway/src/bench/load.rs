use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Figures, Options};

/// Events of a streamed reply.
const CHUNKS: usize = 64;
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
/// What a call accepts says whether it is streamed.
const WHOLE: &[u8] = b"Accept: application/json";
const STREAM: &[u8] = b"Accept: text/event-stream";

/// A stand-in provider that answers at once, on a thread of its own.
pub(super) struct Provider {
    address: SocketAddr,
}

impl Provider {
    /// Runs until the process ends.
    pub(super) fn start(reply_bytes: usize) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let body = padded(
            r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":""#,
            r#""},"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":90,"total_tokens":290}}"#,
            reply_bytes,
        );
        let reply_bytes = body.len();
        let plain = format!(
            "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 00:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: {reply_bytes}\r\n\r\n{body}"
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("provider-0".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let plain: Arc<[u8]> = plain.into_bytes().into();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, Arc::clone(&plain)));
                }
            });
        })?;
        Ok(Self { address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn answer(mut stream: tokio::net::TcpStream, reply: Arc<[u8]>) {
    let _ = stream.set_nodelay(true);
    let mut have = Vec::with_capacity(4096);
    loop {
        let wanted = loop {
            if let Some(n) = message_len(&have).filter(|n| *n <= have.len()) {
                break n;
            }
            match stream.read_buf(&mut have).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let streamed = have.get(..wanted).is_some_and(|r| find(r, STREAM).is_some());
        have.drain(..wanted);
        let sent = if streamed { write_stream(&mut stream).await } else { stream.write_all(&reply).await };
        if sent.is_err() {
            return;
        }
    }
}

/// A streamed reply, one event a write, as a provider sends them.
async fn write_stream(stream: &mut tokio::net::TcpStream) -> io::Result<()> {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 00:00:00 GMT\r\n\
        Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "w".repeat(24));
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    stream.write_all(HEAD).await?;
    for _ in 0..CHUNKS {
        stream.write_all(chunk.as_bytes()).await?;
        tokio::task::yield_now().await;
    }
    stream.write_all(b"0\r\n\r\n").await
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// Bytes of the message at the front, head and body, once its head is whole.
fn message_len(bytes: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let head_end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = bytes.get(..head_end)?;
    let body = head
        .split(|b| *b == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|n| n.eq_ignore_ascii_case(NAME)))
        .and_then(|line| std::str::from_utf8(line.get(NAME.len()..)?).ok()?.trim().parse::<usize>().ok())
        .unwrap_or(0);
    Some(head_end + body)
}

fn request(options: &Options, accept: &[u8]) -> Vec<u8> {
    let accept = String::from_utf8_lossy(accept);
    // A call as agents make them, so that capture has its work to do.
    let body = padded(
        r#"{"model":"bench","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":""#,
        r#""}]}"#,
        options.request_bytes,
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-bench\r\nContent-Type: application/json\r\nUser-Agent: understudy-bench\r\n{accept}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Words between two texts, so that the whole has at least this many bytes.
fn padded(before: &str, after: &str, bytes: usize) -> String {
    let room = bytes.saturating_sub(before.len() + after.len());
    let words = "where is my parcel ".repeat(room / 19 + 1);
    format!("{before}{}{after}", words.get(..room).unwrap_or_default())
}

/// Waits until somebody listens.
pub(super) fn wait_for(address: SocketAddr) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(address) {
            Ok(_) => return Ok(()),
            Err(e) if Instant::now() > until => return Err(e),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// One round of one way. `threads` begin the names of the proxy's threads.
pub(super) fn measure(address: SocketAddr, threads: &[&str], options: &Options) -> io::Result<Figures> {
    let whole = request(options, WHOLE);
    let mut times = one_connection(address, &whole, options.calls, message_len)?;
    times.sort_unstable();
    let (calls, took, busy) = loaded(address, &whole, threads, options, message_len)?;
    let streamed = request(options, STREAM);
    let mut firsts = one_connection(address, &streamed, options.calls / 10, stream_len)?;
    firsts.sort_unstable();
    let (streams, _, stream_busy) = loaded(address, &streamed, threads, options, stream_len)?;
    Ok(Figures {
        p50_us: at(&times, 0.5),
        p99_us: at(&times, 0.99),
        calls_per_second: calls as f64 / took.as_secs_f64(),
        cpu_us: busy.as_secs_f64() * 1e6 / calls.max(1) as f64,
        first_us: at(&firsts, 0.5),
        stream_cpu_us: stream_busy.as_secs_f64() * 1e6 / streams.max(1) as f64,
    })
}

/// A percentile in microseconds.
fn at(sorted: &[Duration], q: f64) -> f64 {
    let i = ((sorted.len() as f64 - 1.0) * q).round() as usize;
    sorted.get(i).map_or(0.0, |t| t.as_secs_f64() * 1e6)
}

/// Calls under load, how long it took, and the proxy's time on a core meanwhile.
fn loaded(
    address: SocketAddr,
    request: &[u8],
    threads: &[&str],
    options: &Options,
    len: Length,
) -> io::Result<(u64, Duration, Duration)> {
    let before = cpu_of(threads);
    let (calls, took) = under_load(address, request, options, len)?;
    Ok((calls, took, cpu_of(threads).saturating_sub(before)))
}

/// Where a message ends, once that can be seen.
type Length = fn(&[u8]) -> Option<usize>;

/// The same of a streamed reply.
fn stream_len(bytes: &[u8]) -> Option<usize> {
    find(bytes.get(bytes.len().saturating_sub(64)..)?, LAST_CHUNK).map(|_| bytes.len())
}

/// Times calls one after another: until the reply is whole, of a stream until
/// its first event.
fn one_connection(
    address: SocketAddr,
    request: &[u8],
    calls: usize,
    len: Length,
) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut buf = vec![0; 64 << 10];
    let mut times = Vec::with_capacity(calls);
    let warm = calls / 10;
    for i in 0..calls + warm {
        let began = Instant::now();
        stream.write_all(request)?;
        let mut have = 0;
        let mut first = None;
        loop {
            let room = buf.get_mut(have..).unwrap_or_default();
            let n = stream.read(room)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            have += n;
            let seen = buf.get(..have).unwrap_or_default();
            if first.is_none() && find(seen, b"data: ").is_some() {
                first = Some(began.elapsed());
            }
            if len(seen).is_some_and(|n| n <= have) {
                break;
            }
        }
        if !buf.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other("a call of the bench was not answered with 200"));
        }
        if i >= warm {
            times.push(first.unwrap_or_else(|| began.elapsed()));
        }
    }
    Ok(times)
}

fn under_load(
    address: SocketAddr,
    request: &[u8],
    options: &Options,
    len: Length,
) -> io::Result<(u64, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let began = Instant::now();
        let until = began + options.load;
        let mut tasks: tokio::task::JoinSet<io::Result<u64>> = tokio::task::JoinSet::new();
        for _ in 0..options.connections {
            let request = request.to_vec();
            tasks.spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (mut calls, mut have) = (0u64, Vec::with_capacity(8192));
                while Instant::now() < until {
                    stream.write_all(&request).await?;
                    have.clear();
                    while len(&have).is_none_or(|n| n > have.len()) {
                        if stream.read_buf(&mut have).await? == 0 {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                    }
                    calls += 1;
                }
                Ok(calls)
            });
        }
        let mut calls = 0;
        while let Some(done) = tasks.join_next().await {
            calls += done.map_err(io::Error::other)??;
        }
        Ok((calls, began.elapsed()))
    })
}

/// Time on a core of this process's threads whose name begins in one of these ways
/// (Linux: `schedstat`).
fn cpu_of(threads: &[&str]) -> Duration {
    let Ok(all) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let nanos = all
        .flatten()
        .filter(|t| {
            std::fs::read_to_string(t.path().join("comm"))
                .is_ok_and(|name| threads.iter().any(|begins| name.starts_with(begins)))
        })
        .filter_map(|t| {
            let stat = std::fs::read_to_string(t.path().join("schedstat")).ok()?;
            stat.split(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    Duration::from_nanos(nanos)
}
