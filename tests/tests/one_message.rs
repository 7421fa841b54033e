//! An agent that says its rules and its question in one message has no worse an understudy
//! than one with a system text, from its log to live traffic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use serde_json::{Value, json};
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, LOOSE, PATIENCE, PATIENT, said};
use understudy_tests::{desk, standin};

const KEY: &str = "sk-stand-in-of-one-message";

/// How many tickets are in the log; those of the live traffic come after them.
const LOGGED: usize = 400;

#[test]
fn rules_in_the_message_are_no_part_of_the_question() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), &format!("{LOOSE}{PATIENT}"));
    let log = home.path("calls.jsonl");
    std::fs::write(&log, standin::log((0..LOGGED).map(desk::triage_in_a_message))).unwrap();
    let mut command = home.command(["rehearse", "--json", "--minutes", "5", "--credential-env", "KEY"]);
    let out = command.arg("--journal").arg(home.state()).arg(&log).env("KEY", KEY).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    let verdict: Value = serde_json::from_slice(&out.stdout).unwrap();
    let task = &verdict["tasks"][0];
    assert_eq!(verdict["tasks"].as_array().map(Vec::len), Some(1), "{verdict}");
    assert_eq!(task["name"], "you-are-the-triage-desk-reply", "it is named by what it is told: {task}");
    assert_eq!(task["stage"], "live", "{task}");

    let proxy = home.serve();
    let agent = Agent::new(&proxy.url(), KEY);
    let mut sent = LOGGED;
    let mut ask = |n: usize| {
        let questions: Vec<Value> = (sent..sent + n).map(desk::triage_in_a_message).collect();
        sent += n;
        let answers = agent.ask_all(questions.clone(), 2);
        let answers = answers.into_iter().map(|answer| answer.expect("the call failed"));
        questions.into_iter().zip(answers).collect::<Vec<_>>()
    };
    // The provider has to have taken this key before anything is answered for it.
    wait_until("an understudy answers", PATIENCE, || ask(2).iter().any(|(_, answer)| answer.by().is_some()));
    let answers = ask(60);
    let served: Vec<_> = answers.iter().filter(|(_, answer)| answer.by().is_some()).collect();
    let right = served.iter().filter(|(question, answer)| {
        let said: Value = serde_json::from_str(&answer.content()).unwrap();
        let wanted: Value =
            serde_json::from_str(standin::reply(question, false, 1)["content"].as_str().unwrap()).unwrap();
        said == wanted
    });
    let right = right.count();
    assert!(answers.iter().all(|(_, answer)| answer.status == 200), "{answers:?}");
    assert!(served.len() >= 30 && right * 10 >= served.len() * 9, "{right} of {} right", served.len());
    // Another message than those that it was learnt from is another question.
    let bare = json!([{"role": "user", "content": "The lamp makes a strange noise."}]);
    let bare = desk::with(desk::triage_in_a_message(0), "messages", bare);
    let answer = agent.ask(&bare);
    assert_eq!((answer.status, answer.by()), (200, None), "{answer:?}");
}
