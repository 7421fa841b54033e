//! The main job, live, with the real models: a task is recorded, rehearsed,
//! judged, answered by the understudy, and taken from it again; the agent
//! never notices but for the headers.
//!
//! Going live takes minutes, so it is done once and every promise that holds
//! of a live task is looked at afterwards, one function each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod job;

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use job::{Job, KEY, LONG, Seen, wait_for_more};
use serde_json::{Value, json};
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, LOOSE, PATIENCE, PATIENT, files, signal};
use understudy_tests::shape::{counts_tokens, is_a_queue, read};
use understudy_tests::standin;

/// What the stand-in takes: long enough that an engine's absence of seconds is
/// a share of the calls and not all of them.
const DELAY: Duration = Duration::from_millis(150);

/// A hung engine is found before a call's time is over, which would be held against the
/// understudy.
const WATCHED: &str = "[engine]\nrestart_pause_max = \"250ms\"\nhung_after = \"15s\"\n";

/// What no file may hold: a word of a prompt, a person's address, the key.
const WORD: &str = "quetzalcoatlus-8812";
const ADDRESS: &str = "dagny.quetzal@mail.example";

#[test]
fn the_main_job() {
    let provider = Peer::standin(standin::Config { delay: DELAY, ..standin::Config::default() });
    let home = Home::new(&provider.url(), &format!("{LOOSE}{PATIENT}{WATCHED}"));
    let proxy = home.serve();
    let mut job = Job::new(home, proxy, provider);
    for (what, step) in STEPS {
        let began = Instant::now();
        step(&mut job);
        eprintln!("{:>6.1} s  {what}", began.elapsed().as_secs_f64());
    }
}

type Step = fn(&mut Job);

const STEPS: &[(&str, Step)] = &[
    ("the task goes live by its own evidence", goes_live),
    ("task show has evidence, strata and baselines", shows_its_evidence),
    ("answers have the provider's shape, whole and streamed", has_the_providers_shape),
    ("one command puts everything on the provider, and one brings it back", stops_and_resumes),
    ("only the credential that earned it is served", serves_its_own_credential),
    ("what an understudy cannot honour goes to the provider", keeps_to_what_it_can_honour),
    ("the engine is killed under load and no call fails", survives_its_engine),
    ("the engine hangs under load and no call fails", survives_an_engine_that_hangs),
    ("nothing of a prompt can be read in any file", keeps_no_plaintext),
    ("a restart replays to the same state", replays_after_a_restart),
    ("the provider changes and the task is taken back", is_taken_back),
];

fn goes_live(job: &mut Job) {
    // Enough for versions of its own, which then have nothing to show.
    let reasoning = job.send((0..70).map(desk::reason).collect());
    assert!(reasoning.iter().all(|a| a.by().is_none()));
    let mut row = json!({"stage": "observing"});
    while row["stage"] != "live" {
        assert!(
            job.sent.load(Ordering::Relaxed) < desk::TRIAGE / 2,
            "it never goes live: {row}\n{}",
            job.proxy.log()
        );
        job.send(job.tickets(40));
        row = job.row();
    }
    job.task = row["id"].as_str().unwrap().to_owned();
    let mut ways: Vec<_> = job.decisions().iter().map(|d| d["to"].as_str().unwrap().to_owned()).collect();
    // A better version may begin the canary anew, or succeed already.
    ways.dedup();
    assert_eq!(ways, ["shadowing", "canary 1", "live"]);
    let agreement = row["agreement"]["mean"].as_f64().unwrap();
    eprintln!("          {} calls, coverage {}, agreement {agreement:.3}", row["calls"], row["coverage"]);
    let reasoning = job.send((70..80).map(desk::reason).collect());
    assert!(reasoning.iter().all(|a| a.by().is_none()), "reasoning left the provider");
}

fn shows_its_evidence(job: &mut Job) {
    let page = job.home.json(["task", "show", job.task.as_str()]);
    let entries = page["entries"].as_array().unwrap();
    let serving: Vec<_> = entries.iter().filter(|e| e["state"] == "serves").collect();
    assert_eq!(serving.len(), 1, "{entries:?}");
    assert!(serving[0]["wealth"].as_f64() >= serving[0]["threshold"].as_f64(), "{serving:?}");
    let strata = page["strata"].as_array().unwrap();
    assert!(strata.iter().any(|s| s["state"] == "allowed"), "{strata:?}");
    let baselines: Vec<_> = page["baselines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| (b[0].as_str().unwrap(), b[1].as_f64()))
        .collect();
    assert_eq!(baselines[0].0, "exact repeat");
    assert_eq!(baselines[1], ("nearest neighbour", Some(1.0)));
    let shown = job.home.output(["task", "show", job.task.as_str()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    for words in ["baseline (never served)", "target agreement", "demotion process", "not the success"] {
        assert!(shown.contains(words), "{words:?} is missing in\n{shown}");
    }
}

fn has_the_providers_shape(job: &mut Job) {
    let whole = job.served(|t| t);
    assert_eq!(whole.header("x-understudy-task"), Some(job.task.as_str()));
    assert_eq!(whole.header("content-type"), Some("application/json"));
    assert!(whole.header("x-request-id").unwrap().starts_with("req_"));
    let reply = whole.json();
    assert!(reply["id"].as_str().unwrap().starts_with("chatcmpl-"), "{reply}");
    assert_eq!((&reply["object"], &reply["model"]), (&json!("chat.completion"), &json!("gpt-4o-mini")));
    assert!(reply["created"].as_u64().unwrap() > 1_700_000_000, "{reply}");
    let choice = &reply["choices"][0];
    assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("stop")), "{reply}");
    assert_eq!(choice["message"]["role"], "assistant");
    is_a_queue(&whole.content());
    counts_tokens(&reply["usage"]);

    let streamed = job.served(|t| desk::with(t, "stream", json!(true)));
    let (text, usage) = read(&streamed);
    is_a_queue(&text);
    assert_eq!(usage, Value::Null, "usage was not asked for");
    let with_usage = |t| {
        desk::with(desk::with(t, "stream", json!(true)), "stream_options", json!({"include_usage": true}))
    };
    let (text, usage) = read(&job.served(with_usage));
    is_a_queue(&text);
    counts_tokens(&usage);

    let requests = job.tickets(60);
    let answers = job.send(requests.clone());
    let served: Vec<_> = requests.iter().zip(&answers).filter(|(_, a)| a.by().is_some()).collect();
    let agrees =
        served.iter().filter(|(r, a)| json!(a.content()) == standin::reply(r, false, 0)["content"]).count();
    eprintln!(
        "          {} of 60 calls answered by the understudy, {agrees} as the provider would have",
        served.len()
    );
    assert!(served.len() >= 20 && agrees * 10 >= served.len() * 8);
}

fn stops_and_resumes(job: &mut Job) {
    let mut told = (Instant::now(), Instant::now());
    let seen = job.under_load(|seen| {
        wait_for_more(seen, "understudies answer", 5, Seen::served);
        let began = Instant::now();
        assert_eq!(job.home.json(["stop-serving"])["stopped"], true);
        told = (began, Instant::now());
        wait_for_more(seen, "calls after the switch", 60, |s| s.began > told.1);
    });
    let late = seen.iter().filter(|s| s.began > told.1 && s.served()).count();
    assert_eq!(late, 0, "calls were served after stop-serving had returned");
    let last = seen.iter().filter(|s| s.served()).map(|s| s.ended).max().unwrap();
    eprintln!(
        "          the command took {} ms; the last local answer came {} ms after it was given",
        (told.1 - told.0).as_millis(),
        last.saturating_duration_since(told.0).as_millis()
    );
    assert!(seen.iter().all(|s| s.answer.as_ref().is_ok_and(|a| a.status == 200)));
    assert_eq!(job.home.json(["stop-serving", "--resume"])["stopped"], false);
    let _ = job.served(|t| t);
}

fn serves_its_own_credential(job: &mut Job) {
    let other = Agent::new(&job.proxy.url(), "sk-somebody-else");
    for answer in other.ask_all((0..40).map(desk::triage).collect(), 4) {
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.by()), (200, None));
    }
    let nobody = Agent::new(&job.proxy.url(), "nothing");
    for answer in nobody.ask_all((0..8).map(desk::triage).collect(), 4) {
        assert_eq!(answer.unwrap().status, 401, "a caller whom the provider would not serve was served");
    }
    let _ = job.served(|t| t);
}

fn keeps_to_what_it_can_honour(job: &mut Job) {
    let fields = [
        ("n", json!(2)),
        ("logprobs", json!(true)),
        ("logit_bias", json!({"50256": -100})),
        ("store", json!(true)),
        ("a_field_of_tomorrow", json!("value")),
    ];
    for (key, value) in fields {
        let requests = job.tickets(12).into_iter().map(|t| desk::with(t, key, value.clone())).collect();
        assert!(job.send(requests).iter().all(|a| a.by().is_none()), "{key} was not honoured");
    }

    // A model as which the provider did not answer it is the provider's to give or refuse.
    let fell_back = || job.proxy.metric("understudy_fallbacks_total{reason=\"other_model\"}");
    let before = fell_back();
    let others = job.tickets(6).into_iter().map(|t| desk::with(t, "model", json!("gpt-4o-huge"))).collect();
    assert!(job.send(others).iter().all(|a| a.by().is_none()), "another model's call was served");
    assert!(fell_back() > before);

    // And a retry, however warm, does not get the same answer again.
    let asked = RefCell::new(Value::Null);
    let _ = job.served(|t| {
        *asked.borrow_mut() = t.clone();
        t
    });
    let retry = desk::with(asked.into_inner(), "temperature", json!(1));
    assert!(job.send(vec![retry]).iter().all(|a| a.by().is_none()), "a retry was served");
}

fn survives_its_engine(job: &mut Job) {
    let rounds = std::env::var("UNDERSTUDY_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let seen = job.under_load(|seen| {
        for _ in 0..rounds {
            wait_for_more(seen, "understudies answer", 5, Seen::served);
            signal(running_engine(job), "KILL");
            wait_for_more(seen, "calls while it is down", 5, |s| !s.served());
        }
        wait_for_more(seen, "understudies answer again", 5, Seen::served);
    });
    none_failed(&seen);
    assert_eq!(job.row()["stage"], "live", "a killed engine is no evidence: {:?}", job.decisions());
    eprintln!(
        "          {rounds} kills, {} calls, {} of them local, 0 failed",
        seen.len(),
        seen.iter().filter(|s| s.served()).count()
    );
}

fn survives_an_engine_that_hangs(job: &mut Job) {
    let fallbacks = || job.proxy.metric("understudy_fallbacks_total{reason=\"unavailable\"}");
    let seen = job.under_load(|seen| {
        wait_for_more(seen, "understudies answer", 5, Seen::served);
        let (engine, before) = (running_engine(job), fallbacks());
        signal(engine, "STOP");
        wait_until("calls fall back", LONG, || fallbacks() >= before + 5.0);
        wait_for_more(seen, "calls while it hangs", 5, |s| !s.served());
        // Nobody wakes it: it is found to hang, and another one takes its place.
        wait_until("another engine runs", LONG, || job.proxy.engine().is_some_and(|e| e != engine));
        wait_for_more(seen, "understudies answer again", 5, Seen::served);
    });
    none_failed(&seen);
    assert!(job.proxy.metric("understudy_engine_kills_total{reason=\"hung\"}") >= 1.0, "{}", job.proxy.log());
    assert_eq!(job.row()["stage"], "live", "a hung engine is no evidence: {:?}", job.decisions());
}

/// The engine's process. The kernel's list of children may leave one out while others
/// come and go.
fn running_engine(job: &Job) -> u32 {
    let mut engine = None;
    wait_until("an engine runs", LONG, || {
        engine = job.proxy.engine();
        engine.is_some()
    });
    engine.unwrap()
}

fn none_failed(seen: &[Seen]) {
    let failed: Vec<_> = seen
        .iter()
        .filter(|s| !s.answer.as_ref().is_ok_and(|a| a.status == 200))
        .map(|s| &s.answer)
        .collect();
    assert!(failed.is_empty(), "{} of {} calls failed: {:?}", failed.len(), seen.len(), failed[0]);
}

fn keeps_no_plaintext(job: &mut Job) {
    let text = format!("I am {WORD}. Write to {ADDRESS} when 12 parts have come.");
    let secret = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]});
    let before = job.home.json(["journal", "stats"])["durable"].as_u64();
    job.send(vec![secret.clone(), desk::with(secret, "stream", json!(true))]);
    wait_until("it is recorded", PATIENCE, || {
        job.home.json(["journal", "stats"])["durable"].as_u64() > before.map(|n| n + 1)
    });
    let all = files(&job.home.state());
    assert!(all.len() > 5, "{all:?}");
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    for file in all {
        let bytes = std::fs::read(&file).unwrap_or_default();
        for text in [WORD, ADDRESS, KEY, "triage desk", "charged twice"] {
            assert!(!holds(&bytes, text), "{text:?} can be read in {}", file.display());
        }
    }
    assert!(!holds(job.proxy.log().as_bytes(), WORD) && !holds(job.proxy.log().as_bytes(), KEY));
    let shown = job.home.output(["journal", "export"]);
    assert!(holds(&shown.stdout, WORD), "the call was not recorded");
    assert!(!holds(&shown.stdout, ADDRESS) && !holds(&shown.stdout, KEY), "it was not redacted");
}

fn replays_after_a_restart(job: &mut Job) {
    let before = job.row();
    job.proxy.signal("TERM");
    assert_eq!(job.proxy.ended().code(), Some(0), "{}", job.proxy.log());
    let decisions = |job: &Job| {
        let mut found = Vec::new();
        wait_until("the journal has been read", LONG, || {
            found = job.decisions();
            !found.is_empty()
        });
        found
    };
    job.proxy = job.home.serve();
    let first = decisions(job);
    let after = job.row();
    assert_eq!(
        (&after["stage"], &after["calls"], &after["served"]),
        (&before["stage"], &before["calls"], &before["served"])
    );
    assert_eq!(first.last().unwrap()["to"], "live", "{first:?}");
    job.proxy.signal("TERM");
    assert_eq!(job.proxy.ended().code(), Some(0), "{}", job.proxy.log());
    job.proxy = job.home.serve();
    assert_eq!(decisions(job), first);
    job.agent = Agent::new(&job.proxy.url(), KEY);
    let _ = job.served(|t| t);
}

fn is_taken_back(job: &mut Job) {
    let control = Agent::new(&format!("http://{}", job.provider.address), KEY);
    assert_eq!(control.post("/control", "{\"changed\": true}").unwrap().status, 200);
    let before = job.sent.load(Ordering::Relaxed);
    let why = |d: &Value| d["why"] == "audits_disagree";
    while !job.decisions().iter().any(why) {
        assert!(
            job.sent.load(Ordering::Relaxed) < before + 1_200,
            "the change was not noticed: {:?}",
            job.decisions()
        );
        job.send(job.tickets(40));
        let _ = job.row();
    }
    let decision = job.decisions().into_iter().find(why).unwrap();
    assert_eq!((&decision["from"], &decision["to"]), (&json!("live"), &json!("shadowing")));
    eprintln!(
        "          noticed after {} calls: {}",
        job.sent.load(Ordering::Relaxed) - before,
        decision["numbers"]
    );
    let answers = job.send(job.tickets(40));
    assert!(answers.iter().all(|a| a.by().is_none()), "a demoted task was served");
}
