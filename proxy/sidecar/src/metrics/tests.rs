#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

#[test]
fn numbers_read_elsewhere_are_written_with_their_labels() {
    let metrics = Metrics::new();
    metrics.read(Read {
        name: "drops",
        help: "Exchanges not recorded",
        kind: Kind::Counter,
        label: Some("reason"),
        values: Box::new(|| vec![("queue_full".into(), 3.0), ("disk".into(), 0.0)]),
    });
    metrics.read(Read {
        name: "journal_bytes",
        help: "Size",
        kind: Kind::Gauge,
        label: None,
        values: Box::new(|| vec![(String::new(), 4096.0)]),
    });
    let text = metrics.text();
    assert!(text.contains("understudy_drops_total{reason=\"queue_full\"} 3"), "{text}");
    assert!(text.contains("understudy_journal_bytes 4096"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn readiness_follows_the_process() {
    let metrics = Metrics::new();
    let status = async |m: &Arc<Metrics>| ready(State(Arc::clone(m))).await.into_response().status();
    assert_eq!(status(&metrics).await, StatusCode::SERVICE_UNAVAILABLE);
    metrics.set_ready(true);
    assert_eq!(status(&metrics).await, StatusCode::OK);
}
