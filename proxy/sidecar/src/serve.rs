//! The life of the process: configuration before ports, the journal before
//! calls, health before work, and calls in flight to their end.

mod backstage;
pub(crate) mod casting;
mod claimed;
mod elsewhere;
mod flags;
pub(crate) mod lessons;
mod openings;
mod publisher;
pub(crate) mod recording;
mod records;
pub(crate) mod rows;
mod ruling;
mod signals;
mod snapshot;
mod source;
mod teacher;
mod telling;
pub(crate) mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use understudy_gateway::{Counters, Drained, GatewayError, Seams};
use understudy_policy::Roster;

use crate::admin::{self, Guard};
use crate::config::Config;
use crate::console;
use crate::engine_child::{Care, Supervised};
use crate::failure::{Exit, Failure, with_sources};
use crate::metrics::{self, Metrics};
use crate::state::{self, Announced, Running, Serves};
use crate::telemetry::{self, Exporting};
use backstage::Wings;
pub(crate) use claimed::Claimed;
use claimed::only_pass_through;
use openings::Openings;
use publisher::Publisher;
pub(crate) use recording::Recording;
use ruling::Ruling;
pub(crate) use signals::{told_to_end, was_told};
use source::Source;
use teacher::Teacher;
use worker::Worker;

/// `understudy serve`
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Takes calls even where another proxy has the state folder, and records nothing then: as a pod's sidecar, which must not fail
    #[arg(long)]
    pub(crate) go_on: bool,
}

/// Serves until the process is told to end.
///
/// # Errors
/// Whatever keeps calls from flowing. What only keeps them from being recorded
/// or rehearsed is logged, and calls flow.
pub(crate) fn main(config: Config, args: &Serve) -> Result<Exit, Failure> {
    let claimed = Claimed::take(&config.state, args.go_on)?;
    console::runtime()?.block_on(async {
        let end = told_to_end()?;
        let serving = start(config, claimed).await?;
        end.await;
        serving.end().await;
        Ok(Exit::Done)
    })
}

/// Until the proxy ends.
async fn told(mut ending: watch::Receiver<bool>) {
    drop(ending.wait_for(|e| *e).await);
}

/// A proxy that takes calls.
pub(crate) struct Serving {
    running: Running,
    drain: Duration,
    gateway: understudy_gateway::Running,
    metrics: Arc<Metrics>,
    recording: Recording,
    openings: Option<Openings>,
    worker: Option<Worker>,
    engine: Option<Supervised>,
    exporting: Option<Exporting>,
    pages: JoinSet<()>,
    teacher: Option<JoinHandle<()>>,
    end: watch::Sender<bool>,
    announced: Option<Announced>,
}

/// Starts everything, in this order. Without a claim to its state folder it only passes
/// calls through, and nobody finds it: what is there is another's, or cannot be written.
///
/// # Errors
/// Whatever keeps calls from flowing.
pub(crate) async fn start(mut config: Config, claimed: Claimed) -> Result<Serving, Failure> {
    let metrics = Metrics::new();
    let exporting = Exporting::start(&config)?;
    let claim = claimed.or_logged();
    if claim.is_none() {
        only_pass_through(&mut config);
    }
    let outward = exporting.as_ref().map(Exporting::outward);
    let recording = Recording::open(&config, outward.clone());
    // They are of the journal's key.
    let openings = recording.journal().is_ok() && claim.is_some();
    let openings = openings.then(|| Openings::of(&config.state, recording.conversations()));
    let stopped = Arc::new(AtomicBool::new(state::is_stopped(&config.state)));
    let roster = Arc::new(ArcSwap::from_pointee(Roster {
        stopped: state::is_stopped(&config.state),
        ..Roster::default()
    }));
    let counters = Arc::new(Counters::default());

    let cast = casting::cast(&config, &config.state, None)?;
    let counted = outward.clone();
    let seams = Seams {
        recorder: recording.recorder(),
        roster: Arc::clone(&roster),
        responders: {
            let cast = Arc::clone(&cast);
            Arc::new(move |id| cast.find(id))
        },
        hash_key: recording.hash_key(),
        conversations: recording.conversations(),
        counters: Arc::clone(&counters),
        on_call: {
            let metrics = Arc::clone(&metrics);
            let (outward, sample) = (outward.clone(), config.telemetry.sample);
            Arc::new(move |call| {
                let trace = outward.as_ref().and_then(|_| telemetry::sampling::exemplar(call, sample));
                metrics.call(call, trace);
                if let Some(outward) = &outward {
                    outward.tell(telemetry::spans::Told::Call(Box::new(call.clone())));
                }
            })
        },
        trace: outward.as_ref().map(|_| -> understudy_gateway::Trace {
            let sample = config.telemetry.sample;
            Arc::new(move |call, agent: Option<&str>| telemetry::sampling::outgoing(call, agent, sample))
        }),
    };
    let gateway = understudy_gateway::build(config.gateway.clone(), seams).map_err(refused)?;

    let (end, ending) = watch::channel(false);
    let mut pages = JoinSet::new();
    let (admin_listener, admin_address) = bind(config.admin.listen, "the admin API", "admin.listen").await?;
    let metrics_address = if config.metrics.enabled {
        let (listener, address) = bind(config.metrics.listen, "metrics", "metrics.listen").await?;
        let router = metrics::router(Arc::clone(&metrics));
        let told = told(ending.clone());
        pages.spawn(async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(told).await {
                tracing::error!(%error, "the metrics listener ended");
            }
        });
        Some(address)
    } else {
        None
    };

    let engine = engine(&config);
    let publisher = Arc::new(Publisher::new(Arc::clone(&roster), Arc::clone(&stopped)));
    let shown = Arc::default();
    let (source, heard) = Source::of(&config, &publisher, &shown)?.unzip();
    let worker = match recording.journal() {
        Ok(journal) if config.worker.enabled => {
            let (counters, above) = (Arc::clone(&counters), config.worker.pause_above);
            Some(Worker::start(
                &config,
                worker::Given {
                    journal: journal.clone(),
                    cast,
                    key: recording.hash_key(),
                    publisher,
                    ruling: Ruling::new(heard),
                    shown,
                    pause: Arc::new(move || counters.in_flight() > above),
                    outward,
                    training: crate::specialise::Watch::new(&config.state),
                    adapters: crate::specialise::adapters(&config),
                },
            )?)
        }
        _ => None,
    };
    let teacher = worker.as_ref().and_then(|w| Teacher::of(&config, w.shown()));
    let gateway = gateway.start().map_err(refused)?;
    let running = Running {
        pid: std::process::id(),
        gateway: gateway
            .addresses()
            .first()
            .copied()
            .ok_or_else(|| Failure::Failed("nothing listens".into()))?,
        admin: admin_address,
        metrics: metrics_address,
        prefixes: config
            .gateway
            .providers
            .iter()
            .filter_map(|p| Some((p.name.clone(), p.prefixes.first()?.clone())))
            .collect(),
        serves: claim.as_ref().map_or(Serves::OneCommand, |c| c.serves),
    };

    let token = admin::new_token();
    if claim.is_some()
        && let Err(error) = state::write_private(&state::token_file(&config.state), token.as_bytes())
    {
        tracing::error!(%error, "the command line has no token for this proxy; calls flow");
    }
    let wings = Arc::new(Wings::new(
        &config,
        gateway.addresses(),
        &recording,
        engine.as_ref(),
        worker.as_ref(),
        roster,
        stopped,
    ));
    wings.count(&metrics, &counters, counted);
    if let Some(worker) = &worker {
        metrics.read(worker.up());
    }
    let router = admin::router(wings, Guard::new(&token, &config.admin.hosts));
    let teacher = teacher.map(|t| tokio::spawn(t.run(ending.clone())));
    // Where somebody asks it.
    if let Some(address) = config.engine.address.clone().filter(|_| config.worker.enabled) {
        pages.spawn(elsewhere::watch(address, told(ending.clone())));
    }
    if let Some(source) = source {
        pages.spawn(source.run(ending.clone()));
    }
    if let Some(openings) = openings.clone() {
        pages.spawn(openings.run(told(ending.clone())));
    }
    pages.spawn(async move {
        if let Err(error) = admin::serve(admin_listener, router, told(ending)).await {
            tracing::error!(%error, "the admin API ended");
        }
    });

    let announced = claim.map(|c| c.announce(&running));
    metrics.set_ready(true);
    tracing::info!(
        gateway = %running.gateway,
        admin = %running.admin,
        metrics = running.metrics.map(tracing::field::display),
        recording = recording.line(),
        "understudy takes calls"
    );
    Ok(Serving {
        running,
        drain: config.drain,
        gateway,
        metrics,
        recording,
        openings,
        worker,
        engine,
        exporting,
        pages,
        teacher,
        end,
        announced,
    })
}

impl Serving {
    /// Where it is.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Takes no new calls, lets those in flight end, and keeps what was promised. Told
    /// to end once more meanwhile, the process ends at once.
    pub(crate) async fn end(self) {
        let insisting = signals::insist();
        self.metrics.set_ready(false);
        tracing::info!(within_s = self.drain.as_secs(), "calls in flight are brought to their end");
        // Nobody is to find it, nor to have its journal before that is closed.
        let announced = self.announced;
        if let Some(announced) = &announced {
            announced.withdraw();
        }
        let (gateway, drain) = (self.gateway, self.drain);
        match tokio::task::spawn_blocking(move || gateway.shutdown(drain)).await {
            Ok(Drained::Whole) => {}
            Ok(Drained::Cut(n)) => {
                tracing::warn!(connections = n, "the drain's time is over; connections were cut")
            }
            Err(_) => tracing::error!("the gateway could not be drained"),
        }
        self.end.send_replace(true);
        if let Some(teacher) = self.teacher {
            let _ = teacher.await;
        }
        let mut pages = self.pages;
        let _ = tokio::time::timeout(Duration::from_secs(1), async {
            while pages.join_next().await.is_some() {}
        })
        .await;
        let (worker, engine, recording, exporting) =
            (self.worker, self.engine, self.recording, self.exporting);
        let openings = self.openings;
        let _ = tokio::task::spawn_blocking(move || {
            drop(worker);
            drop(engine);
            recording.close();
            if let Some(openings) = openings {
                openings.keep(true);
            }
            drop(announced);
            drop(exporting);
        })
        .await;
        if let Some(insisting) = insisting {
            insisting.abort();
        }
        tracing::info!("the end");
    }
}

/// The engine as our child, where it is to be one and there is a model for it.
fn engine(config: &Config) -> Option<Supervised> {
    if casting::is_off(config) && config.worker.enabled {
        tracing::info!(
            "the engine is off (engine.enabled is false, and there is no engine.address): only remotes rehearse and answer; what others have earned stands, and waits"
        );
    }
    if !config.engine.enabled || config.engine.address.is_some() {
        return None;
    }
    if !config.model.chat.is_dir() && !config.model.embed.is_dir() {
        tracing::warn!(
            chat = %config.model.chat.display(),
            embed = %config.model.embed.display(),
            "there is no small model yet, so nobody rehearses; fetch one with `understudy model pull`"
        );
        return None;
    }
    match Care::of(config).and_then(Supervised::start) {
        Ok(engine) => Some(engine),
        Err(error) => {
            tracing::error!(%error, "the engine cannot be started; calls go to the provider");
            None
        }
    }
}

async fn bind(
    address: Option<SocketAddr>,
    what: &'static str,
    key: &'static str,
) -> Result<(TcpListener, SocketAddr), Failure> {
    let address = address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => Failure::PortTaken { what, address, key },
        _ => Failure::Listen { what, address, source },
    })?;
    let got = listener.local_addr().map_err(|source| Failure::Listen { what, address, source })?;
    Ok((listener, got))
}

fn refused(error: GatewayError) -> Failure {
    match error {
        GatewayError::PortTaken { address } => {
            Failure::PortTaken { what: "the gateway", address, key: "gateway.listen" }
        }
        GatewayError::Listen { address, source } => Failure::Listen { what: "the gateway", address, source },
        other => Failure::Failed(with_sources(&other)),
    }
}
