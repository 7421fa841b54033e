//! What a list says of an image, in whatever order its pods come.

use axum::Router;
use axum::http::StatusCode;
use kube::Client;
use serde_json::{Value, json};

use super::*;
use crate::Settings;
use crate::ask::NAME;

/// A pod whose sidecar is in this state.
fn pod(uid: &str, started: bool, state: &Value) -> Pod {
    let status = json!({"name": NAME, "image": "a:1", "imageID": "", "ready": started, "restartCount": 0,
        "started": started, "state": state});
    let pod = json!({
        "metadata": {"namespace": "agents", "name": uid, "uid": uid},
        "spec": {"initContainers": [{"name": NAME, "image": "a:1"}], "containers": [{"name": "agent"}]},
        "status": {"initContainerStatuses": [status]},
    });
    serde_json::from_value(pod).unwrap()
}

fn fails_to_pull(uid: &str) -> Pod {
    pod(uid, false, &json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}))
}

fn runs(uid: &str) -> Pod {
    pod(uid, true, &json!({"running": {}}))
}

/// An injector that has just started, at an API server that takes no event of it.
fn injector() -> Service {
    let router: Router = Router::new().fallback(|| async { StatusCode::FORBIDDEN });
    Service::new(Settings::default(), "understudy", Client::new(router, "understudy"))
}

/// Whether `a:1` is given up after this list.
async fn is_given_up(service: &Service, listed: Vec<Pod>) -> bool {
    let mut list = List::default();
    take(service, &mut list, watcher::Event::Init).await;
    for pod in listed {
        take(service, &mut list, watcher::Event::InitApply(pod)).await;
    }
    take(service, &mut list, watcher::Event::InitDone).await;
    assert!(list.failing.is_empty());
    !service.breaker().all_paused(now()).is_empty()
}

#[tokio::test]
async fn a_failing_pod_that_is_listed_before_those_that_run_trips_nothing() {
    let service = injector();
    assert!(!is_given_up(&service, vec![fails_to_pull("1"), runs("2"), runs("3")]).await);
    // It is known all the same: a second one is the image's fault.
    take(&service, &mut List::default(), watcher::Event::Apply(fails_to_pull("4"))).await;
    assert_eq!(service.breaker().all_paused(now()).len(), 1);
}

#[tokio::test]
async fn a_list_in_which_none_runs_or_two_fail_gives_the_image_up() {
    assert!(is_given_up(&injector(), vec![fails_to_pull("1")]).await);
    assert!(is_given_up(&injector(), vec![fails_to_pull("1"), runs("2"), fails_to_pull("3")]).await);
}

#[tokio::test]
async fn a_pod_that_went_while_nobody_watched_speaks_for_no_image() {
    let service = injector();
    assert!(!is_given_up(&service, vec![runs("1")]).await);
    // The list before had it run: it is gone, and the one that is there fails.
    assert!(is_given_up(&service, vec![fails_to_pull("2")]).await);
}
