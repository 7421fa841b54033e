//! The injector's own metrics.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Image {
    image: String,
    /// The namespace where it is not injected; empty for all of them. Not `namespace`:
    /// that is the injector's own, and Prometheus gives it.
    scope: String,
}

/// Counts, when the certificate ends, and when it is to be renewed.
#[derive(Debug)]
pub(crate) struct Metrics {
    admissions: Family<Outcome, Counter>,
    took: Histogram,
    trips: Counter<u64, AtomicU64>,
    leader: Gauge<i64, AtomicI64>,
    certificate: Gauge<i64, AtomicI64>,
    renewal: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            admissions: Family::default(),
            // The API server waits 3 s; 50 ms is what is promised.
            took: Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 3.0]),
            trips: Counter::default(),
            leader: Gauge::default(),
            certificate: Gauge::default(),
            renewal: Gauge::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn admitted(&self, outcome: &'static str, took: Duration) {
        self.admissions.get_or_create(&Outcome { outcome }).inc();
        self.took.observe(took.as_secs_f64());
    }

    pub(crate) fn tripped(&self) {
        self.trips.inc();
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    pub(crate) fn certificate_ends(&self, at: Option<i64>) {
        self.certificate.set(at.unwrap_or(0));
    }

    pub(crate) fn certificate_is_due(&self, at: Option<i64>) {
        self.renewal.set(at.unwrap_or(0));
    }

    /// As OpenMetrics text; `paused` are the images that are not injected now, and where.
    pub(crate) fn encode(&self, paused: Vec<(String, String)>) -> String {
        let images = Family::<Image, Gauge>::default();
        for (image, scope) in paused {
            images.get_or_create(&Image { image, scope }).set(1);
        }
        let mut all = Registry::with_prefix("understudy_injector");
        all.register(
            "admissions",
            "Pods that were reviewed, by what became of them",
            self.admissions.clone(),
        );
        all.register_with_unit("admission", "Time of a review", Unit::Seconds, self.took.clone());
        all.register("paused", "Images whose sidecars do not start, and which are not injected", images);
        all.register("trips", "Times that an image was given up", self.trips.clone());
        all.register("leader", "Whether this replica writes certificates", self.leader.clone());
        all.register_with_unit(
            "certificate_end_timestamp",
            "When the first of the certificates ends, Unix time",
            Unit::Seconds,
            self.certificate.clone(),
        );
        all.register_with_unit(
            "certificate_renewal_timestamp",
            "When the first of the certificates is to be renewed, Unix time",
            Unit::Seconds,
            self.renewal.clone(),
        );
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &all);
        text
    }
}
