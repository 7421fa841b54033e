//! The gateway beside a bare pingora, without a journal: `cargo run --release -p understudy-gateway --example beside_bare`.
#![allow(clippy::print_stdout, reason = "an example")]

use understudy_gateway::{Seams, bench};
use understudy_tasks::HashKey;

fn main() -> Result<(), understudy_gateway::GatewayError> {
    let mut seams = Seams::pass_through(HashKey::new([1; 32]));
    // Bodies are kept and thrown away: the cost of the copy, not of a journal.
    seams.recorder = Some(std::sync::Arc::new(Forget));
    let report = bench::run(&bench::Options::default(), seams, None, |_, _| {})?;
    for (way, f) in [("direct", report.direct), ("bare pingora", report.bare), ("gateway", report.gateway)] {
        println!(
            "{way:<14} p50 {:>7.1} us   p99 {:>7.1} us   {:>8.0} calls/s   {:>5.1} us CPU a call",
            f.p50_us, f.p99_us, f.calls_per_second, f.cpu_us
        );
    }
    println!("calls a second against bare: {:.3}", report.throughput_ratio());
    Ok(())
}

struct Forget;

impl understudy_gateway::Recorder for Forget {
    fn offer(&self, call: understudy_gateway::Recorded) -> bool {
        drop(call);
        true
    }
}
