//! The agent's connection, between pingora and the socket. It does three things
//! that pingora has no hook for:
//!
//! - small writes are put together until pingora flushes, so that a reply's head
//!   and body leave in one system call;
//! - pingora replaces the Date of every reply by its own; the provider's is put
//!   back, and none is added where the provider sent none;
//! - a request's head must be there within a limit from its first byte, however
//!   slowly the bytes trickle.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::protocols::l4::stream::Stream as Tcp;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes put together before they are written without a flush: a reply's head
/// with a usual body, or a few events of a stream.
const TOGETHER: usize = 16 << 10;

#[derive(Debug)]
pub(crate) struct Wire {
    tcp: Tcp,
    out: Vec<u8>,
    sent: usize,
    head_limit: Duration,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    reading: Reading,
    date: Date,
}

#[derive(Debug)]
enum Reading {
    Idle,
    Head(Instant),
    Rest,
}

/// What the next head that is written must say.
#[derive(Debug)]
enum Date {
    AsWritten,
    /// The provider's line, without its end.
    Keep(Vec<u8>),
    Leave,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, head_limit: Duration) -> Self {
        Self {
            tcp: Tcp::from(stream),
            out: Vec::new(),
            sent: 0,
            head_limit,
            shared: Mutex::new(Shared { reading: Reading::Idle, date: Date::AsWritten }),
        }
    }

    /// A request's head was read whole.
    pub(crate) fn head_done(&self) {
        self.shared().reading = Reading::Rest;
    }

    /// A reply ended; what comes next is a new request.
    pub(crate) fn reply_done(&self) {
        *self.shared() = Shared { reading: Reading::Idle, date: Date::AsWritten };
    }

    /// The next head carries the provider's Date, or none.
    pub(crate) fn date(&self, provider: Option<Vec<u8>>) {
        self.shared().date = provider.map_or(Date::Leave, Date::Keep);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_read(&self) -> io::Result<()> {
        let mut shared = self.shared();
        match shared.reading {
            Reading::Idle => shared.reading = Reading::Head(Instant::now()),
            Reading::Head(since) if since.elapsed() > self.head_limit => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head took too long"));
            }
            Reading::Head(_) | Reading::Rest => {}
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        if bytes.starts_with(b"HTTP/1.") {
            let date = std::mem::replace(&mut self.shared().date, Date::AsWritten);
            match date {
                Date::AsWritten => {}
                Date::Keep(line) => return put_head(&mut self.out, bytes, Some(&line)),
                Date::Leave => return put_head(&mut self.out, bytes, None),
            }
        }
        self.out.extend_from_slice(bytes);
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let n = ready!(Pin::new(&mut self.tcp).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.sent = 0;
        if self.out.capacity() > TOGETHER * 2 {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Poll::Ready(Ok(()))
    }
}

/// Copies a reply's head with another line for its Date, or without one.
fn put_head(out: &mut Vec<u8>, head: &[u8], date: Option<&[u8]>) {
    let mut rest = head;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let (line, after) = rest.split_at(end + 1);
        rest = after;
        let is_date = line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"date:"));
        match (is_date, date) {
            (false, _) => out.extend_from_slice(line),
            (true, Some(theirs)) => {
                out.extend_from_slice(theirs);
                out.extend_from_slice(b"\r\n");
            }
            (true, None) => {}
        }
        if line == b"\r\n" || is_date {
            break;
        }
    }
    out.extend_from_slice(rest);
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.note_read()?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.out.len() + buf.len() > TOGETHER && !self.out.is_empty() {
            ready!(self.poll_out(cx))?;
        }
        if buf.len() > TOGETHER && !buf.starts_with(b"HTTP/1.") {
            return Pin::new(&mut self.tcp).poll_write(cx, buf);
        }
        self.put(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut self.tcp).await;
    }
}

impl UniqueID for Wire {
    fn id(&self) -> UniqueIDType {
        self.tcp.id()
    }
}

impl Ssl for Wire {}

impl GetTimingDigest for Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.tcp.get_timing_digest()
    }
}

impl GetProxyDigest for Wire {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

#[async_trait]
impl Peek for Wire {}

#[cfg(test)]
mod tests {
    use super::put_head;

    fn put(head: &str, date: Option<&str>) -> String {
        let mut out = Vec::new();
        put_head(&mut out, head.as_bytes(), date.map(str::as_bytes));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_providers_date_is_put_back_in_its_place_and_spelling() {
        let head = "HTTP/1.1 200 OK\r\nX: date: 1\r\nDate: Tue\r\nB: c\r\n\r\n";
        assert_eq!(
            put(head, Some("dAte: Mon")),
            "HTTP/1.1 200 OK\r\nX: date: 1\r\ndAte: Mon\r\nB: c\r\n\r\n"
        );
        assert_eq!(put(head, None), "HTTP/1.1 200 OK\r\nX: date: 1\r\nB: c\r\n\r\n");
    }

    #[test]
    fn a_head_without_a_date_stays_as_it_is() {
        let head = "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n";
        assert_eq!(put(head, Some("date: Mon")), head);
    }
}
