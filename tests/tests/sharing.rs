//! A task belongs to one caller's key, unless the operator shares its form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE, Proxy};
use understudy_tests::standin;

const KEYS: [&str; 2] = ["sk-stand-in", "sk-stand-in-too"];

/// The same three look-ups from each of two callers.
fn ask(proxy: &Proxy) {
    for key in KEYS {
        for answer in Agent::new(&proxy.url(), key).ask_all((0..3).map(desk::look_up).collect(), 1) {
            assert_eq!(answer.unwrap().status, 200);
        }
    }
}

/// The calls of each task, once all are counted.
fn calls(home: &Home, all: u64) -> Vec<u64> {
    let mut found = Vec::new();
    wait_until("the worker has met all calls", PATIENCE, || {
        let tasks = home.json(["tasks"]);
        found = tasks.as_array().unwrap().iter().map(|t| t["calls"].as_u64().unwrap()).collect();
        found.iter().sum::<u64>() == all
    });
    found
}

#[test]
fn callers_share_a_task_only_where_its_form_is_shared() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), "[engine]\nenabled = false");
    let proxy = home.serve();
    ask(&proxy);
    assert_eq!(calls(&home, 6), [3, 3]);
    let id = home.json(["tasks"])[0]["id"].as_str().unwrap().to_owned();
    let page = home.json(["task", "show", &id]);
    assert_eq!(page["shared"], false, "{page}");
    let form = page["form_hash"].as_str().unwrap().to_owned();
    drop(proxy);

    // What was recorded before is counted as one task too.
    home.add(&format!("[worker]\nshared = [\"{form}\"]"));
    let proxy = home.serve();
    assert_eq!(calls(&home, 6), [6]);
    ask(&proxy);
    assert_eq!(calls(&home, 12), [12]);
    let id = home.json(["tasks"])[0]["id"].as_str().unwrap().to_owned();
    let page = home.json(["task", "show", &id]);
    assert_eq!((&page["shared"], &page["form_hash"]), (&true.into(), &form.into()), "{page}");
}
