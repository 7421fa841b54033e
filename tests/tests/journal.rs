//! What `understudy journal` says where something is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE, Proxy, files, said};
use understudy_tests::standin;

const NOBODY_REHEARSES: &str = "[engine]\nenabled = false\n";

fn call(proxy: &Proxy, n: usize) {
    let answer = Agent::new(&proxy.url(), "sk-stand-in").ask(&desk::triage(n));
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn exported(home: &Home) -> usize {
    said(&home.output(["journal", "export"])).matches("\"exchange\":").count()
}

#[test]
fn an_export_that_lacks_records_says_so_and_fails() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let mut proxy = home.serve();
    call(&proxy, 1);
    wait_until("the first call is recorded", PATIENCE, || exported(&home) == 1);
    let out = home.output(["journal", "export"]);
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    proxy.signal("TERM");
    assert!(proxy.ended().success(), "{}", proxy.log());
    for file in files(&home.state().join("journal").join("volumes")) {
        if file.ends_with("db") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let proxy = home.serve();
    call(&proxy, 2);
    wait_until("the second call is recorded", PATIENCE, || exported(&home) == 1);
    let out = home.output(["journal", "export"]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(said(&out).contains("are lost"), "{}", said(&out));
}

#[test]
fn an_export_that_is_refused_leaves_no_file_and_may_be_tried_again() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), &format!("{NOBODY_REHEARSES}[capture]\nenabled = false\n"));
    let _proxy = home.serve();
    let file = home.path("export.jsonl");
    for _ in 0..2 {
        let out = home.output(["journal", "export", "-o", file.to_str().unwrap()]);
        assert_eq!(out.status.code(), Some(1), "{}", said(&out));
        assert!(said(&out).contains("capture.enabled is false"), "{}", said(&out));
        assert!(!file.exists());
    }
}

#[test]
fn a_rehearsal_does_not_go_on_in_a_proxys_journal() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let mut proxy = home.serve();
    call(&proxy, 1);
    wait_until("the call is recorded", PATIENCE, || exported(&home) == 1);
    let file = home.path("export.jsonl");
    let out = home.output(["journal", "export", "-o", file.to_str().unwrap()]);
    assert!(out.status.success(), "{}", said(&out));
    proxy.signal("TERM");
    assert!(proxy.ended().success(), "{}", proxy.log());
    // It is refused before any model is loaded, so any folder does for one.
    let mut rehearse = home.command(["rehearse"]);
    rehearse.env("UNDERSTUDY_ENGINE_ENABLED", "true").env("UNDERSTUDY_MODEL_EMBED", home.state());
    let out = rehearse.arg("--journal").arg(home.state()).arg(&file).output().unwrap();
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    assert!(said(&out).contains("is not this rehearsal's; name another folder"), "{}", said(&out));
    assert!(!home.state().join("given.json").exists());
}

#[test]
fn a_tail_of_nothing_says_why_nothing_is_recorded() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), &format!("{NOBODY_REHEARSES}[capture]\nenabled = false\n"));
    let _proxy = home.serve();
    let out = home.output(["journal", "tail"]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(said(&out).contains("nothing is recorded: capture.enabled is false"), "{}", said(&out));
}
