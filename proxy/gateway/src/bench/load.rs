use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Figures, Options};

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
        let body = "r".repeat(reply_bytes);
        let reply = format!(
            "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 00:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: {reply_bytes}\r\n\r\n{body}"
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("provider-0".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let reply: std::sync::Arc<[u8]> = reply.into_bytes().into();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, std::sync::Arc::clone(&reply)));
                }
            });
        })?;
        Ok(Self { address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn answer(mut stream: tokio::net::TcpStream, reply: std::sync::Arc<[u8]>) {
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
        have.drain(..wanted);
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
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

fn request(options: &Options) -> Vec<u8> {
    let mut out = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-bench\r\nContent-Type: application/json\r\nUser-Agent: understudy-bench\r\nAccept: application/json\r\nContent-Length: {}\r\n\r\n",
        options.request_bytes
    )
    .into_bytes();
    out.resize(out.len() + options.request_bytes, b'q');
    out
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

/// One round of one way. `threads` begins the names of the proxy's threads.
pub(super) fn measure(address: SocketAddr, threads: &str, options: &Options) -> io::Result<Figures> {
    let request = request(options);
    let mut times = one_connection(address, &request, options.calls)?;
    times.sort_unstable();
    let at = |q: f64| {
        let i = ((times.len() as f64 - 1.0) * q).round() as usize;
        times.get(i).map_or(0.0, |t| t.as_secs_f64() * 1e6)
    };
    let busy = cpu_of(threads);
    let (calls, took) = under_load(address, &request, options)?;
    let busy = cpu_of(threads).saturating_sub(busy);
    Ok(Figures {
        p50_us: at(0.5),
        p99_us: at(0.99),
        calls_per_second: calls as f64 / took.as_secs_f64(),
        cpu_us: busy.as_secs_f64() * 1e6 / calls.max(1) as f64,
    })
}

fn one_connection(address: SocketAddr, request: &[u8], calls: usize) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut buf = vec![0; 64 << 10];
    let mut times = Vec::with_capacity(calls);
    let warm = calls / 10;
    for i in 0..calls + warm {
        let began = Instant::now();
        stream.write_all(request)?;
        let mut have = 0;
        loop {
            let room = buf.get_mut(have..).unwrap_or_default();
            let n = stream.read(room)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            have += n;
            if message_len(buf.get(..have).unwrap_or_default()).is_some_and(|n| n <= have) {
                break;
            }
        }
        if !buf.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other("a call of the bench was not answered with 200"));
        }
        if i >= warm {
            times.push(began.elapsed());
        }
    }
    Ok(times)
}

fn under_load(address: SocketAddr, request: &[u8], options: &Options) -> io::Result<(u64, Duration)> {
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
                    while message_len(&have).is_none_or(|n| n > have.len()) {
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

/// Time on a core of this process's threads whose name begins so (Linux: `schedstat`).
fn cpu_of(threads: &str) -> Duration {
    let Ok(all) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let nanos = all
        .flatten()
        .filter(|t| {
            std::fs::read_to_string(t.path().join("comm")).is_ok_and(|name| name.starts_with(threads))
        })
        .filter_map(|t| {
            let stat = std::fs::read_to_string(t.path().join("schedstat")).ok()?;
            stat.split(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    Duration::from_nanos(nanos)
}
