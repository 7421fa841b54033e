use super::*;
use serde_json::json;

fn pod(image: &str, status: &Value) -> Value {
    of("demo", image, status)
}

fn of(namespace: &str, image: &str, status: &Value) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": "agent-1"},
        "spec": {
            "initContainers": [
                {"name": ENGINE, "image": "engine:1"}, {"name": NAME, "image": image}, {"name": "migrate"},
            ],
            "containers": [{"name": "agent"}],
        },
        "status": status,
    })
}

fn waits(container: &str, reason: &str) -> Value {
    json!({"initContainerStatuses": [{"name": container, "started": false,
        "state": {"waiting": {"reason": reason, "message": "no such host"}}}]})
}

fn unpullable() -> Value {
    waits(NAME, "ImagePullBackOff")
}

fn running() -> Value {
    json!({"initContainerStatuses": [{"name": NAME, "started": true, "state": {"running": {}}}]})
}

/// Ended by itself or by the kubelet, each time with this code.
fn ends(code: i32) -> Value {
    let mut status = waits(NAME, "CrashLoopBackOff");
    status["initContainerStatuses"][0]["lastState"] = json!({"terminated": {"exitCode": code}});
    status
}

#[test]
fn an_image_that_cannot_be_pulled_is_given_up_at_the_first_pod_where_none_runs() {
    let mut breaker = Breaker::default();
    let tripped = breaker.see("1", &pod("a:1", &unpullable()), 0).unwrap();
    assert_eq!((tripped.image.as_str(), tripped.pod.1.as_str()), ("a:1", "agent-1"));
    assert!(tripped.why.contains("ImagePullBackOff: no such host"), "{}", tripped.why);
    assert!(breaker.paused("a:1", "demo", 1).is_some() && breaker.paused("a:2", "demo", 1).is_none());
    // Told once.
    assert_eq!(breaker.see("1", &pod("a:1", &unpullable()), 2), None);
    assert_eq!(breaker.see("2", &pod("a:1", &unpullable()), 3), None);
}

#[test]
fn one_failing_pod_among_running_ones_is_its_nodes_misfortune() {
    let mut breaker = Breaker::default();
    assert_eq!(breaker.see("1", &pod("a:1", &running()), 0), None);
    assert_eq!(breaker.see("2", &pod("a:1", &unpullable()), 1), None);
    assert!(breaker.see("3", &pod("a:1", &unpullable()), 2).is_some());
}

#[test]
fn after_the_pause_one_pod_tries_and_the_next_pause_is_longer() {
    let mut breaker = Breaker::default();
    let is_paused = |breaker: &Breaker, now| breaker.paused("a:1", "demo", now).is_some();
    breaker.see("1", &pod("a:1", &unpullable()), 0).unwrap();
    assert!(is_paused(&breaker, 599) && !is_paused(&breaker, 600));
    breaker.forget("1");
    breaker.see("2", &pod("a:1", &unpullable()), 700).unwrap();
    assert!(is_paused(&breaker, 700 + 1_199) && !is_paused(&breaker, 1_900));
    // One that starts closes it for good.
    breaker.see("3", &pod("a:1", &running()), 2_000);
    breaker.forget("2");
    breaker.forget("3");
    breaker.see("4", &pod("a:1", &unpullable()), 3_000).unwrap();
    assert!(is_paused(&breaker, 3_599) && !is_paused(&breaker, 3_600));
}

#[test]
fn an_image_that_cannot_be_pulled_is_given_up_everywhere() {
    let mut breaker = Breaker::default();
    let tripped = breaker.see("1", &of("one", "a:1", &unpullable()), 0).unwrap();
    assert_eq!(tripped.reach, Reach::Cluster);
    assert!(breaker.paused("a:1", "two", 1).is_some());
    assert_eq!(breaker.all_paused(1), [("a:1".to_owned(), String::new())]);
}

#[test]
fn one_that_a_single_namespace_cannot_pull_is_given_up_there_and_with_a_second_everywhere() {
    let mut breaker = Breaker::default();
    breaker.see("1", &of("one", "a:1", &running()), 0);
    let tripped = breaker.see("2", &of("two", "a:1", &unpullable()), 1).unwrap();
    assert_eq!(tripped.reach, Reach::Namespace, "its credentials may be missing there");
    assert!(breaker.paused("a:1", "two", 2).is_some() && breaker.paused("a:1", "one", 2).is_none());
    // That pod was created anew without it; a third namespace is in the same trouble.
    breaker.forget("2");
    let tripped = breaker.see("3", &of("three", "a:1", &unpullable()), 3).unwrap();
    assert_eq!(tripped.reach, Reach::Cluster);
    assert!(breaker.paused("a:1", "one", 4).is_some());
}

#[test]
fn a_namespace_that_could_not_pull_long_ago_does_not_speak_for_others() {
    let mut breaker = Breaker::default();
    breaker.see("1", &of("one", "a:1", &running()), 0);
    assert!(breaker.see("2", &of("two", "a:1", &unpullable()), 1).is_some());
    breaker.forget("2");
    let tripped = breaker.see("3", &of("three", "a:1", &unpullable()), 700).unwrap();
    assert_eq!(tripped.reach, Reach::Namespace);
}

#[test]
fn one_that_does_not_run_is_given_up_in_its_namespace_alone() {
    for reason in ["CreateContainerConfigError", "RunContainerError", "CrashLoopBackOff"] {
        let mut breaker = Breaker::default();
        // Elsewhere it runs, which says nothing of this namespace.
        breaker.see("1", &of("two", "a:1", &running()), 0);
        let tripped = breaker.see("2", &of("one", "a:1", &waits(NAME, reason)), 1).unwrap();
        assert_eq!(tripped.reach, Reach::Namespace, "{reason}");
        assert!(breaker.paused("a:1", "one", 2).is_some() && breaker.paused("a:1", "two", 2).is_none());
        assert_eq!(breaker.all_paused(2), [("a:1".to_owned(), "one".to_owned())]);
        // Another namespace has a count of its own.
        assert!(breaker.see("3", &of("three", "a:1", &waits(NAME, reason)), 3).is_some());
        assert_eq!(breaker.all_paused(602).len(), 1);
    }
}

#[test]
fn an_image_that_can_be_had_at_last_and_does_not_run_is_another_failure() {
    let mut breaker = Breaker::default();
    assert!(breaker.see("1", &pod("a:1", &unpullable()), 0).is_some());
    let tripped = breaker.see("1", &pod("a:1", &ends(1)), 700).unwrap();
    assert_eq!(tripped.reach, Reach::Namespace);
}

#[test]
fn an_engine_of_the_pod_s_own_that_fails_stops_its_namespace_alone() {
    let (_, sidecar) = look(&pod("a:1", &waits(ENGINE, "ErrImagePull"))).unwrap();
    assert!(matches!(sidecar, Sidecar::Failing { cause: Cause::Run, .. }), "{sidecar:?}");
}

#[test]
fn one_that_ends_again_and_again_without_having_started_fails_whatever_its_code() {
    for code in [0, 1] {
        let (_, sidecar) = look(&pod("a:1", &ends(code))).unwrap();
        assert!(matches!(sidecar, Sidecar::Failing { .. }), "{code}: {sidecar:?}");
    }
}

#[test]
fn one_that_ran_and_fell_is_the_kubelets_to_restart() {
    // Seen running: the kubelet says `started: false` of it from its fall on.
    let mut breaker = Breaker::default();
    breaker.see("1", &pod("a:1", &running()), 0);
    assert_eq!(breaker.see("1", &pod("a:1", &ends(0)), 1), None);
    assert_eq!(breaker.see("1", &pod("a:1", &ends(137)), 2), None);
    // Not seen, but what comes after it has been started.
    let mut status = ends(0);
    let migrate = json!({"name": "migrate", "state": {"waiting": {}}, "lastState": {"terminated": {}}});
    status["initContainerStatuses"].as_array_mut().unwrap().push(migrate);
    assert_eq!(look(&pod("a:1", &status)).unwrap().1, Sidecar::Started);
    // What comes before it says nothing.
    let mut status = ends(0);
    let engine = json!({"name": ENGINE, "state": {"running": {}}});
    status["initContainerStatuses"].as_array_mut().unwrap().push(engine);
    assert!(matches!(look(&pod("a:1", &status)).unwrap().1, Sidecar::Failing { .. }));
}

#[test]
fn a_sidecar_that_falls_while_the_agent_runs_keeps_nobody_waiting() {
    for agent in [
        json!({"state": {"running": {}}}),
        json!({"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 1}}}),
    ] {
        let mut status = unpullable();
        status["containerStatuses"] = json!([agent]);
        assert_eq!(look(&pod("a:1", &status)).unwrap().1, Sidecar::Started);
    }
}

#[test]
fn pods_without_a_sidecar_or_a_status_say_nothing() {
    assert_eq!(look(&json!({"spec": {"containers": []}})), None);
    assert_eq!(look(&pod("a:1", &Value::Null)).unwrap().1, Sidecar::Waiting);
}

#[test]
fn the_last_pod_of_a_namespace_takes_it_along() {
    let mut breaker = Breaker::default();
    breaker.see("1", &of("one", "a:1", &running()), 0);
    breaker.see("2", &of("one", "a:1", &running()), 0);
    breaker.see("3", &of("two", "a:1", &running()), 0);
    assert_eq!(breaker.forget("1"), None);
    assert_eq!(breaker.forget("2"), Some("one".to_owned()));
    assert_eq!(breaker.forget("2"), None);
    assert_eq!(breaker.namespaces(), ["two".to_owned()].into());
}
