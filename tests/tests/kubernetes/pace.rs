//! Many pods in a short time, by dry run: each review goes through the API server, and no
//! kubelet has to keep up. How many were answered in time is printed: a test asserts no time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::{Cluster, is_injected};

/// Pods, and the time between two of them: fifty a second.
const PODS: u32 = 1_000;
const EVERY: Duration = Duration::from_millis(20);

/// Askers: one waits for its answer while another asks.
const ASKERS: usize = 6;

pub(crate) fn fifty_a_second(cluster: &Cluster) {
    let (quick, all) = reviews(cluster);
    let (next, bare, took) = (AtomicU32::new(0), AtomicU32::new(0), Mutex::new(Vec::new()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..ASKERS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= PODS {
                        break;
                    }
                    std::thread::park_timeout((EVERY * n).saturating_sub(began.elapsed()));
                    let asked = Instant::now();
                    bare.fetch_add(u32::from(!is_injected(&cluster.asked_for())), Ordering::Relaxed);
                    took.lock().unwrap().push(asked.elapsed());
                }
            });
        }
    });
    let pace = f64::from(PODS) / began.elapsed().as_secs_f64();
    let mut took = took.into_inner().unwrap();
    took.sort();
    let at = |share: usize| took[took.len() * share / 100 - 1].as_millis();
    let (bare, now) = (bare.into_inner(), reviews(cluster));
    eprintln!(
        "          {pace:.0} pods asked for a second, {bare} without a sidecar; {:.2} % of their reviews within 50 ms; by way of the API server half took {} ms, 99 % {} ms",
        100.0 * (now.0 - quick) / (now.1 - all),
        at(50),
        at(99),
    );
    // A review that is not answered in time admits its pod as it is.
    assert!(bare * 100 <= PODS, "{bare} of {PODS} were admitted without a sidecar");
}

/// The reviews that the injectors answered within 50 ms, and all.
fn reviews(cluster: &Cluster) -> (f64, f64) {
    let bucket = r#"understudy_injector_admission_seconds_bucket{le="0.05"}"#;
    (
        cluster.injectors_metric(bucket),
        cluster.injectors_metric("understudy_injector_admission_seconds_count"),
    )
}
