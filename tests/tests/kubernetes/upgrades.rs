//! The chart is upgraded, rolled back, and given a configuration that is wrong.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::api::name;
use crate::{Cluster, HOME, RELEASE, chart, is_injected, try_helm, values};

/// Upgrades with one more setting.
fn upgrade(setting: &str, timeout: &str) -> Result<String, String> {
    let (chart, values) = (chart(), values());
    let given = ["upgrade", RELEASE, &chart, "--values", &values, "--set", setting];
    try_helm(&[&given[..], &["--wait", "--timeout", timeout]].concat())
}

fn roll_back() -> Result<String, String> {
    try_helm(&["rollback", RELEASE, "--wait", "--timeout", "120s"])
}

pub(crate) fn leave_no_gap(cluster: &Cluster) {
    let (over, pods, bare) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                pods.fetch_add(1, Ordering::Relaxed);
                bare.fetch_add(usize::from(!is_injected(&cluster.asked_for())), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        let upgraded = upgrade("sidecar.waitSeconds=21", "120s");
        let rolled_back = roll_back();
        // Before anything may panic, or the load never ends.
        over.store(true, Ordering::Relaxed);
        upgraded.unwrap();
        rolled_back.unwrap();
    });
    let (pods, bare) = (pods.into_inner(), bare.into_inner());
    eprintln!("          {pods} pods meanwhile, {bare} of them without a sidecar");
    // A review that is not answered in time admits its pod as it is: none on a quiet
    // machine, one of 387 was seen on one that compiled beside it.
    assert!(bare * 100 <= pods, "{bare} of {pods}");
}

pub(crate) fn with_a_mistake(cluster: &Cluster) {
    assert!(upgrade("config.policy.tau=7", "20s").is_err(), "a target of 7 was taken");
    let new =
        cluster.api.pod("the new injector is held", HOME, "app.kubernetes.io/component=injector", |p| {
            !p["status"]["initContainerStatuses"][0]["state"]["waiting"].is_null()
        });
    let said = cluster.api.log(HOME, name(&new), "check");
    assert!(said.contains("policy.tau: 7 is not allowed"), "{said}");
    assert!(is_injected(&cluster.asked_for()), "the old injector is gone");
    roll_back().unwrap();
}
