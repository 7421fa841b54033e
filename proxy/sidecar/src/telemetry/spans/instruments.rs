//! What is measured and counted, under OpenTelemetry's names and our own.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use understudy_call::{Timings, Usage};

use crate::telemetry::attributes::old_system;

/// The bounds that the GenAI conventions give to times, in seconds; the SDK's own
/// are made for milliseconds.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

pub(super) struct Instruments {
    duration: Histogram<f64>,
    old_duration: Option<Histogram<f64>>,
    first_chunk: Histogram<f64>,
    later_chunks: Histogram<f64>,
    input: Counter<u64>,
    output: Counter<u64>,
    pub(super) trials: Counter<u64>,
    pub(super) fallbacks: Counter<u64>,
    pub(super) audits: Counter<u64>,
    pub(super) decisions: Counter<u64>,
}

impl Instruments {
    pub(super) fn new(meter: &Meter, old_names: bool) -> Self {
        let seconds = |name: &'static str, about: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(about)
                .with_boundaries(SECONDS.to_vec())
                .build()
        };
        let tokens = |name: &'static str| meter.u64_counter(name).with_unit("{token}").build();
        let count = |name: &'static str, unit: &'static str, about: &'static str| {
            meter.u64_counter(name).with_unit(unit).with_description(about).build()
        };
        Self {
            duration: seconds("gen_ai.client.inference.duration", "Duration of calls"),
            old_duration: old_names.then(|| seconds("gen_ai.client.operation.duration", "Duration of calls")),
            first_chunk: seconds(
                "gen_ai.client.inference.time_to_first_chunk",
                "Time to the reply's first byte",
            ),
            later_chunks: seconds(
                "gen_ai.client.inference.time_per_output_chunk",
                "Time from one chunk of a stream to the next, as the stream's mean",
            ),
            input: tokens("gen_ai.client.inference.usage.input_tokens"),
            output: tokens("gen_ai.client.inference.usage.output_tokens"),
            trials: count("understudy.trials", "{trial}", "Shadow trials"),
            fallbacks: count(
                "understudy.fallbacks",
                "{call}",
                "Calls of serving tasks that went to the provider",
            ),
            audits: count("understudy.audits", "{audit}", "Served calls that the provider answered too"),
            decisions: count("understudy.decisions", "{decision}", "Steps that tasks were moved up or back"),
        }
    }

    /// Measures a call whose reply came in so many chunks; 0 for one that was no
    /// stream, and for a stream that is not known to its end.
    pub(super) fn took(&self, timings: &Timings, chunks: u64, shared: &[KeyValue]) {
        if let Some(first) = timings.first_byte {
            self.first_chunk.record(first.as_secs_f64(), shared);
        }
        let Some(total) = timings.total else { return };
        self.duration.record(total.as_secs_f64(), shared);
        if let Some(old) = &self.old_duration {
            let known: Vec<KeyValue> = shared.iter().cloned().chain(old_system(shared)).collect();
            old.record(total.as_secs_f64(), &known);
        }
        if let Some(first) = timings.first_byte.filter(|_| chunks > 1) {
            // A call keeps no time for each of its chunks: that would cost it one. Told
            // once for each after the first, as the convention has it, their mean gives
            // the same sum and the same count.
            let mean = total.saturating_sub(first).as_secs_f64() / (chunks - 1) as f64;
            for _ in 1..chunks {
                self.later_chunks.record(mean, shared);
            }
        }
    }

    /// Counts a call's tokens.
    pub(super) fn used(&self, usage: &Usage, shared: &[KeyValue]) {
        self.input.add(usage.input_tokens, shared);
        self.output.add(usage.output_tokens, shared);
    }
}
