use std::sync::Mutex;

use super::*;
use crate::admin::client::Client;
use crate::failure::Failure;
use crate::state::{self, Running};

/// A proxy with one task, that writes down what it is told.
#[derive(Default)]
struct Fake {
    orders: Mutex<Vec<(String, Order, String)>>,
}

impl Backstage for Fake {
    fn status(&self) -> Status {
        Status { version: "test".into(), ..Status::default() }
    }
    fn tasks(&self) -> Vec<TaskRow> {
        vec![TaskRow {
            id: "00c0ffee00c0ffee".into(),
            name: "look up".into(),
            stage: "live".into(),
            ..TaskRow::default()
        }]
    }
    fn task(&self, which: &str) -> Result<TaskPage, Refused> {
        if which == "look up" {
            Ok(TaskPage { row: self.tasks().remove(0), ..TaskPage::default() })
        } else {
            Err(Refused::NoSuchTask(which.into()))
        }
    }
    fn act(&self, which: &str, order: Order, by: &str) -> Result<Acted, Refused> {
        self.orders.lock().unwrap().push((which.into(), order, by.into()));
        Ok(Acted { task: which.into(), said: "done".into(), ..Acted::default() })
    }
    fn decisions(&self, last: usize) -> Vec<DecisionRow> {
        vec![DecisionRow::default(); last.min(3)]
    }
    fn savings(&self) -> SavingsPage {
        SavingsPage::default()
    }
    fn journal(&self) -> JournalPage {
        panic!("a question that panics is answered with an error")
    }
    fn tail(&self, _: usize) -> Result<Vec<Value>, Refused> {
        Err(Refused::Off("nothing is recorded: capture.enabled is false".into()))
    }
    fn export(&self, _: u64, _: usize, _: &str) -> Result<ExportPage, Refused> {
        Err(Refused::Off("no journal".into()))
    }
    fn curriculum(&self, which: &str) -> Result<CurriculumPage, Refused> {
        Err(Refused::NoSuchTask(which.into()))
    }
    fn exchanges(&self, which: &str, _: u64, _: &str) -> Result<ExchangesPage, Refused> {
        Err(Refused::NoSuchTask(which.into()))
    }
    fn curated(&self, _: &str, _: &str, _: Value) -> Result<(), Refused> {
        Ok(())
    }
    fn flags(&self) -> Result<Vec<Flag>, Refused> {
        Ok(Vec::new())
    }
    fn flag(&self, flagging: Flagging) -> Result<Flagged, Refused> {
        Ok(Flagged { flagged: flagging.exchanges.len() })
    }
    fn stop_serving(&self, stop: bool, _: &str) -> Stopped {
        Stopped { stopped: stop, roster_version: 7 }
    }
}

struct Stand {
    fake: Arc<Fake>,
    running: Running,
    dir: tempfile::TempDir,
    _serving: tokio::task::JoinHandle<()>,
}

async fn stand() -> Stand {
    let dir = tempfile::tempdir().unwrap();
    let token = new_token();
    state::write_private(&state::token_file(dir.path()), token.as_bytes()).unwrap();
    let fake = Arc::new(Fake::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router(Arc::clone(&fake) as Arc<dyn Backstage>, Guard::new(&token, &[]));
    let _serving =
        tokio::spawn(async move { serve(listener, router, std::future::pending()).await.unwrap() });
    let running = Running {
        pid: std::process::id(),
        gateway: address,
        admin: address,
        metrics: None,
        prefixes: std::collections::BTreeMap::new(),
        serves: state::Serves::All,
    };
    Stand { fake, running, dir, _serving }
}

#[tokio::test]
async fn the_command_line_reads_and_orders() {
    let stand = stand().await;
    let client = Client::of(&stand.running, stand.dir.path()).unwrap();
    let tasks: Vec<TaskRow> = client.get("/v1/tasks").await.unwrap();
    assert_eq!(tasks.first().unwrap().name, "look up");
    let page: TaskPage = client.get("/v1/tasks/look%20up").await.unwrap();
    assert_eq!(page.row.stage, "live");
    let decisions: Vec<DecisionRow> = client.get("/v1/decisions?last=2").await.unwrap();
    assert_eq!(decisions.len(), 2);
    for action in ["approve", "promote", "demote", "pin", "unpin"] {
        let _: Acted = client.post(&format!("/v1/tasks/x/{action}"), &json!({ "by": "me" })).await.unwrap();
    }
    let _: Acted = client.post("/v1/tasks/x/name", &json!({ "name": " new ", "by": "me" })).await.unwrap();
    let orders: Vec<Order> = stand.fake.orders.lock().unwrap().iter().map(|(_, o, _)| o.clone()).collect();
    let expected = [
        Order::Approve,
        Order::Promote,
        Order::Demote,
        Order::Pin(true),
        Order::Pin(false),
        Order::Name("new".into()),
    ];
    assert_eq!(orders, expected);
    let stopped: Stopped = client.post("/v1/stop-serving", &json!({})).await.unwrap();
    assert!(stopped.stopped);
    let stopped: Stopped = client.post("/v1/stop-serving", &json!({ "resume": true })).await.unwrap();
    assert!(!stopped.stopped);
}

#[tokio::test]
async fn refusals_are_told_in_words() {
    let stand = stand().await;
    let client = Client::of(&stand.running, stand.dir.path()).unwrap();
    let said = async |path: &str| client.get::<Value>(path).await.unwrap_err().to_string();
    assert!(said("/v1/tasks/nobody").await.contains("no task is called nobody"));
    assert!(said("/v1/nowhere").await.contains("no such page"));
    assert!(said("/v1/journal/stats").await.contains("could not be answered"));
    assert!(said("/v1/journal/tail").await.contains("nothing is recorded: capture.enabled is false"));
    let posted = client.post::<Value>("/v1/tasks/x/frobnicate", &json!({})).await.unwrap_err().to_string();
    assert!(posted.contains("no such action"), "{posted}");
    let posted = client.post::<Value>("/v1/tasks/x/name", &json!({})).await.unwrap_err().to_string();
    assert!(posted.contains("a name of 1 to 120 bytes"), "{posted}");
}

#[tokio::test]
async fn nobody_without_the_token_or_from_a_web_page_passes() {
    let stand = stand().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/v1/tasks", stand.running.admin);
    let token = std::fs::read_to_string(state::token_file(stand.dir.path())).unwrap();
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(http.get(&url)).await, 401);
    assert_eq!(status(http.get(&url).bearer_auth("wrong")).await, 401);
    assert_eq!(status(http.get(&url).bearer_auth(&token)).await, 200);
    assert_eq!(status(http.get(&url).bearer_auth(&token).header("host", "rebound.test")).await, 403);
    assert_eq!(status(http.get(&url).bearer_auth(&token).header("origin", "https://web.test")).await, 403);
    let page = stand.running.admin;
    assert_eq!(
        status(http.get(&url).bearer_auth(&token).header("origin", format!("http://{page}"))).await,
        200
    );
}

#[test]
fn the_token_is_the_owners_alone_and_a_dead_proxy_is_not_found() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = state::token_file(dir.path());
    state::write_private(&file, b"one").unwrap();
    state::write_private(&file, b"two").unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"two");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // A process that lives, but holds no lock.
    let running = Running {
        pid: std::process::id(),
        gateway: "127.0.0.1:1".parse().unwrap(),
        admin: "127.0.0.1:1".parse().unwrap(),
        metrics: None,
        prefixes: std::collections::BTreeMap::new(),
        serves: state::Serves::All,
    };
    let claim = state::Claim::try_take(dir.path(), state::Serves::All).unwrap().unwrap();
    let announced = claim.announce(&running);
    let text = std::fs::read(dir.path().join("running.json")).unwrap();
    assert!(Client::find(dir.path()).is_ok());
    drop(announced);
    std::fs::write(dir.path().join("running.json"), text).unwrap();
    assert!(matches!(Client::find(dir.path()), Err(Failure::NotRunning(_))));
}
