//! What an agent feels when its sidecar, its pod or its node's kubelet ends.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{is_ready, name, status};
use crate::faults::{busy, lone};
use crate::{Cluster, told};

/// The agent's pod.
pub(crate) fn agent(cluster: &Cluster) -> Value {
    cluster.api.pod("the agent runs", "agents", "app=help-desk", is_ready)
}

const ANSWERED: &str = "the first call was answered";

/// The agent's first call, which is tried once (`tests/agents/desk.py`), was answered. Its
/// failure would stand in the log, which is whole as long as no container was started anew.
pub(crate) fn first_call_answered(cluster: &Cluster, pod: &Value) {
    let now = cluster.api.get(&format!("/api/v1/namespaces/agents/pods/{}", name(pod)));
    let log = cluster.api.log("agents", name(pod), "agent");
    assert_eq!(status(&now, "agent")["restartCount"], 0, "{log}");
    assert!(log.contains(ANSWERED) && !log.contains("Error"), "{log}");
}

/// Calls go on, and the agent has not noticed anything.
pub(crate) fn goes_on(cluster: &Cluster, pod: &Value) {
    let before = cluster.metric(pod, "understudy_calls_total");
    cluster.api.until(
        "calls go on",
        Duration::from_secs(60),
        || cluster.metric(pod, "understudy_calls_total") > before + 20.0,
        || cluster.api.log("agents", name(pod), "understudy"),
    );
    let log = cluster.api.log("agents", name(pod), "agent");
    assert!(!log.contains("Error"), "{log}");
}

pub(crate) fn sidecar_killed(cluster: &Cluster) {
    let died = sidecar_ends(cluster, "help-desk", |pid| {
        assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    });
    assert_eq!(died["exitCode"], 137, "{died}");
}

pub(crate) fn sidecar_out_of_memory(cluster: &Cluster) {
    // A pod of its own: the kubelet waits before it starts a container a second time, and
    // an SDK's retries do not last so long.
    let pods = "/api/v1/namespaces/agents/pods";
    cluster.api.create(pods, &busy("hungry")).unwrap();
    let died = sidecar_ends(cluster, "hungry", |pid| {
        // Somebody else in its control group takes what is left of the limit. Of both the
        // kernel ends the sidecar: a pod's processes are ended before the system's.
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let group = |controller: &str| {
            let found = groups.lines().find_map(|l| l.split_once(&format!(":{controller}:")));
            found.map(|(_, path)| path.trim_start_matches('/').to_owned())
        };
        let (folder, most) = match group("memory") {
            Some(path) => (format!("/sys/fs/cgroup/memory/{path}"), "memory.limit_in_bytes"),
            None => (format!("/sys/fs/cgroup/{}", group("").unwrap()), "memory.max"),
        };
        let limit: u64 = std::fs::read_to_string(format!("{folder}/{most}")).unwrap().trim().parse().unwrap();
        let takes = format!("bytearray({})", limit - (4 << 20));
        let joins = "echo $$ > \"$0/cgroup.procs\" && exec python3 -c \"$1\"";
        let _ = Command::new("sh").args(["-c", joins, &folder, &takes]).status().unwrap();
    });
    assert_eq!((&died["reason"], &died["exitCode"]), (&json!("OOMKilled"), &json!(137)), "{died}");
    cluster.api.delete(&format!("{pods}/hungry"));
}

/// Ends an agent's sidecar, by its process: it comes back, and the agent's container is
/// the same. How the kubelet says that it ended.
fn sidecar_ends(cluster: &Cluster, app: &str, end: impl FnOnce(&str)) -> Value {
    let selector = format!("app={app}");
    let pod = cluster.api.pod("the agent runs", "agents", &selector, is_ready);
    let of = |pod: &Value, container: &str| {
        let found = status(pod, container);
        (found["restartCount"].as_u64().unwrap(), found["containerID"].as_str().unwrap().to_owned())
    };
    let (restarts, id) = of(&pod, "understudy");
    let agents = of(&pod, "agent");
    // The call that is tried once comes before: it shows that a pod begins well, and a
    // sidecar that ends under it fails it, as it should.
    let said = || cluster.api.log("agents", name(&pod), "agent");
    cluster.api.until(
        "its first call is answered",
        Duration::from_secs(60),
        || said().contains(ANSWERED),
        said,
    );
    let process = told("UNDERSTUDY_NODE_TASKS");
    end(&pid_of(&process, &id));
    let back = cluster
        .api
        .pod("the sidecar is back", "agents", &selector, |p| is_ready(p) && of(p, "understudy").0 > restarts);
    assert_eq!(of(&back, "agent"), agents, "the agent's container was touched");
    goes_on(cluster, &back);
    status(&back, "understudy")["lastState"]["terminated"].clone()
}

/// An agent that is told to end in the middle of a reply, and waits for the rest of it.
const READER: &str = r#"
import signal, openai
signal.signal(signal.SIGTERM, lambda *_: print("told to end", flush=True))
stream = openai.OpenAI(max_retries=0).chat.completions.create(model="gpt-4o-mini", stream=True, messages=[
    {"role": "system", "content": "You are a careful planner."},
    {"role": "user", "content": "We have 12 lamps and 13 spare parts for them. How many parts for each?"}])
text, finish = "", None
for n, chunk in enumerate(stream):
    if n == 3:
        print("streaming", flush=True)
    for choice in chunk.choices:
        text, finish = text + (choice.delta.content or ""), choice.finish_reason or finish
open("/dev/termination-log", "w").write(f"{finish} after {len(text)} characters")
"#;

pub(crate) fn drained(cluster: &Cluster) {
    let (api, pods) = (&cluster.api, "/api/v1/namespaces/agents/pods");
    let mut pod = lone("reader", "understudy.test/understudy:1");
    // The object stays when its containers have ended, so that it can be asked how.
    pod["metadata"]["finalizers"] = json!(["understudy.test/asked"]);
    let agent = &mut pod["spec"]["containers"][0];
    agent["command"] = json!(["python3", "-c", READER]);
    agent["args"] = json!([]);
    agent["env"][1]["value"] = json!("http://127.0.0.1:4141/slow");
    api.create(pods, &pod).unwrap();
    api.until(
        "it reads a stream",
        Duration::from_secs(60),
        || api.log("agents", "reader", "agent").contains("streaming"),
        || api.log("agents", "reader", "agent"),
    );
    let began = Instant::now();
    api.end(&format!("{pods}/reader"));
    let ended = |container: &str| {
        let pod = api.get(&format!("{pods}/reader"));
        status(&pod, container)["state"]["terminated"].clone()
    };
    api.until(
        "both have ended",
        Duration::from_secs(60),
        || !ended("agent").is_null() && !ended("understudy").is_null(),
        || api.get(&format!("{pods}/reader"))["status"].to_string(),
    );
    let took = began.elapsed();
    let (agent, sidecar) = (ended("agent"), ended("understudy"));
    let restarts = status(&api.get(&format!("{pods}/reader")), "agent")["restartCount"].clone();
    api.merge(&format!("{pods}/reader"), &json!({"metadata": {"finalizers": null}}));
    assert!(agent["message"].as_str().is_some_and(|m| m.starts_with("stop after ")), "{agent}");
    assert_eq!((&agent["exitCode"], &sidecar["exitCode"]), (&json!(0), &json!(0)), "{sidecar}");
    assert_eq!(restarts, 0, "its one call was refused the first time");
    eprintln!("          ended {:.1} s after it was told to", took.as_secs_f64());
}

pub(crate) fn kubelet_restarted(cluster: &Cluster) {
    let before = agent(cluster);
    let of = |pod: &Value| {
        ["understudy", "agent"]
            .map(|c| (status(pod, c)["containerID"].clone(), status(pod, c)["restartCount"].clone()))
    };
    let restart = told("UNDERSTUDY_NODE_KUBELET");
    let out = Command::new("sh").args(["-c", &restart]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    goes_on(cluster, &before);
    assert_eq!(of(&agent(cluster)), of(&before), "containers were started anew");
}

/// The process of a container on the node, by `ctr`'s list.
fn pid_of(command: &str, container: &str) -> String {
    let id = container.trim_start_matches("containerd://");
    let out = Command::new("sh").args(["-c", command]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let line = text.lines().find(|l| l.starts_with(id)).unwrap_or_else(|| panic!("no {id} in\n{text}"));
    line.split_whitespace().nth(1).unwrap().to_owned()
}
