//! The way to a collector: its TLS, its headers, and one that is too busy at first.
#![allow(clippy::unwrap_used, reason = "tests")]

use understudy_tests::authority::Authority;
use understudy_tests::collector::{Collector, Over};
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE, Proxy};
use understudy_tests::standin;

const PROTOCOLS: [(&str, Over); 2] = [("grpc", Over::Grpc), ("http/protobuf", Over::Http)];
const CALLS: usize = 4;

/// What no log may ever have.
const SECRET: &str = "quetzal8812";

/// A home that sends to this collector; the last open section is `[telemetry]`.
fn home(provider: &Peer, collector: &Collector, protocol: &str) -> Home {
    let endpoint = collector.endpoint();
    Home::new(
        &provider.url(),
        &format!(
            "[engine]\nenabled = false\n\
             [telemetry]\nendpoint = \"{endpoint}\"\nprotocol = \"{protocol}\"\nevery = \"1s\""
        ),
    )
}

/// A file with an authority's certificate.
fn file_of(authority: &Authority, home: &Home) -> String {
    let file = home.path("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    file.display().to_string()
}

/// An agent's calls, none of which fails.
fn call(proxy: &Proxy) {
    let agent = Agent::new(&proxy.url(), "sk-stand-in");
    for n in 0..CALLS {
        let answer = agent.ask(&desk::triage(n));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

fn end(proxy: &mut Proxy) {
    proxy.signal("TERM");
    assert!(proxy.ended().success(), "{}", proxy.log());
}

/// How many spans of calls the collector has.
fn arrived(collector: &Collector) -> usize {
    collector.spans().iter().filter(|s| s.name == "chat gpt-4o-mini").count()
}

#[test]
fn a_collector_behind_tls_gets_everything_where_its_authority_is_trusted() {
    let authority = Authority::new("the collector's");
    for (protocol, over) in PROTOCOLS {
        for variable in ["UNDERSTUDY_TELEMETRY_CA_FILE", "OTEL_EXPORTER_OTLP_CERTIFICATE"] {
            let provider = Peer::standin(standin::Config::default());
            let collector = Collector::behind_tls(&authority);
            let home = home(&provider, &collector, protocol);
            let file = file_of(&authority, &home);
            let mut proxy = home.serve_with(&[(variable, file.as_str())]);
            call(&proxy);
            end(&mut proxy);
            assert_eq!(arrived(&collector), CALLS, "{protocol}, {variable}: {}", proxy.log());
            assert!(collector.came().iter().all(|o| *o == over), "{:?}", collector.came());
        }
    }
}

#[test]
fn a_collector_that_nobody_trusted_vouches_for_gets_nothing_and_the_log_says_why() {
    let (its_own, trusted) = (Authority::new("the collector's"), Authority::new("another"));
    for (protocol, _) in PROTOCOLS {
        let provider = Peer::standin(standin::Config::default());
        let collector = Collector::behind_tls(&its_own);
        let home = home(&provider, &collector, protocol);
        let file = file_of(&trusted, &home);
        let mut proxy = home.serve_with(&[("UNDERSTUDY_TELEMETRY_CA_FILE", file.as_str())]);
        call(&proxy);
        wait_until("the log says why", PATIENCE, || proxy.log().contains("invalid peer certificate"));
        end(&mut proxy);
        assert!(collector.headers().is_empty(), "{protocol}: {:?}", collector.came());
    }
}

#[test]
fn every_export_has_the_collectors_headers_and_no_log_has_them() {
    // In a variable of OpenTelemetry's own, values are written as in a URL.
    let wanted = format!("x-collector-key={SECRET},authorization=Bearer%20{SECRET}");
    for (protocol, over) in PROTOCOLS {
        let provider = Peer::standin(standin::Config::default());
        let collector = Collector::start();
        let home = home(&provider, &collector, protocol);
        home.add("log = \"debug\"");
        let mut proxy = home.serve_with(&[("OTEL_EXPORTER_OTLP_HEADERS", wanted.as_str())]);
        call(&proxy);
        end(&mut proxy);
        assert_eq!(arrived(&collector), CALLS, "{protocol}: {}", proxy.log());
        assert!(collector.came().iter().all(|o| *o == over), "{:?}", collector.came());
        for headers in collector.headers() {
            let told = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
            assert_eq!(told("x-collector-key").as_deref(), Some(SECRET), "{protocol}: {headers:?}");
            assert_eq!(told("authorization"), Some(format!("Bearer {SECRET}")), "{protocol}: {headers:?}");
        }
        let log = proxy.log();
        // What others say below info, such as the headers that they send, stays out.
        assert!(log.contains("INFO understudy") && !log.contains("DEBUG h"), "{log}");
        assert!(!log.contains(SECRET), "a header was logged: {log}");
    }
}

#[test]
fn what_a_busy_collector_turns_away_is_sent_again() {
    for (protocol, over) in PROTOCOLS {
        let provider = Peer::standin(standin::Config::default());
        let collector = Collector::busy(2);
        let home = home(&provider, &collector, protocol);
        let mut proxy = home.serve();
        call(&proxy);
        wait_until("the spans of all calls have arrived", PATIENCE, || arrived(&collector) >= CALLS);
        end(&mut proxy);
        assert_eq!(arrived(&collector), CALLS, "none came twice");
        let came = collector.came();
        assert!(came.iter().all(|o| *o == over), "{came:?}");
        assert!(collector.headers().len() >= 3 * came.len(), "each was turned away twice");
    }
}
