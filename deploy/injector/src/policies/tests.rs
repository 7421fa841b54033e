use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use serde_json::{Value, json};

use super::callers::{Caller, caller};
use super::status::renewed;
use super::*;
use crate::crd::{Heard, PolicyStatus};
use crate::resources::Shelf as _;

const HOME: &str = "understudy";

fn policy(namespace: &str, name: &str, made: &str, spec: &Value) -> UnderstudyPolicy {
    serde_json::from_value(json!({
        "apiVersion": "understudy.dev/v1alpha1",
        "kind": "UnderstudyPolicy",
        "metadata": {"namespace": namespace, "name": name, "uid": format!("{name}-uid"), "generation": 1,
            "creationTimestamp": made},
        "spec": spec,
    }))
    .unwrap()
}

fn policies(all: &[UnderstudyPolicy]) -> Policies {
    let policies = Policies::new(HOME);
    let keys = all.iter().map(key).collect();
    all.iter().for_each(|p| policies.set(p.clone()));
    policies.listed(&keys);
    policies
}

fn pod(policies: &Policies, name: &str, labels: &[(&str, &str)]) -> Key {
    let key = ("agents".to_owned(), name.to_owned());
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    policies.set_pod(key.clone(), format!("{name}-uid"), labels);
    key
}

fn document_of(policies: &Policies, pod: &Key) -> Document {
    match policies.of(pod, &format!("{}-uid", pod.1)) {
        Known::Document(document) => Document::clone(&document),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_is_told_what_is_for_it_the_narrowest_and_oldest_last() {
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    let rules = |tau: f64| json!({"policy": {"tau": tau}});
    let all = policies(&[
        policy("agents", "task", new, &json!({"task": "route", "stage": "live"})),
        policy("agents", "young", new, &rules(0.9)),
        policy("agents", "old", old, &rules(0.99)),
        policy(HOME, "platform", new, &rules(0.8)),
        policy("others", "theirs", old, &rules(0.5)),
        policy(
            "agents",
            "for-desks",
            new,
            &json!({"selector": {"matchLabels": {"app": "desk"}}, "stage": "shadowing"}),
        ),
    ]);
    let desk = pod(&all, "desk", &[("app", "desk")]);
    let bot = pod(&all, "bot", &[("app", "bot")]);
    all.pods_listed(&[desk.clone(), bot.clone()].into());
    let names = |d: &Document| d.policies.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    let told = document_of(&all, &bot);
    assert_eq!(names(&told), ["understudy/platform", "agents/young", "agents/old", "agents/task"]);
    assert_eq!(told.policies[2].policy.tau, Some(0.99));
    let desk = document_of(&all, &desk);
    assert!(names(&desk).contains(&"agents/for-desks".to_owned()));
    assert_ne!(told.version, desk.version);
}

#[test]
fn nobody_is_told_anything_before_both_lists_were_read() {
    let all = Policies::new(HOME);
    let bot = pod(&all, "bot", &[]);
    assert_eq!(all.of(&bot, "bot-uid"), Known::NotYet);
    all.listed(&BTreeSet::new());
    assert_eq!(all.of(&bot, "bot-uid"), Known::NotYet, "the pods were not listed");
    all.pods_listed(&[bot.clone()].into());
    assert_eq!(document_of(&all, &bot), Document::default());
    assert_eq!(all.of(&bot, "of-an-earlier-pod"), Known::NotYet, "another pod of the same name");
    all.end();
    assert_eq!(all.of(&bot, "bot-uid"), Known::Ending);
}

#[test]
fn whoever_waits_is_woken_by_a_change_and_not_by_a_status() {
    let made = "2026-01-01T00:00:00Z";
    let first = policy("agents", "a", made, &json!({"stage": "live"}));
    let all = policies(std::slice::from_ref(&first));
    let mut changes = all.changes();
    changes.borrow_and_update();
    let status = Some(PolicyStatus { pods: 3, ..PolicyStatus::default() });
    all.set(UnderstudyPolicy { status, ..first.clone() });
    assert!(!changes.has_changed().unwrap());
    let mut next = first;
    next.metadata.generation = Some(2);
    all.set(next);
    assert!(changes.has_changed().unwrap());
}

#[test]
fn a_token_names_its_pod() {
    let status = |audiences: &[&str], username: &str| -> TokenReviewStatus {
        serde_json::from_value(json!({
            "authenticated": true,
            "audiences": audiences,
            "user": {"username": username, "extra": {
                "authentication.kubernetes.io/pod-name": ["bot"],
                "authentication.kubernetes.io/pod-uid": ["bot-uid"],
            }},
        }))
        .unwrap()
    };
    let account = "system:serviceaccount:agents:default";
    let bot = Caller { pod: ("agents".to_owned(), "bot".to_owned()), uid: "bot-uid".to_owned() };
    assert_eq!(caller(&status(&["ours"], account), "ours"), Some(bot));
    assert_eq!(caller(&status(&["another"], account), "ours"), None);
    assert_eq!(caller(&status(&["ours"], "kubernetes-admin"), "ours"), None, "a person is no pod");
    let unbound = TokenReviewStatus { user: None, ..status(&["ours"], account) };
    assert_eq!(caller(&unbound, "ours"), None);
}

#[test]
fn what_pods_tell_is_counted() {
    let made = "2026-01-01T00:00:00Z";
    let all = policies(&[
        policy("agents", "route", made, &json!({"task": "route", "stage": "live"})),
        policy(
            "agents",
            "elsewhere",
            made,
            &json!({"selector": {"matchLabels": {"app": "x"}}, "stage": "live"}),
        ),
    ]);
    let pods: Vec<Key> = ["a", "b", "c", "silent"].iter().map(|n| pod(&all, n, &[])).collect();
    all.pods_listed(&pods.iter().cloned().collect());
    let version = document_of(&all, &pods[0]).version;
    let report = |version: &str, stage: &str| Report {
        version: version.to_owned(),
        tasks: [("route", stage), ("other", "shadowing")].map(|(t, s)| (t.to_owned(), s.to_owned())).into(),
        ..Report::default()
    };
    let hear = |n: usize, report: Report| {
        let pod: &Key = &pods[n];
        // The last pod of that name has still something to say.
        let gone = Report { tasks: [("gone".to_owned(), "live".to_owned())].into(), ..report.clone() };
        all.hear(pod, &format!("{}-uid", pod.1), report, 1_000);
        all.hear(pod, "uid-of-the-last", gone, 1_000);
    };
    hear(0, report(&version, "live"));
    hear(1, report("an-older-one", "shadowing"));
    let refused = BTreeMap::from([("agents/route".to_owned(), "tau: 2 is not allowed".to_owned())]);
    hear(2, Report { refused, ..report(&version, "shadowing") });
    let told = all.told("me", 1_010);
    let status_of = |name: &str| told.iter().find(|p| p.name_any() == name).unwrap().status.clone().unwrap();
    assert_eq!((status_of("elsewhere").observed_generation, status_of("elsewhere").pods), (Some(1), 0));
    let status = status_of("route");
    assert_eq!((status.pods, status.applied, status.refused), (3, 1, 1));
    assert_eq!(status.stages, "route: 1 live, 2 shadowing");
    assert_eq!(status.reason.as_deref(), Some("tau: 2 is not allowed"));
    told.into_iter().for_each(|p| all.set(p));
    assert!(all.told("me", 1_011).is_empty(), "nothing new");
    assert_eq!(all.told("me", 1_071).len(), 1, "it is said again that we are there");
    let later = all.told("me", 2_000);
    assert!(later[0].status.clone().unwrap().heard.is_empty(), "they have been silent");
}

/// A report of so many tasks of this pod's, as it comes.
fn report_of(pod: &str, tasks: u64) -> Report {
    let name = |n: u64| format!("{pod}-{n:04}");
    let stages: BTreeMap<_, _> = (0..tasks).map(|n| (name(n), "shadowing")).collect();
    let ids: BTreeMap<_, _> = (0..tasks).map(|n| (name(n), format!("{n:016x}"))).collect();
    serde_json::from_value(json!({"tasks": stages, "ids": ids})).unwrap()
}

#[test]
fn a_policy_that_names_its_task_by_id_shows_its_stages_where_ids_are_told() {
    let made = "2026-01-01T00:00:00Z";
    let by_id = json!({"task": format!("{:016x}", 7), "stage": "shadowing"});
    let all = policies(&[policy("agents", "by-id", made, &by_id)]);
    let pods: Vec<Key> = ["a", "b"].iter().map(|n| pod(&all, n, &[])).collect();
    all.pods_listed(&pods.iter().cloned().collect());
    all.hear(&pods[0], "a-uid", report_of("a", 4_096), 1_000);
    // An earlier version's.
    all.hear(&pods[1], "b-uid", Report { ids: BTreeMap::new(), ..report_of("b", 10) }, 1_000);
    let status = all.told("me", 1_010).remove(0).status.unwrap();
    assert_eq!((status.pods, status.stages.as_str()), (2, "a-0007: 1 shadowing"));
}

#[test]
fn of_thousands_of_tasks_a_status_has_those_that_most_pods_have() {
    let made = "2026-01-01T00:00:00Z";
    let all = policies(&[policy("agents", "all", made, &json!({"stage": "shadowing"}))]);
    let names = ["a", "b", "c"];
    let pods: Vec<Key> = names.iter().map(|n| pod(&all, n, &[])).collect();
    all.pods_listed(&pods.iter().cloned().collect());
    let shared = ("shared".to_owned(), "live".to_owned());
    for (pod, name) in pods.iter().zip(names) {
        let mut report = report_of(name, 60);
        report.tasks.extend([shared.clone()]);
        all.hear(pod, &format!("{name}-uid"), report, 1_000);
    }
    let status = all.told("me", 1_010).remove(0).status.unwrap();
    let heard = &status.heard["me"].tasks;
    assert_eq!((heard.len(), heard["shared"]["live"], heard.contains_key("c-0000")), (MOST_TASKS, 3, false));
    assert!(status.stages.ends_with("; shared: 3 live"), "{}", status.stages);
    // Each replica has its own.
    let its = |n: u32| (format!("z-{n}"), BTreeMap::from([("live".to_owned(), 1_u32)]));
    let other = Heard { tasks: (0..10).map(its).collect(), ..Heard::default() };
    let both = renewed(&status, "other", Some(other), 1, 1_010);
    assert!(both.stages.ends_with("; shared: 3 live; 10 more"), "{}", both.stages);
}

#[test]
fn replicas_add_up_and_a_lost_one_is_forgotten() {
    let heard = |pods: u32| Heard {
        pods,
        applied: pods,
        tasks: [("route".to_owned(), [("live".to_owned(), pods)].into())].into(),
        ..Heard::default()
    };
    let one = renewed(&PolicyStatus::default(), "one", Some(heard(2)), 4, 1_000);
    let two = renewed(&one, "two", Some(heard(3)), 4, 1_005);
    assert_eq!((two.pods, two.stages.as_str(), two.heard.len()), (5, "route: 5 live", 2));
    assert_eq!(renewed(&two, "one", Some(heard(2)), 4, 1_006), two, "nothing new is not written");
    // Counted for another generation, it says nothing of this one.
    let next = renewed(&two, "one", Some(heard(1)), 5, 1_010);
    assert_eq!((next.observed_generation, next.pods), (Some(5), 1));
    let later = renewed(&next, "one", Some(heard(1)), 5, 1_300);
    assert_eq!(later.heard.keys().collect::<Vec<_>>(), ["one"]);
}

#[test]
fn a_policy_s_keys_are_the_configuration_s() {
    let of = |value: Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let schema = serde_json::from_str::<Value>(&crate::definition::<UnderstudyPolicy>().unwrap()).unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/policy/properties";
    let ours = of(schema.pointer(spec).unwrap().clone());
    let theirs = of(serde_json::to_value(understudy_policy::TaskPolicy::default()).unwrap());
    assert_eq!(ours, theirs);
}

#[test]
fn the_chart_installs_the_definition_of_this_version() {
    let chart = include_str!("../../../../helm/understudy/files/understudypolicies.json");
    assert_eq!(
        chart.trim_end(),
        crate::definition::<UnderstudyPolicy>().unwrap(),
        "write it anew: understudy-injector crd"
    );
}

#[test]
fn keys_of_a_newer_definition_are_passed_on_and_not_lost() {
    let newer = json!({"policy": {"tau": 0.9, "patience": 3}});
    let all = policies(&[policy("agents", "newer", "2026-01-01T00:00:00Z", &newer)]);
    let bot = pod(&all, "bot", &[]);
    all.pods_listed(&[bot.clone()].into());
    let told = serde_json::to_value(document_of(&all, &bot)).unwrap();
    assert_eq!(told["policies"][0]["policy"], json!({"tau": 0.9, "patience": 3}));
}

#[test]
fn a_pod_is_told_who_may_answer_and_a_definition_names_every_kind_there_is() {
    let says = json!({"policy": {"models": ["head", "prompted-27b2d3ab4a8b"]}});
    let all = policies(&[policy("agents", "models", "2026-01-01T00:00:00Z", &says)]);
    let bot = pod(&all, "bot", &[]);
    all.pods_listed(&[bot.clone()].into());
    let told = serde_json::to_value(document_of(&all, &bot)).unwrap();
    assert_eq!(told["policies"][0]["policy"], says["policy"]);
    let rules: understudy_policy::TaskPolicy = serde_json::from_value(says["policy"].clone()).unwrap();
    assert_eq!(rules.validate(), vec![]);
    let definition = crate::definition::<UnderstudyPolicy>().unwrap();
    assert!(definition.contains(&format!("^({})(-", understudy_policy::KINDS.join("|"))));
}

#[test]
fn a_pod_that_is_labelled_anew_is_told_at_once_and_a_new_pod_wakes_nobody() {
    let made = "2026-01-01T00:00:00Z";
    let desks = json!({"selector": {"matchLabels": {"app": "desk"}}, "stage": "live"});
    let all = policies(&[policy("agents", "desks", made, &desks)]);
    let bot = pod(&all, "bot", &[]);
    all.pods_listed(&[bot.clone()].into());
    assert_eq!(document_of(&all, &bot).policies, []);
    let mut changes = all.changes();
    changes.borrow_and_update();
    pod(&all, "another", &[]);
    assert!(!changes.has_changed().unwrap());
    pod(&all, "bot", &[("app", "desk")]);
    assert!(changes.has_changed().unwrap());
    assert_eq!(document_of(&all, &bot).policies.len(), 1);
}
