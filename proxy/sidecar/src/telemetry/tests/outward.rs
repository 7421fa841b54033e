//! The queue to the collector, and the way there.

use super::super::{Outward, QUEUE_BYTES, problem, set_up};
use super::*;

fn at(endpoint: &str, http: bool) -> Telemetry {
    Telemetry { endpoint: Some(endpoint.to_owned()), http, sample: 1.0, ..Telemetry::default() }
}

#[test]
fn bodies_that_wait_are_bounded_by_their_bytes() {
    let (outward, taken) = Outward::new();
    let half = Bytes::from(vec![b'x'; QUEUE_BYTES / 2]);
    let told =
        || Told::Bodies(Box::new(Recorded { request: vec![half.clone()], reply: Vec::new(), ..bodies(1) }));
    for _ in 0..5 {
        outward.tell(told());
    }
    assert_eq!(outward.dropped(), 3);
    // What has no body takes none of that room.
    outward.tell(Told::Call(Box::new(seen(1, None))));
    assert_eq!(outward.dropped(), 3);
    // What was taken out, or was dropped, has given its room back.
    for _ in 0..3 {
        assert!(taken.take().is_some());
    }
    outward.tell(told());
    outward.tell(told());
    assert_eq!(outward.dropped(), 3);
    outward.tell(told());
    assert_eq!(outward.dropped(), 4);
}

#[tokio::test]
async fn a_collector_behind_tls_can_be_had_over_either_protocol() {
    for http in [false, true] {
        for endpoint in ["https://collector.test:4317", "HTTPS://collector.test", "http://127.0.0.1:4317"] {
            let said = problem(&at(endpoint, http));
            // A machine may lack certificates altogether.
            assert!(said.as_ref().is_none_or(|why| why.contains("no native certs")), "{endpoint}: {said:?}");
        }
    }
}

#[tokio::test]
async fn a_collector_that_cannot_be_had_is_named_and_is_no_failure_of_the_start() {
    assert_eq!(problem(&Telemetry::default()), None);
    assert!(set_up(&Telemetry::default()).unwrap().is_none());
    for http in [false, true] {
        let nowhere = at("http://no such host:4317", http);
        assert!(problem(&nowhere).is_some());
        assert!(set_up(&nowhere).is_err());
    }
}

#[tokio::test]
async fn an_authority_that_is_none_is_named_where_the_collector_is_behind_tls() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    for http in [false, true] {
        let behind = |scheme: &str| {
            let way = at(&format!("{scheme}://collector.test:4317"), http);
            problem(&Telemetry { ca_file: Some(file.clone()), ..way })
        };
        assert!(behind("https").is_some_and(|why| why.contains("authority.pem")));
        std::fs::write(&file, "nothing of the kind").unwrap();
        assert!(behind("https").is_some_and(|why| why.contains("authority.pem has no certificate")));
        assert_eq!(behind("http"), None, "nobody has to be trusted");
        std::fs::remove_file(&file).unwrap();
    }
}
