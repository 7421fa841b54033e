//! Carries each call through pingora's phases.
//!
//! The idea: an agent that was given this gateway's address in place of its
//! provider's must not be able to tell, but for one thing: some of its calls may
//! be answered by an understudy. So the bytes of a call that passes through are
//! the provider's bytes, and nothing that goes wrong on our side becomes the
//! agent's error: the call goes to the provider.
//!
//! The phases of a call, in `proxy`:
//!
//! 1. *head*: what two readers could take in two ways is refused (`head`); the provider
//!    is found by host or path prefix (`route`); the caller is named by a keyed hash.
//! 2. *answer*: where the roster has a task that serves, of this caller or shared,
//!    the body is read (up to 64 KiB, pingora's retry buffer), the task and its lane
//!    are found, and the understudies are asked in the order of their cost, within
//!    the provider's own time. Whatever they cannot do, the provider does; `counters`
//!    says why.
//! 3. *forward*: request and reply stream through without being held; while several
//!    calls are under way, a request's head and body leave in one segment (`cork`). The
//!    chunks are kept for the journal up to a limit, shared; when the call ends, bodies
//!    of usual size become one block (`tap`).
//! 4. *end*: the call is offered to the recorder, which never waits, and
//!    telemetry is told.
//!
//! What pingora 0.9.1 does that has to be known: an empty SNI turns certificate
//! verification off, `ca_file` replaces the system's roots, a body read early is
//! forwarded only from the retry buffer, a POST is not retried on a connection
//! that the provider has closed (nor, by itself, one that a provider refused unread:
//! `resend` sees to that), a 100 of a provider that speaks HTTP/2 is dropped, what was
//! not flushed is lost when a reply breaks off, and the Date of every reply is
//! replaced (`wire` puts the provider's back).

mod answer;
mod audit;
pub mod bench;
mod call;
mod config;
mod cork;
mod counters;
mod credential;
mod error;
mod fault;
mod head;
mod listen;
mod proxy;
mod repeats;
mod resend;
mod route;
mod seams;
mod standing;
mod tap;
mod upstream;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use pingora_core::server::configuration::ServerConf;

pub use config::{GatewayConfig, Limits, Provider, check_base_url};
pub use counters::{Counters, Fallback, Fault};
pub use error::{ConfigProblem, GatewayError};
pub use listen::{Drained, Running};
pub use seams::{CallSeen, OnCall, Recorded, Recorder, Responders, Seams, Trace, TraceContext};

/// A gateway whose configuration is sound and whose ports are bound.
pub struct Gateway {
    bound: listen::Bound,
    app: proxy::Gateway,
    aside: listen::Own,
    conf: Arc<ServerConf>,
    options: listen::Options,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("addresses", &self.bound.addresses()).finish_non_exhaustive()
    }
}

/// Checks the configuration, reads certificates and binds the ports. No call is
/// taken before [`Gateway::start`].
///
/// # Errors
/// Whatever would keep the gateway from carrying calls, named.
pub fn build(cfg: GatewayConfig, seams: Seams) -> Result<Gateway, GatewayError> {
    let problems = cfg.problems();
    if !problems.is_empty() {
        return Err(GatewayError::Config(problems));
    }
    upstream::system_roots()?;
    let upstreams = cfg
        .providers
        .iter()
        .map(|p| Ok((p, Arc::new(upstream::Upstream::new(p, &cfg.limits)?))))
        .collect::<Result<Vec<_>, GatewayError>>()?;
    let routes = route::Routes::new(upstreams);
    let threads = match cfg.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
        n => n,
    };
    let bound = listen::Bound::new(&cfg.listen, threads)?;
    let options = listen::Options {
        connections: cfg.limits.connections as u64,
        head: cfg.limits.agent_head,
        counters: Arc::clone(&seams.counters),
    };
    let aside = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cfg.ask_threads.max(1))
        .thread_name("gateway-aside")
        .enable_all()
        .build()
        .map_err(GatewayError::Threads)?;
    let conf = Arc::new(ServerConf {
        threads,
        // The pool's size is this times the threads.
        upstream_keepalive_pool_size: cfg.limits.provider_pool.div_ceil(threads),
        ..ServerConf::default()
    });
    let app = proxy::Gateway::new(&cfg, routes, seams, aside.handle().clone());
    Ok(Gateway { bound, app, aside: listen::Own(Some(aside)), conf, options })
}

impl Gateway {
    /// The addresses it will listen on, with the ports it got.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.bound.addresses()
    }

    /// Takes calls from now on, on threads of its own; signals are the caller's matter.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(self) -> Result<Running, GatewayError> {
        let audits = self.app.audits.room();
        self.bound
            .start(self.app, &self.conf, self.options)
            .map(|running| running.with_aside(self.aside, audits))
    }
}
