//! Sockets and threads. Each thread has a runtime of its own, without work
//! stealing; the first accepts connections and hands them round.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pingora_core::apps::ServerApp;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, ProxyHttp, http_proxy};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, watch};

use crate::wire::Wire;
use crate::{Counters, GatewayError, cork};

/// Connections that wait to be accepted, as long as the kernel's own limit allows.
const BACKLOG: u32 = 4096;

/// For the agent to hear that it is one connection too many.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\nx-understudy-fault: understudy\r\n\r\n";

/// Sockets that are bound and threads that are ready, before any call is taken.
pub(crate) struct Bound {
    runtimes: Vec<Own>,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Bound {
    pub(crate) fn new(addresses: &[SocketAddr], threads: usize) -> Result<Self, GatewayError> {
        let mut runtimes = Vec::new();
        for _ in 0..threads.max(1) {
            let runtime =
                Builder::new_current_thread().enable_all().build().map_err(GatewayError::Threads)?;
            runtimes.push(Own(Some(runtime)));
        }
        let mut listeners = Vec::new();
        if let Some(first) = runtimes.first().and_then(Own::handle) {
            let _inside = first.enter();
            for address in addresses {
                listeners.push(bind(*address)?);
            }
        }
        let addresses = listeners
            .iter()
            .zip(addresses)
            .map(|(l, wanted)| {
                l.local_addr().map_err(|source| GatewayError::Listen { address: *wanted, source })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { runtimes, listeners, addresses })
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(crate) fn start<P>(
        self,
        app: P,
        conf: &Arc<ServerConf>,
        options: Options,
    ) -> Result<Running, GatewayError>
    where
        P: ProxyHttp + Send + Sync + 'static,
        P::CTX: Send + Sync,
    {
        let app = Arc::new(http_proxy(conf, app));
        let (stop, stopping) = watch::channel(false);
        let (halt, halted) = watch::channel(false);
        let handles: Vec<Handle> = self.runtimes.iter().filter_map(Own::handle).collect();
        if let Some(first) = handles.first() {
            for listener in self.listeners {
                let accept = Accept {
                    app: Arc::clone(&app),
                    handles: handles.clone(),
                    stopping: stopping.clone(),
                    options: options.clone(),
                };
                first.spawn(accept.run(listener));
            }
        }
        let mut threads = Vec::new();
        for (i, mut own) in self.runtimes.into_iter().enumerate() {
            let Some(runtime) = own.0.take() else { continue };
            let mut halted = halted.clone();
            let thread = std::thread::Builder::new()
                .name(format!("gateway-{i}"))
                .spawn(move || {
                    runtime.block_on(async move {
                        let _ = halted.wait_for(|h| *h).await;
                    });
                    runtime.shutdown_timeout(Duration::from_millis(100));
                })
                .map_err(GatewayError::Threads)?;
            threads.push(thread);
        }
        let idle = handles.first().cloned().map(|on| {
            let app = Arc::clone(&app);
            Box::new(move || {
                on.spawn(async move { app.cleanup().await });
            }) as Box<dyn FnOnce() + Send>
        });
        Ok(Running {
            addresses: self.addresses,
            stop,
            halt,
            idle,
            threads,
            counters: options.counters,
            aside: None,
        })
    }
}

/// What each connection is held to.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) connections: u64,
    pub(crate) head: Duration,
    pub(crate) counters: Arc<Counters>,
}

/// A gateway that takes calls.
pub struct Running {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    halt: watch::Sender<bool>,
    idle: Option<Box<dyn FnOnce() + Send>>,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
    aside: Option<Aside>,
}

/// A runtime that may be dropped anywhere, on another runtime's thread too.
pub(crate) struct Own(pub(crate) Option<Runtime>);

impl Own {
    pub(crate) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|r| r.handle().clone())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The threads beside the calls, and the audits under way on them.
struct Aside {
    #[expect(dead_code, reason = "kept for its drop, which ends what is still asked")]
    runtime: Own,
    room: Arc<Semaphore>,
    most: usize,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// How the last connections ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Each call under way came to its end.
    Whole,
    /// So many connections were cut at the deadline.
    Cut(u64),
}

impl Running {
    pub(crate) fn with_aside(mut self, runtime: Own, (room, most): (Arc<Semaphore>, usize)) -> Self {
        self.aside = Some(Aside { runtime, room, most });
        self
    }

    /// The addresses it listens on, with the ports it got.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes no new connection, lets the calls under way end, and cuts what is
    /// left at the deadline. Blocks until the threads have ended.
    pub fn shutdown(mut self, deadline: Duration) -> Drained {
        let until = Instant::now() + deadline;
        self.stop.send_replace(true);
        if let Some(idle) = self.idle.take() {
            idle();
        }
        let audits =
            |aside: &Option<Aside>| aside.as_ref().is_some_and(|a| a.room.available_permits() < a.most);
        while (self.counters.connections() > 0 || audits(&self.aside)) && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let left = self.counters.connections();
        self.end();
        if left == 0 { Drained::Whole } else { Drained::Cut(left) }
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        self.halt.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a gateway thread panicked");
            }
        }
        drop(self.aside.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

struct Accept<P> {
    app: Arc<HttpProxy<P>>,
    handles: Vec<Handle>,
    stopping: watch::Receiver<bool>,
    options: Options,
}

impl<P> Accept<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn run(self, listener: TcpListener) {
        let mut stopping = self.stopping.clone();
        let mut turn = 0usize;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stopping.wait_for(|s| *s) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    turn = turn.wrapping_add(1);
                    self.take(stream, turn);
                }
                Err(e) => {
                    // Out of descriptors, usually: wait for some to be closed.
                    tracing::warn!(error = %e, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, turn: usize) {
        if !self.options.counters.try_connect(self.options.connections) {
            self.options.counters.add_connection_refused();
            let _ = stream.try_write(FULL);
            return;
        }
        let open = Open(Arc::clone(&self.options.counters));
        let Some(handle) = turn.checked_rem(self.handles.len()).and_then(|i| self.handles.get(i)) else {
            return;
        };
        // Leaves this thread's reactor for the one that will carry the connection.
        let Ok(stream) = stream.into_std() else { return };
        let (app, stopping, head) = (Arc::clone(&self.app), self.stopping.clone(), self.options.head);
        handle.spawn(cork::letting_go(async move {
            let _open = open;
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            if stream.set_nodelay(true).is_err() {
                return;
            }
            let mut next: Option<pingora_core::protocols::Stream> = Some(Box::new(Wire::new(stream, head)));
            while let Some(stream) = next {
                next = app.process_new(stream, &stopping).await;
            }
        }));
    }
}

/// Counts a connection out when it ends, however it ends.
struct Open(Arc<Counters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.disconnect();
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, GatewayError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => GatewayError::PortTaken { address },
        _ => GatewayError::Listen { address, source },
    })
}
