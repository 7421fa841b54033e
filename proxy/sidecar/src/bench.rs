//! `understudy bench`: what the proxy adds to a call, side by side with a bare
//! pingora in one run, with the journal writing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use understudy_gateway::Seams;
use understudy_gateway::bench::{Figures, Options, Report, Traced, run};

use crate::config::Config;
use crate::console::Out;
use crate::failure::{Exit, Failure, with_sources};
use crate::serve::Recording;
use crate::tables;
use crate::telemetry::spans::Told;
use crate::telemetry::{Exporting, sampling};

/// `understudy bench`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds of load, each round
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Rounds; each figure is the median over them
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections under load
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Also with every call traced, over OTLP to a collector that throws it away
    #[arg(long)]
    traced: bool,
}

/// Measures, with a journal and a key in a folder of their own.
///
/// # Errors
/// When a server of the bench cannot be started.
pub(crate) fn main(config: &Config, args: &Args, out: &Out) -> Result<Exit, Failure> {
    let folder =
        tempfile::tempdir().map_err(|source| Failure::File { path: std::env::temp_dir(), source })?;
    let mut own = config.clone();
    own.key_file = folder.path().join("key");
    own.capture.journal.dir = folder.path().join("journal");
    let tracing = args.traced.then(|| Tracing::start(&own, &folder.path().join("traced"))).transpose()?;
    let recording = Recording::open(&own, None);
    let recorded = recording.line();
    let seams = Seams { recorder: recording.recorder(), ..Seams::pass_through(recording.hash_key()) };
    let options = Options {
        rounds: args.rounds,
        connections: args.connections,
        load: Duration::from_secs(args.seconds),
        ..Options::default()
    };
    let traced = tracing.as_ref().map(Tracing::traced);
    // Drawn between two measurements and by no thread of its own, so that it costs none of them.
    let bar = out.bar(0, "{bar:32} {pos}/{len} measurements, {elapsed} so far, {eta} left");
    let report = run(&options, seams, traced, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.map_err(|e| Failure::Failed(with_sources(&e)))?;
    recording.close();
    let untold = tracing.map(Tracing::end);
    out.show(&report, |r| table(r, &recorded, untold))
}

/// What a second gateway needs whose calls are traced, and where they go.
struct Tracing {
    exporting: Exporting,
    recording: Recording,
    // The collector lives as long as it.
    runtime: Runtime,
}

impl Tracing {
    fn start(config: &Config, journal: &Path) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::Failed(format!("the bench's collector: {e}"));
        let mut build = Builder::new_multi_thread();
        let runtime =
            build.worker_threads(1).thread_name("collector").enable_all().build().map_err(failed)?;
        let collector = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(failed)?;
        let address = collector.local_addr().map_err(failed)?;
        // Of OTLP an empty reply says that all was taken.
        runtime.spawn(async move { axum::serve(collector, Router::new().fallback(async || ())).await });
        let mut own = config.clone();
        own.capture.journal.dir = journal.to_path_buf();
        own.telemetry.endpoint = Some(format!("http://{address}"));
        own.telemetry.http = true;
        let within = runtime.enter();
        let exporting = Exporting::start(&own)?
            .ok_or_else(|| Failure::Failed("telemetry could not be set up".to_owned()))?;
        drop(within);
        let recording = Recording::open(&own, Some(exporting.outward()));
        Ok(Self { exporting, recording, runtime })
    }

    fn traced(&self) -> Traced {
        let outward = self.exporting.outward();
        Traced {
            seams: Seams {
                recorder: self.recording.recorder(),
                on_call: Arc::new(move |call| outward.tell(Told::Call(Box::new(call.clone())))),
                trace: Some(Arc::new(|call, agent: Option<&str>| sampling::outgoing(call, agent, 1.0))),
                ..Seams::pass_through(self.recording.hash_key())
            },
            threads: vec!["telemetry", "OpenTelemetry", "collector"],
        }
    }

    /// How many halves of calls (the head's, the bodies') there was no room for in what
    /// waits to become spans.
    fn end(self) -> u64 {
        let untold = self.exporting.outward().dropped();
        self.recording.close();
        drop(self.exporting);
        self.runtime.shutdown_background();
        untold
    }
}

fn table(report: &Report, recorded: &str, untold: Option<u64>) -> String {
    let mut t =
        tables::table(&["way", "p50", "p99", "calls a second", "CPU a call", "first event", "CPU a stream"]);
    let mut row = |name: &str, f: &Figures| {
        t.add_row(vec![
            comfy_table::Cell::new(name),
            tables::right(format!("{:.0} µs", f.p50_us)),
            tables::right(format!("{:.0} µs", f.p99_us)),
            tables::right(format!("{:.0}", f.calls_per_second)),
            tables::right(micros(f.cpu_us)),
            tables::right(micros(f.first_us)),
            tables::right(micros(f.stream_cpu_us)),
        ]);
    };
    row("straight to the provider", &report.direct);
    row("through a bare pingora", &report.bare);
    row("through understudy", &report.gateway);
    if let Some(traced) = &report.traced {
        row("the same, traced", traced);
    }
    let ((p50, p99), (over50, over99)) = (report.added_us(), report.beyond_bare_us());
    let (cpu, stream_cpu) = report.cpu_ratios();
    let refused = report.refused.map_or_else(String::new, |n| format!(", {n} not recorded"));
    let traced = report.traced.zip(untold).map_or_else(String::new, |(t, untold)| {
        let g = report.gateway;
        format!(
            "Tracing every call: {:.0} µs more at the median, throughput {:.2} of what it is without, CPU {:.2} a call \
             (spans made and sent, and a collector that throws them away); {untold} halves of calls found no room in its queue.\n",
            t.p50_us - g.p50_us,
            t.calls_per_second / g.calls_per_second,
            t.cpu_us / g.cpu_us,
        )
    });
    format!(
        "{t}\nadded to a call: {p50:.0} µs at the median, {p99:.0} µs at the 99th percentile \
         ({over50:.0} and {over99:.0} µs more than a bare pingora); throughput {:.2} of a bare pingora's, \
         CPU {cpu:.2} a call and {stream_cpu:.2} a stream of 64 events.\n\
         {traced}{recorded}: {} calls{refused}; medians of {} rounds, {} connections under load. Ratios carry over to other \
         machines, microseconds do not.\n",
        report.throughput_ratio(),
        report.calls,
        report.rounds,
        report.connections,
    )
}

/// A time, or a dash where it is not known.
fn micros(us: f64) -> String {
    if us > 0.0 { format!("{us:.0} µs") } else { "–".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_reads_json_gets_no_bar() {
        assert!(Out { json: true }.bar(1, "{pos}").is_hidden());
    }
}
