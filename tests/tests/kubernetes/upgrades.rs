//! The chart is upgraded, rolled back, and given a configuration that is wrong.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{is_ready, name, status};
use crate::faults::busy;
use crate::sidecars::{agent, goes_on};
use crate::{Cluster, HOME, RELEASE, chart, is_injected, told, try_helm, values};

/// What the first packaged chart is told. The image is this build's, whose injector reads
/// an engine's settings in another form, so the engine comes with the upgrade.
const FIRST: &str = "image.repository=understudy.test/understudy,engine.enabled=false,\
    config.providers.openai.base_url=http://provider.peers.svc.cluster.local/v1";

pub(crate) fn from_the_first(cluster: &Cluster) {
    let (api, pods) = (&cluster.api, "/api/v1/namespaces/agents/pods");
    let first = format!("{}/kubernetes/first-chart.tgz", env!("CARGO_MANIFEST_DIR"));
    let told = ["--set", FIRST, "--set-string", "image.tag=1", "--wait", "--timeout", "120s"];
    cluster.helm(&[&["install", RELEASE, &first], &told[..]].concat());
    let labelled = |name: &str| {
        let mut pod = busy(name);
        pod["metadata"]["labels"]["understudy.dev/inject"] = json!("true");
        pod
    };
    // This chart does not wait until the node knows where the injector is.
    let asked =
        || api.create(&format!("{pods}?dryRun=All"), &labelled("asked")).is_ok_and(|p| is_injected(&p));
    api.until("the first chart's injector is found", Duration::from_secs(60), asked, String::new);
    api.create(pods, &labelled("early")).unwrap();
    let before = api.pod("the first chart injects", "agents", "app=early", |p| is_ready(p) && is_injected(p));
    goes_on(cluster, &before);

    let (chart, values) = (chart(), values());
    cluster.helm(&["upgrade", RELEASE, &chart, "--values", &values, "--wait", "--timeout", "180s"]);
    cluster.helm(&["test", RELEASE]);
    let after = api.pod("its pod runs on", "agents", "app=early", is_ready);
    let sidecar = |pod: &Value| status(pod, "understudy")["containerID"].clone();
    assert_eq!(sidecar(&after), sidecar(&before), "its sidecar was started anew");
    goes_on(cluster, &after);
    let late = api.create(&format!("{pods}?dryRun=All"), &labelled("late")).unwrap();
    let told = late["spec"]["initContainers"][0]["env"].to_string();
    assert!(told.contains("UNDERSTUDY_POLICY_TAU"), "a later pod is as this chart says: {told}");
    api.delete(&format!("{pods}/early"));
    cluster.helm(&["uninstall", RELEASE, "--wait"]);
}

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
    let caller = agent(cluster);
    let count = |line: &str| cluster.metric(&caller, line);
    let (calls, away) =
        (count("understudy_calls_total"), count(r#"understudy_fallbacks_total{reason="unavailable"}"#));
    let (over, pods, bare) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                pods.fetch_add(1, Ordering::Relaxed);
                bare.fetch_add(usize::from(!is_injected(&cluster.asked_for())), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        // Another injector, and another engine.
        let upgraded = upgrade("sidecar.waitSeconds=21,engine.resources.requests.cpu=110m", "120s");
        let rolled_back = roll_back();
        // Before anything may panic, or the load never ends.
        over.store(true, Ordering::Relaxed);
        upgraded.unwrap();
        rolled_back.unwrap();
    });
    let (pods, bare) = (pods.into_inner(), bare.into_inner());
    let (calls, away) = (
        count("understudy_calls_total") - calls,
        count(r#"understudy_fallbacks_total{reason="unavailable"}"#) - away,
    );
    eprintln!("          {pods} pods asked for meanwhile, {bare} of them without a sidecar");
    if bare > 0 {
        why_bare();
    }
    eprintln!("          {calls} calls of an agent meanwhile, none failed; {away} did not find the engine");
    // It ends with the first error that an SDK's retries do not mend.
    goes_on(cluster, &caller);
    let now = agent(cluster);
    assert_eq!(status(&now, "agent")["containerID"], status(&caller, "agent")["containerID"]);
    assert!(calls > 20.0, "{calls}");
    // A review that is not answered in time admits its pod as it is: none on a quiet
    // machine, one of 387 was seen on one that compiled beside it.
    assert!(bare * 100 <= pods, "{bare} of {pods}");
}

/// What the API server says of reviews that it went on without.
fn why_bare() {
    let log = std::fs::read_to_string(told("UNDERSTUDY_NODE_APISERVER_LOG")).unwrap();
    let failed: Vec<&str> = log.lines().filter(|l| l.contains("alling webhook")).collect();
    // Those before are of steps that take the injector away.
    failed.iter().rev().take(3).for_each(|line| eprintln!("          {line}"));
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
