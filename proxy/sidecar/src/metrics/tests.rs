use std::time::Duration;

use understudy_call::{Credential, Dialect, ExchangeId, Metadata, Timings};

use super::*;
use crate::admin::pages::{Interval, TaskRow};

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

#[test]
fn tasks_are_numbers_under_their_ids_and_no_more_than_a_few() {
    let metrics = Metrics::new();
    let row = |n: u64, stage: &str| TaskRow {
        id: format!("{n:016x}"),
        name: "refund a customer".into(),
        model: "gpt-4o".into(),
        stage: stage.into(),
        calls: 1000 - n,
        tau: 0.95,
        ..TaskRow::default()
    };
    let live = TaskRow {
        coverage: Some(0.75),
        agreement: Some(Interval { mean: 0.98, low: 0.97, high: 0.99 }),
        served: 88,
        saved_usd: Some(1.5),
        saved_tokens: 4200,
        against: Some(0.25),
        audited_agreement: Some(0.96),
        audited_conversations: Some(40),
        ..row(0, "live")
    };
    let mut rows = vec![live, row(1, "observing"), row(2, "shadowing"), row(3, "canary")];
    rows.extend((4..200).map(|n| row(n, "shadowing")));
    metrics.read_tasks(move |_| rows.clone());
    let text = metrics.text();
    for line in [
        "understudy_task_stage{task=\"0000000000000000\"} 3",
        "understudy_task_stage{task=\"0000000000000001\"} 0",
        "understudy_task_stage{task=\"0000000000000002\"} 1",
        "understudy_task_stage{task=\"0000000000000003\"} 2",
        "understudy_task_coverage{task=\"0000000000000000\"} 0.75",
        "understudy_task_agreement{task=\"0000000000000000\"} 0.98",
        "understudy_task_calls{task=\"0000000000000001\"} 999",
        "understudy_task_served{task=\"0000000000000000\"} 88",
        "understudy_task_tau{task=\"0000000000000003\"} 0.95",
        "understudy_task_demotion_evidence{task=\"0000000000000000\"} 0.25",
        "understudy_task_audited_agreement{task=\"0000000000000000\"} 0.96",
        "understudy_task_audited_conversations{task=\"0000000000000000\"} 40",
        "understudy_task_saved_usd{task=\"0000000000000000\"} 1.5",
        "understudy_task_saved_tokens{task=\"0000000000000000\"} 4200",
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
    let lines = |name: &str| text.lines().filter(|l| l.starts_with(&format!("{name}{{"))).count();
    assert_eq!((lines("understudy_task_stage"), lines("understudy_task_coverage")), (64, 1));
    assert!(!text.contains("refund") && !text.contains("gpt-4o"), "{text}");
}

#[tokio::test]
async fn readiness_follows_the_process() {
    let metrics = Metrics::new();
    let status = async |m: &Arc<Metrics>| ready(State(Arc::clone(m))).await.into_response().status();
    assert_eq!(status(&metrics).await, StatusCode::SERVICE_UNAVAILABLE);
    metrics.set_ready(true);
    assert_eq!(status(&metrics).await, StatusCode::OK);
}

#[tokio::test]
async fn a_scrape_that_waits_keeps_nobody_from_asking_whether_calls_are_taken() {
    let metrics = Metrics::new();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    metrics.read(Read {
        name: "slow",
        help: "Waits for a disk",
        kind: Kind::Gauge,
        label: None,
        values: Box::new(move || {
            let _ = held.lock().unwrap().recv();
            vec![(String::new(), 1.0)]
        }),
    });
    let scraped = tokio::spawn(scrape(State(Arc::clone(&metrics))));
    tokio::task::yield_now().await;
    let asked = ready(State(Arc::clone(&metrics))).await.into_response();
    assert_eq!(asked.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(release);
    assert_eq!(scraped.await.unwrap().status(), StatusCode::OK);
}

fn answered(provider: &str, status: u16) -> CallSeen {
    let timings = Timings { total: Some(Duration::from_millis(20)), ..Timings::default() };
    let meta = Metadata {
        timings,
        status,
        ..Metadata::answered(provider, Dialect::OpenaiChat, Credential([0; 16]))
    };
    CallSeen {
        id: ExchangeId([7; 16]),
        meta,
        task: None,
        fallback: None,
        declined: Vec::new(),
        model: None,
        usage: None,
        traceparent: None,
        error: None,
    }
}

#[test]
fn calls_are_counted_apart_by_their_labels_however_often_they_were_met() {
    let metrics = Metrics::new();
    for (provider, status) in [("a", 200), ("b", 200), ("a", 429), ("a", 201), ("b", 204), ("a", 200)] {
        metrics.call(&answered(provider, status), None);
    }
    let text = metrics.text();
    let number = |name: &str, labels: &[&str]| {
        let is_it = |l: &&str| l.starts_with(name) && labels.iter().all(|label| l.contains(label));
        text.lines().find(is_it).and_then(|l| l.rsplit(' ').next()).map(str::to_owned)
    };
    let (a, b) = ("provider=\"a\"", "provider=\"b\"");
    assert_eq!(number("understudy_calls_total{", &[a, "status=\"2xx\""]).as_deref(), Some("3"), "{text}");
    assert_eq!(number("understudy_calls_total{", &[a, "status=\"4xx\""]).as_deref(), Some("1"), "{text}");
    assert_eq!(number("understudy_calls_total{", &[b, "status=\"2xx\""]).as_deref(), Some("2"), "{text}");
    assert_eq!(number("understudy_call_duration_seconds_count{", &[a]).as_deref(), Some("4"), "{text}");
    assert_eq!(number("understudy_call_duration_seconds_count{", &[b]).as_deref(), Some("2"), "{text}");
}

#[test]
fn a_call_s_time_refers_to_its_trace_where_that_is_kept() {
    let call = answered("openai", 200);
    let metrics = Metrics::new();
    metrics.call(&call, None);
    assert!(!metrics.text().contains("trace_id"), "{}", metrics.text());
    metrics.call(&call, Some("0707".to_owned()));
    let text = metrics.text();
    let bucket = text.lines().find(|l| l.contains("le=\"0.025\"")).unwrap();
    assert!(bucket.ends_with(" 2 # {trace_id=\"0707\"} 0.02"), "{bucket}");
}
