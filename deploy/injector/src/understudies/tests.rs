use super::*;
use crate::pod::{Around, has, inject};
use crate::resources::Shelf as _;
use crate::{Outcome, STATUS, Settings, definition};

const HOME: &str = "understudy";

fn understudy(namespace: &str, name: &str, generation: i64, spec: &Value) -> Understudy {
    serde_json::from_value(json!({
        "apiVersion": "understudy.dev/v1alpha1",
        "kind": "Understudy",
        "metadata": {"namespace": namespace, "name": name, "generation": generation},
        "spec": spec,
    }))
    .unwrap()
}

fn at(host: &str) -> Value {
    json!({"remote": {"base_url": format!("https://{host}/v1"), "model": "small"}})
}

fn understudies(all: &[Understudy]) -> Understudies {
    let made = Understudies::new(HOME);
    all.iter().for_each(|u| made.set(u.clone()));
    made
}

fn labels(app: &str) -> BTreeMap<String, String> {
    [("app".to_owned(), app.to_owned())].into()
}

fn names(given: &[Given]) -> Vec<&str> {
    given.iter().map(|g| g.name.as_str()).collect()
}

#[test]
fn a_pod_gets_its_namespace_s_and_the_platform_s_and_of_two_alike_its_own() {
    let mut desks = at("desks");
    desks["selector"] = json!({"matchLabels": {"app": "desk"}});
    let all = understudies(&[
        understudy(HOME, "small", 1, &at("platform")),
        understudy(HOME, "large", 1, &at("platform")),
        understudy("agents", "small", 2, &at("agents")),
        understudy("agents", "of-desks", 1, &desks),
        understudy("others", "theirs", 1, &at("others")),
    ]);
    assert_eq!(names(&all.of("agents", &labels("bot"))), ["agents/small@2", "understudy/large@1"]);
    let desk = all.of("agents", &labels("desk"));
    assert_eq!(names(&desk), ["agents/of-desks@1", "agents/small@2", "understudy/large@1"]);
    assert_eq!(names(&all.of("quiet", &labels("desk"))), ["understudy/large@1", "understudy/small@1"]);
}

#[test]
fn it_becomes_the_configuration_s_keys_and_a_reference_to_the_pod_s_secret() {
    let spec = json!({"remote": {"base_url": "https://llm.test/v1", "model": "small-1", "logprobs": true,
        "budget_tokens": 5_000}, "secret": {"name": "llm", "key": "token"}});
    let given = Given::of(&understudy("agents", "team-small.v2", 1, &spec));
    let named = |name: &str| given.variables.iter().find(|v| v["name"] == name).unwrap().clone();
    for (key, value) in [
        ("BASE_URL", "https://llm.test/v1"),
        ("MODEL", "small-1"),
        ("LOGPROBS", "true"),
        ("BUDGET_TOKENS", "5000"),
        ("KEY_ENV", "REMOTE_UNDERSTUDY_KEY_TEAM_SMALL_V2"),
    ] {
        assert_eq!(named(&format!("UNDERSTUDY_REMOTE_TEAM_SMALL_V2_{key}"))["value"], value);
    }
    let key = &named("REMOTE_UNDERSTUDY_KEY_TEAM_SMALL_V2")["valueFrom"]["secretKeyRef"];
    assert_eq!(*key, json!({"name": "llm", "key": "token", "optional": true}));
}

#[test]
fn its_keys_are_the_configuration_s() {
    let page = include_str!("../../../../docs/configuration.md");
    let section = page.split("## [remote.NAME]").nth(1).unwrap().split("\n## ").next().unwrap();
    let schema: Value = serde_json::from_str(&definition::<Understudy>().unwrap()).unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/remote/properties";
    for key in schema.pointer(spec).unwrap().as_object().unwrap().keys() {
        assert!(section.contains(&format!("| `{key}` |")), "{key} is none of [remote.NAME]");
    }
}

#[test]
fn the_chart_installs_the_definition_of_this_version() {
    let chart = include_str!("../../../../helm/understudy/files/understudies.json");
    let made = definition::<Understudy>().unwrap();
    assert_eq!(chart.trim_end(), made, "write it anew: understudy-injector crd understudy");
}

/// A cluster with these understudies.
struct With(Understudies);

impl Around for With {
    fn paused(&self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn understudies(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Given> {
        self.0.of(namespace, labels)
    }
}

fn injected(pod: &Value, settings: &Settings, all: &With) -> Value {
    let Outcome::Injected { patch, .. } = inject(pod, "agents", settings, all) else { panic!("left alone") };
    let mut after = pod.clone();
    json_patch::patch(&mut after, &patch).unwrap();
    after
}

#[test]
fn a_pod_keeps_what_it_got_and_the_status_counts_who_is_behind() {
    let all = With(understudies(&[understudy("agents", "small", 1, &at("one"))]));
    let mut pod = json!({"metadata": {"name": "bot", "labels": {"understudy.dev/inject": "true"}},
        "spec": {"containers": [{"name": "agent", "image": "agent:1"}]}});
    let url = |pod: &Value| {
        let sidecar = &pod["spec"]["initContainers"][0];
        let variables = sidecar["env"].as_array().unwrap().iter();
        variables
            .clone()
            .find(|v| v["name"] == "UNDERSTUDY_REMOTE_SMALL_BASE_URL")
            .map(|v| v["value"].clone())
    };
    pod = injected(&pod, &Settings::default(), &all);
    let first = pod.clone();
    assert_eq!(url(&pod), Some(json!("https://one/v1")));
    assert_eq!(has(pod["metadata"]["annotations"][STATUS].as_str()), ["agents/small@1".to_owned()].into());

    // A second look at it, after a change, says what it has and not what there is.
    all.0.set(understudy("agents", "small", 2, &at("two")));
    pod = injected(&pod, &Settings::default(), &all);
    assert_eq!(pod, first);

    let of = |pod: &Value| has(pod["metadata"]["annotations"][STATUS].as_str());
    all.0.set_pod(("agents".into(), "bot".into()), labels("bot"), of(&pod));
    all.0.set_pod(("agents".into(), "new".into()), labels("bot"), ["agents/small@2".to_owned()].into());
    all.0.set_pod(("others".into(), "bot".into()), labels("bot"), BTreeSet::new());
    let told = all.0.told();
    let status = told[0].status.clone().unwrap();
    let counted = UnderstudyStatus { observed_generation: Some(2), pods: 1, behind: 1, problem: None };
    assert_eq!(status, counted);
    all.0.set(told[0].clone());
    assert!(all.0.told().is_empty(), "nothing new");
}

#[test]
fn the_chart_s_own_of_that_name_holds() {
    let all = With(understudies(&[understudy("agents", "small", 1, &at("one"))]));
    let settings = |name: &str| {
        let environment = [(format!("UNDERSTUDY_REMOTE_{name}_MODEL"), "the-chart-s".to_owned())].into();
        Settings { environment, ..Settings::default() }
    };
    let pod = json!({"metadata": {"name": "bot", "labels": {"understudy.dev/inject": "true"}},
        "spec": {"containers": [{"name": "agent", "image": "agent:1"}]}});
    // One whose name only begins alike is another.
    let beside = injected(&pod, &settings("SMALL_V2"), &all);
    assert!(beside.to_string().contains("https://one/v1"), "{beside}");
    let after = injected(&pod, &settings("SMALL"), &all);
    assert!(!after.to_string().contains("https://one/v1"), "{after}");
    assert!(has(after["metadata"]["annotations"][STATUS].as_str()).is_empty());
}

#[test]
fn one_that_no_sidecar_would_take_is_given_to_nobody_and_its_status_says_why() {
    let bad = [
        "http://10.0.0.999/v1",
        "http://llama-3.2/v1",
        "http://a.b.c.xn--pokxncvks/v1",
        "http://models/v1?key=1",
        "ftp://models/v1",
        "models",
        "",
    ];
    for url in bad {
        let spec = json!({"remote": {"base_url": url, "model": "small"}});
        let platform = understudy(HOME, "small", 1, &at("well"));
        let all = understudies(&[understudy("agents", "small", 1, &spec), platform]);
        all.set_pod(("agents".into(), "bot".into()), labels("bot"), BTreeSet::new());
        // The platform's of that name is no worse for it.
        assert_eq!(names(&all.of("agents", &labels("bot"))), ["understudy/small@1"], "{url}");
        let told = all.told();
        let status = told.iter().find(|u| u.metadata.namespace.as_deref() == Some("agents")).unwrap();
        let status = status.status.clone().unwrap();
        assert_eq!((status.pods, status.behind), (0, 0), "nobody waits for it");
        let said = status.problem.unwrap();
        assert!(said.contains(&format!("remote.base_url is {url:?}: ")), "{said}");
    }
    for url in ["http://10.0.0.9:8000/v1", "https://models.test", "http://llama-3.2b/v1/"] {
        let remote = Remote { base_url: url.to_owned(), ..Remote::default() };
        assert_eq!(problem(&remote), None);
    }
}
