//! What the gateway costs beside a bare pingora, in one run on one machine.
//!
//! The stand-in provider answers at once with the same bytes. Three ways lead to
//! it: straight, through a stock pingora service whose only phase is
//! `upstream_peer`, and through this gateway with the recorder that is given; a
//! fourth, where it is wanted, through a gateway whose calls are traced. The ways
//! take turns in each round, so that whatever else the machine does falls on all of
//! them; each figure is the median of the rounds. Each proxy has one thread, and so
//! has each side of the load; nothing is pinned to a core.
//!
//! Ratios carry over to other machines, microseconds do not.

mod bare;
mod load;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::{GatewayConfig, GatewayError, Provider, Running, Seams};

/// How long and how hard.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rounds; each figure is the median over them.
    pub rounds: usize,
    /// Calls timed one after another on one connection, each round.
    pub calls: usize,
    /// Connections under load.
    pub connections: usize,
    /// How long the load lasts, each round.
    pub load: Duration,
    /// Bytes of the request's body.
    pub request_bytes: usize,
    /// Bytes of the reply's body.
    pub reply_bytes: usize,
}

impl Default for Options {
    /// The calls of `reference` measurements: 1 KB asked, 600 bytes answered, 32 connections.
    fn default() -> Self {
        Self {
            rounds: 5,
            calls: 3000,
            connections: 32,
            load: Duration::from_secs(2),
            request_bytes: 1024,
            reply_bytes: 600,
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Report {
    /// Straight to the stand-in provider.
    pub direct: Figures,
    /// Through a bare pingora.
    pub bare: Figures,
    /// Through this gateway.
    pub gateway: Figures,
    /// Through one whose calls are traced, where that was wanted.
    pub traced: Option<Figures>,
    /// Rounds behind each median.
    pub rounds: usize,
    /// Connections under load.
    pub connections: usize,
    /// Calls that the gateway carried in this run.
    pub calls: u64,
    /// Of those, the ones that the recorder refused; `None` when there was no recorder.
    pub refused: Option<u64>,
}

/// One way's figures, each the median of the rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Figures {
    /// Median time of a call at one connection, microseconds.
    pub p50_us: f64,
    /// 99th percentile of the same.
    pub p99_us: f64,
    /// Calls a second under load.
    pub calls_per_second: f64,
    /// CPU of the proxy's threads a call under load, microseconds; 0 where it is not known.
    pub cpu_us: f64,
    /// Median time until the first event of a streamed reply, microseconds.
    pub first_us: f64,
    /// CPU of the proxy's threads a stream of 64 events under load, microseconds.
    pub stream_cpu_us: f64,
}

impl Report {
    /// What the gateway adds to a direct call at the median, and at the 99th percentile, microseconds.
    #[must_use]
    pub fn added_us(&self) -> (f64, f64) {
        (self.gateway.p50_us - self.direct.p50_us, self.gateway.p99_us - self.direct.p99_us)
    }

    /// What it adds beyond what a bare pingora adds, likewise.
    #[must_use]
    pub fn beyond_bare_us(&self) -> (f64, f64) {
        (self.gateway.p50_us - self.bare.p50_us, self.gateway.p99_us - self.bare.p99_us)
    }

    /// Its CPU a call, and a stream, as a multiple of a bare pingora's.
    #[must_use]
    pub fn cpu_ratios(&self) -> (f64, f64) {
        (self.gateway.cpu_us / self.bare.cpu_us, self.gateway.stream_cpu_us / self.bare.stream_cpu_us)
    }

    /// Its calls a second as a share of a bare pingora's.
    #[must_use]
    pub fn throughput_ratio(&self) -> f64 {
        self.gateway.calls_per_second / self.bare.calls_per_second
    }
}

/// A gateway whose calls are traced.
#[derive(Debug)]
pub struct Traced {
    /// With the recorder and the observer that trace.
    pub seams: Seams,
    /// How the names of the threads begin that make and send the spans.
    pub threads: Vec<&'static str>,
}

/// Measures. `seams` are those of a gateway as it is run, so that with a journal
/// behind the recorder the figures are with capture on. Blocks for about
/// `rounds × ways × (2 × load + a second)`; `progress` is told how many measurements
/// are done and of how many, between two of them.
///
/// # Errors
/// When one of the servers cannot be started, or the load meets an error.
pub fn run(
    options: &Options,
    seams: Seams,
    traced: Option<Traced>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, GatewayError> {
    let recorded = seams.recorder.is_some();
    let counters = Arc::clone(&seams.counters);
    let provider = load::Provider::start(options.reply_bytes).map_err(GatewayError::Threads)?;
    let bare = bare::Bare::start(provider.address()).map_err(GatewayError::Threads)?;
    let (gateway, gateway_address) = start(provider.address(), seams)?;
    let mut ways = vec![
        Way::new(provider.address(), vec!["provider"]),
        Way::new(bare.address(), vec!["bare"]),
        Way::new(gateway_address, vec!["gateway"]),
    ];
    let mut running = vec![gateway];
    if let Some(Traced { seams, mut threads }) = traced {
        let (gateway, address) = start(provider.address(), seams)?;
        threads.push("gateway");
        ways.push(Way::new(address, threads));
        running.push(gateway);
    }
    let all = (ways.len() * (options.rounds + 1)) as u64;
    let mut done = 0;
    progress(done, all);
    // The first round warms the pools and the caches, and is not counted.
    for round in 0..=options.rounds {
        for way in &mut ways {
            let figures = load::measure(way.address, &way.threads, options).map_err(GatewayError::Threads)?;
            if round > 0 {
                way.rounds.push(figures);
            }
            done += 1;
            progress(done, all);
        }
    }
    for gateway in running {
        gateway.shutdown(Duration::from_secs(5));
    }
    bare.stop();
    let mut figures = ways.iter().map(|way| median(&way.rounds));
    let mut next = || figures.next().unwrap_or_default();
    Ok(Report {
        direct: next(),
        bare: next(),
        gateway: next(),
        traced: figures.next(),
        rounds: options.rounds,
        connections: options.connections,
        calls: counters.calls(),
        refused: recorded.then(|| counters.offers_refused()),
    })
}

/// A way to the provider, with what was measured on it.
struct Way {
    address: SocketAddr,
    /// How the names of its threads begin.
    threads: Vec<&'static str>,
    rounds: Vec<Figures>,
}

impl Way {
    fn new(address: SocketAddr, threads: Vec<&'static str>) -> Self {
        Self { address, threads, rounds: Vec::new() }
    }
}

/// A gateway of one thread before the provider.
fn start(provider: SocketAddr, seams: Seams) -> Result<(Running, SocketAddr), GatewayError> {
    let cfg = GatewayConfig {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        providers: vec![Provider {
            base_url: format!("http://{provider}/v1"),
            http2: false,
            ca_file: None,
            ..Provider::openai()
        }],
        threads: 1,
        ..GatewayConfig::default()
    };
    let gateway = crate::build(cfg, seams)?.start()?;
    let Some(&address) = gateway.addresses().first() else {
        return Err(GatewayError::Threads(std::io::ErrorKind::AddrNotAvailable.into()));
    };
    Ok((gateway, address))
}

fn median(all: &[Figures]) -> Figures {
    let of = |f: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = all.iter().map(f).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Figures {
        p50_us: of(|f| f.p50_us),
        p99_us: of(|f| f.p99_us),
        calls_per_second: of(|f| f.calls_per_second),
        cpu_us: of(|f| f.cpu_us),
        first_us: of(|f| f.first_us),
        stream_cpu_us: of(|f| f.stream_cpu_us),
    }
}
