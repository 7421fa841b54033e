//! `understudy bench`: what the proxy adds to a call, side by side with a bare
//! pingora in one run, with the journal writing.

use std::time::Duration;

use understudy_gateway::Seams;
use understudy_gateway::bench::{Figures, Options, Report, run};

use crate::cli::{Bench, Out};
use crate::config::Config;
use crate::engine_child::with_sources;
use crate::failure::{Exit, Failure};
use crate::serve::Recording;
use crate::tables;

/// Measures, with a journal and a key in a folder of their own.
///
/// # Errors
/// When a server of the bench cannot be started.
pub(crate) fn main(config: &Config, args: &Bench, out: &Out) -> Result<Exit, Failure> {
    let folder =
        tempfile::tempdir().map_err(|source| Failure::File { path: std::env::temp_dir(), source })?;
    let mut own = config.clone();
    own.key_file = folder.path().join("key");
    own.capture.journal.dir = folder.path().join("journal");
    let recording = Recording::open(&own, None);
    let recorded = recording.line();
    let seams = Seams { recorder: recording.recorder(), ..Seams::pass_through(recording.hash_key()) };
    let options = Options {
        rounds: args.rounds,
        connections: args.connections,
        load: Duration::from_secs(args.seconds),
        ..Options::default()
    };
    let report = run(&options, seams).map_err(|e| Failure::Failed(with_sources(&e)))?;
    recording.close();
    out.show(&report, |r| table(r, &recorded))
}

fn table(report: &Report, recorded: &str) -> String {
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
    let ((p50, p99), (over50, over99)) = (report.added_us(), report.beyond_bare_us());
    let (cpu, stream_cpu) = report.cpu_ratios();
    let refused = report.refused.map_or_else(String::new, |n| format!(", {n} not recorded"));
    format!(
        "{t}\nadded to a call: {p50:.0} µs at the median, {p99:.0} µs at the 99th percentile \
         ({over50:.0} and {over99:.0} µs more than a bare pingora); throughput {:.2} of a bare pingora's, \
         CPU {cpu:.2} a call and {stream_cpu:.2} a stream of 64 events.\n\
         {recorded}: {} calls{refused}; medians of {} rounds, {} connections under load. Ratios carry over to other \
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
