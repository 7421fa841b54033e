//! A task whose calls may act waits for a person, and goes where a person sends it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use understudy_tests::peer::{Agent, Answer, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, LOOSE, PATIENCE, PATIENT, Proxy, said};
use understudy_tests::{desk, standin};

const KEY: &str = "sk-stand-in-of-the-desk";

/// How many tickets are in the log; those of the live traffic come after them.
const LOGGED: usize = 300;

/// A triage ticket whose request offers a tool that changes something.
fn ticket(n: usize) -> Value {
    let refund = json!({"type": "function", "function": {"name": "issue_refund",
        "description": "Pays money back to the customer.", "parameters": {"type": "object",
        "properties": {"amount": {"type": "number"}}, "required": ["amount"]}}});
    desk::with(desk::triage(n), "tools", json!([refund]))
}

/// The desk with its agent.
struct Desk {
    home: Home,
    proxy: Proxy,
    provider: Peer,
    agent: Agent,
    sent: usize,
    task: String,
}

impl Desk {
    /// Goes on from the state of a rehearsal.
    fn open(rehearsed: &Path) -> Self {
        let provider = Peer::standin(standin::Config::default());
        let home = Home::new(&provider.url(), &format!("{LOOSE}{PATIENT}"));
        let state = home.state();
        let copied = std::process::Command::new("cp").arg("-r").args([rehearsed, &state]).status();
        assert!(copied.unwrap().success());
        let proxy = home.serve();
        let agent = Agent::new(&proxy.url(), KEY);
        let mut desk = Self { home, proxy, provider, agent, sent: LOGGED, task: String::new() };
        wait_until("the rehearsal's task is there", PATIENCE, || {
            desk.task = desk.home.json(["tasks"])[0]["id"].as_str().unwrap_or_default().to_owned();
            !desk.task.is_empty()
        });
        desk
    }

    /// Asks so many tickets; none may fail.
    fn ask(&mut self, n: usize) -> Vec<Answer> {
        let tickets = (self.sent..self.sent + n).map(ticket).collect();
        self.sent += n;
        let answers = self.agent.ask_all(tickets, 2).into_iter().map(|a| a.expect("the call failed"));
        answers.inspect(|a| assert_eq!(a.status, 200, "{a:?}")).collect()
    }

    /// How many of so many tickets an understudy answers.
    fn served(&mut self, of: usize) -> usize {
        self.ask(of).iter().filter(|a| a.by().is_some()).count()
    }

    /// The task's line, once the worker has read every call so far.
    fn row(&self) -> Value {
        let mut row = Value::Null;
        wait_until("the worker has read every call", PATIENCE, || {
            row = self.home.json(["tasks"])[0].clone();
            row["calls"].as_u64() >= Some(self.sent as u64)
        });
        row
    }

    /// Gives an order about the task.
    fn order(&self, words: &[&str]) {
        let (verb, more) = words.split_first().unwrap();
        let args = [&["task", verb, self.task.as_str()], more].concat();
        let out = self.home.output(args);
        assert!(out.status.success(), "{}", said(&out));
    }

    fn decisions(&self) -> Vec<Value> {
        self.home.json(["decisions", "--last", "100"]).as_array().unwrap().clone()
    }

    /// What was decided last for a reason.
    fn decided(&self, why: &str) -> Value {
        let all = self.decisions();
        all.iter().rfind(|d| d["why"] == why).unwrap_or_else(|| panic!("no {why}: {all:?}")).clone()
    }
}

/// A state folder whose task has earned its evidence from a log, and waits.
fn rehearsed() -> Home {
    // No provider: nothing is ever asked of it.
    let home = Home::new("http://127.0.0.1:9/v1", LOOSE);
    let log = home.path("calls.jsonl");
    std::fs::write(&log, standin::log((0..LOGGED).map(ticket))).unwrap();
    let state = home.state();
    let mut verdict = json!({"left": 1});
    while verdict["left"] != 0 {
        let mut command = home.command(["rehearse", "--json", "--minutes", "3", "--credential-env", "KEY"]);
        let out = command.arg("--journal").arg(&state).arg(&log).env("KEY", KEY).output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
        let before = verdict["left"].take();
        verdict = serde_json::from_slice(&out.stdout).unwrap();
        assert_ne!(verdict["left"], before, "it does not go on");
    }
    let task = &verdict["tasks"][0];
    assert_eq!((&task["stage"], &task["calls"]), (&json!("shadowing"), &json!(LOGGED)), "{task}");
    assert!(task["waits_for"].as_str().unwrap().starts_with("approval"), "{task}");
    home
}

#[test]
fn a_task_that_may_act_goes_where_a_person_sends_it() {
    let rehearsed = rehearsed();
    let mut approved = Desk::open(&rehearsed.state());
    waits_until_it_is_approved(&mut approved);
    is_pinned_against_its_audits(&mut approved);
    let mut promoted = Desk::open(&rehearsed.state());
    is_promoted_and_demoted(&mut promoted);
}

fn waits_until_it_is_approved(desk: &mut Desk) {
    assert_eq!(desk.served(40), 0, "it was served without a person's word");
    let row = desk.row();
    assert!(row["waits_for"].as_str().unwrap().starts_with("approval"), "{row}");
    desk.order(&["approve"]);
    let approved: Vec<_> = desk.decisions().into_iter().filter(|d| d["why"] == "approved").collect();
    assert!(approved[0]["by"].is_string(), "{approved:?}");
    assert_eq!(desk.decided("approved")["to"], "canary 1");
    wait_until("its canary serves", PATIENCE, || desk.served(4) > 0);
    wait_until("its canary is earned", Duration::from_secs(300), || {
        desk.ask(20);
        desk.row()["stage"] == "live"
    });
    assert_eq!(desk.decided("step_earned")["to"], "live");
}

fn is_pinned_against_its_audits(desk: &mut Desk) {
    desk.order(&["pin"]);
    let control = Agent::new(&format!("http://{}", desk.provider.address), KEY);
    assert_eq!(control.post("/control", "{\"changed\": true}").unwrap().status, 200);
    desk.served(400);
    let row = desk.row();
    assert_eq!((&row["stage"], &row["pinned"]), (&json!("live"), &json!(true)), "{row}");
    assert!(desk.served(40) > 0, "a pinned task was not served");
    assert!(!desk.decisions().iter().any(|d| d["why"] == "audits_disagree"), "{:?}", desk.decisions());
    // What its audits said meanwhile was not forgotten.
    desk.order(&["pin", "--off"]);
    wait_until("it is taken back", PATIENCE, || {
        desk.ask(4);
        desk.row()["stage"] == "shadowing"
    });
    assert_eq!(desk.decided("audits_disagree")["from"], "live");
    assert_eq!(desk.served(40), 0, "a demoted task was served");
}

fn is_promoted_and_demoted(desk: &mut Desk) {
    for stage in ["canary", "live"] {
        desk.order(&["promote"]);
        wait_until("it is a stage further", PATIENCE, || desk.row()["stage"] == stage);
    }
    let by_hand = desk.decided("operator");
    assert_eq!((&by_hand["to"], by_hand["by"].is_string()), (&json!("live"), true), "{by_hand}");
    wait_until("it is served", PATIENCE, || desk.served(4) > 0);
    desk.order(&["demote"]);
    wait_until("it is back", PATIENCE, || desk.row()["stage"] == "shadowing");
    assert_eq!(desk.served(40), 0, "a demoted task was served");
    assert_eq!(desk.decided("operator")["from"], "live");
    // Nobody is left to serve, and there is nothing to take back: an order says so.
    for (verb, why) in [("promote", "no understudy of it has an open entry"), ("demote", "it is not served")]
    {
        let out = desk.home.output(["task", verb, desk.task.as_str()]);
        assert!(!out.status.success() && said(&out).contains(why), "{}\n{:?}", said(&out), desk.decisions());
    }
    assert_eq!((desk.row()["stage"].as_str(), desk.served(10)), (Some("shadowing"), 0));
    assert!(!desk.proxy.log().contains("panicked"), "{}", desk.proxy.log());
}
