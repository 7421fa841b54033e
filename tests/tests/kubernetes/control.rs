//! The control plane is away, or what it keeps is somebody else's.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::sidecars::{agent, goes_on};
use crate::{Cluster, HOME, is_injected, told};

/// Stands still until it is dropped, whatever happens meanwhile.
struct Stopped(String);

impl Stopped {
    fn new(pid: String) -> Self {
        signal("-STOP", &pid);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

fn signal(which: &str, pid: &str) {
    assert!(Command::new("kill").args([which, pid]).status().unwrap().success(), "kill {which} {pid}");
}

/// Longer than a long poll's pause and a few of the engine's reviews.
const AWAY: Duration = Duration::from_secs(10);

pub(crate) fn api_server_away(cluster: &Cluster) {
    let pod = agent(cluster);
    let count =
        || (cluster.metric(&pod, "understudy_calls_total"), cluster.metric(&pod, "understudy_served_total"));
    let (before, began) = (count(), Instant::now());
    let stopped = Stopped::new(told("UNDERSTUDY_NODE_APISERVER"));
    cluster.api.until(
        "calls go on, and the engine answers",
        Duration::from_secs(60),
        || {
            let now = count();
            began.elapsed() > AWAY && now.0 > before.0 + 20.0 && now.1 > before.1 + 10.0
        },
        String::new,
    );
    let after = count();
    drop(stopped);
    eprintln!(
        "          {} calls of an agent meanwhile, {} of them served",
        after.0 - before.0,
        after.1 - before.1
    );
    // It ends with the first error that an SDK's retries do not mend.
    goes_on(cluster, &pod);
    assert!(is_injected(&cluster.asked_for()));
}

pub(crate) fn lease_lost(cluster: &Cluster) {
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/understudy-injector");
    let leaders = || cluster.injectors_metric("understudy_injector_leader");
    let until = |what: &str, wanted: f64| {
        let log = || cluster.injectors_log();
        cluster.api.until(what, Duration::from_secs(90), || (leaders() - wanted).abs() < 0.5, log)
    };
    until("one leads", 1.0);
    // With a term that begins now: one that has run out would be taken back at once, unseen.
    let now = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    cluster.api.merge(&lease, &json!({"spec": {"holderIdentity": "somebody-else", "renewTime": now}}));
    until("nobody leads", 0.0);
    assert!(is_injected(&cluster.asked_for()), "pods wait for a leader");
    let took = until("one leads again", 1.0);
    eprintln!("          led again {:.0} s after the lease was somebody else's", took.as_secs_f64());
}
