//! An adapter comes in, answers its development rows with the real engine and
//! becomes an understudy; a second one that is no better is kept beside; what was
//! ordered, and what became of it, survive a restart. The adapters are made here
//! (PEFT's layout, weights without effect), so that no training environment is needed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE, Proxy, said};
use understudy_tests::standin;

/// Development rows take a third of a second each, more on a machine under load.
const MINUTES: Duration = Duration::from_secs(300);

/// Input and output of SmolLM2-135M's linear layers.
const LAYERS: usize = 30;
const LINEAR: [(&str, usize, usize); 7] = [
    ("self_attn.q_proj", 576, 576),
    ("self_attn.k_proj", 576, 192),
    ("self_attn.v_proj", 576, 192),
    ("self_attn.o_proj", 576, 576),
    ("mlp.gate_proj", 576, 1536),
    ("mlp.up_proj", 576, 1536),
    ("mlp.down_proj", 1536, 576),
];
const GGUF: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// An adapter of rank 1 whose B is zero, as PEFT writes one.
fn adapter(folder: &Path, train: &[Value], development: &[Value], base: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let mut header = Map::new();
    let mut data: Vec<u8> = Vec::new();
    for layer in 0..LAYERS {
        for (name, from, to) in LINEAR {
            for (half, shape) in [("A", [1, from]), ("B", [to, 1])] {
                let begin = data.len();
                // 0x3400 is 0.25 in 16 bits.
                let value: [u8; 2] = if half == "A" { [0x00, 0x34] } else { [0, 0] };
                (0..shape[0] * shape[1]).for_each(|_| data.extend(value));
                let key = format!("base_model.model.model.layers.{layer}.{name}.lora_{half}.weight");
                header.insert(
                    key,
                    json!({ "dtype": "F16", "shape": shape, "data_offsets": [begin, data.len()] }),
                );
            }
        }
    }
    let header = serde_json::to_vec(&header).unwrap();
    let file = [(header.len() as u64).to_le_bytes().to_vec(), header, data].concat();
    std::fs::write(folder.join("adapter_model.safetensors"), file).unwrap();
    let modules: Vec<&str> = LINEAR.iter().map(|(n, ..)| n.rsplit('.').next().unwrap()).collect();
    let config = json!({ "peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": modules,
        "base_model_name_or_path": "SmolLM2-135M-Instruct" });
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
    std::fs::write(
        folder.join("chat_template.jinja"),
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n",
    )
    .unwrap();
    let card = json!({ "base": { "name": "SmolLM2-135M-Instruct", "gguf_sha256": base },
        "data": { "exchanges": { "train": train, "development": development } } });
    std::fs::write(folder.join("card.json"), card.to_string()).unwrap();
}

fn understudies(home: &Home, id: &str) -> Vec<Value> {
    let rows = home.json(["task", "understudies", id]);
    rows.as_array().unwrap().iter().filter(|r| r["kind"] == "specialised").cloned().collect()
}

fn state_of(home: &Home, id: &str, state: &str) -> bool {
    understudies(home, id).iter().any(|r| r["state"].as_str().unwrap().contains(state))
}

/// Waits until the journal was read again.
fn is_known(home: &Home, id: &str) {
    wait_until("the journal is read again", PATIENCE, || {
        home.output(["task", "understudies", id]).status.success()
    });
}

fn record(home: &Home, proxy: &Proxy, tickets: usize) -> String {
    ask(proxy, 0..tickets);
    home.task_of(tickets)
}

fn ask(proxy: &Proxy, tickets: impl Iterator<Item = usize>) {
    ask_all(proxy, tickets.map(desk::triage).collect());
}

fn ask_all(proxy: &Proxy, requests: Vec<Value>) {
    let agent = Agent::new(&proxy.url(), "sk-stand-in");
    for answer in agent.ask_all(requests, 4) {
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[test]
fn an_adapter_comes_in_and_a_second_that_is_no_better_is_kept_beside() {
    let provider = Peer::standin(standin::Config::default());
    // A head would be the better understudy of this task; here it must not come in between.
    let home = Home::with_provider(&provider.url(), "train = true", "[policy]\nfirst_fit = 100000");
    let proxy = home.serve();
    let id = record(&home, &proxy, 240);

    let rows = home.path("rows.jsonl");
    let out = home.command(["curate", &id, "--out"]).arg(&rows).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    let rows: Vec<Value> = std::fs::read_to_string(&rows)
        .unwrap()
        .lines()
        .skip(1)
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let ids = |split: &str| -> Vec<Value> {
        rows.iter().filter(|r| r["split"] == split).map(|r| r["id"].clone()).collect()
    };
    let (train, mut development) = (ids("train"), ids("development"));
    // These weights answer nothing as the provider does: of more rows than these the last are not asked.
    development.truncate(16);
    assert!(train.len() > 100 && development.len() > 5, "{} {}", train.len(), development.len());

    // What is not there, and what has no such name, is refused.
    let out = home.output(["task", "adopt", &id, "0123456789abcdef"]);
    assert!(!out.status.success() && said(&out).contains("card.json"), "{}", said(&out));
    let out = home.output(["task", "adopt", &id, "../../etc"]);
    assert!(!out.status.success() && said(&out).contains("16 hexadecimal"), "{}", said(&out));

    let adapters = home.state().join("adapters");
    adapter(&adapters.join("00000000000000aa"), &train, &development, GGUF);
    // The engine may still be loading its models.
    wait_until("the adapter is taken", MINUTES, || {
        home.output(["task", "adopt", &id, "00000000000000aa"]).status.success()
    });
    wait_until("the adapter has answered its development rows", MINUTES, || {
        state_of(&home, &id, "the task's first")
    });
    let first = understudies(&home, &id)[0].clone();
    assert!(first["made_of"].as_str().unwrap().contains("00000000000000aa"), "{first}");
    assert_eq!(first["development"][0], development.len(), "{first}");

    // The same weights under another name say the same: no better.
    adapter(&adapters.join("00000000000000bb"), &train, &development, GGUF);
    let out = home.output(["task", "adopt", &id, "00000000000000bb"]);
    assert!(out.status.success(), "{}", said(&out));
    // What was ordered outlives the process that was told.
    drop(proxy);
    let proxy = home.serve();
    is_known(&home, &id);
    wait_until("the second one is judged", MINUTES, || state_of(&home, &id, "kept beside"));

    // One of another base cannot be asked: it becomes nothing.
    adapter(&adapters.join("00000000000000cc"), &train, &development, &"0".repeat(64));
    let out = home.output(["task", "adopt", &id, "00000000000000cc"]);
    assert!(out.status.success(), "{}", said(&out));
    wait_until("the third one is refused", MINUTES, || proxy.log().contains("an adapter was not taken in"));
    wait_until("its reason is told", PATIENCE, || state_of(&home, &id, "not taken in"));
    assert_eq!(understudies(&home, &id).len(), 3);

    // All of it is in the journal.
    drop(proxy);
    let proxy = home.serve();
    is_known(&home, &id);
    assert_eq!(understudies(&home, &id).len(), 3);
    assert!(state_of(&home, &id, "the task's first") && state_of(&home, &id, "kept beside"));
    assert!(state_of(&home, &id, "not taken in"));
    drop(proxy);
}

#[test]
fn a_training_that_may_not_begin_is_refused_before_anything_is_fetched() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), "");
    let proxy = home.serve();
    let id = record(&home, &proxy, 80);
    let out = home.output(["specialise", &id]);
    assert_eq!(out.status.code(), Some(69), "{}", said(&out));
    assert!(said(&out).contains("train = true"), "{}", said(&out));
    let out = home.output(["specialise", &id, "--minutes", "0"]);
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    let out = home.output(["specialise", &id, "--", "--drop-long", "--out", "elsewhere"]);
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    assert!(said(&out).contains("state.dir"), "{}", said(&out));
    drop(proxy);
    let out = home.output(["specialise", &id]);
    assert_eq!(out.status.code(), Some(69), "{}", said(&out));
}

#[test]
fn a_round_begins_by_itself_and_one_that_is_refused_waits_for_twice_the_calls() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::with_provider(&provider.url(), "train = true", "[specialise]\nauto = true\ncalls = 50");
    let proxy = home.serve();
    // One and the same call teaches one row: too few.
    let same = |n: usize| ask(&proxy, std::iter::repeat_n(0, n));
    // How many calls the task had at each round.
    let rounds = || -> Vec<u64> {
        let log = proxy.log();
        let begun = log.lines().filter(|l| l.contains("a round of training begins"));
        let calls = |l: &str| l.split("calls=").nth(1)?.split(' ').next()?.parse().ok();
        begun.map(|l| calls(l).unwrap_or_else(|| panic!("{l}"))).collect()
    };
    same(60);
    wait_until("a round began and was refused", PATIENCE, || {
        proxy.log().contains("a round of training brought no adapter")
    });
    same(20);
    let _ = home.task_of(80);
    same(60);
    wait_until("the calls have doubled", PATIENCE, || rounds().len() == 2);
    let rounds = rounds();
    assert!(rounds[0] >= 50 && rounds[1] >= 2 * rounds[0], "{rounds:?}");
}

#[test]
fn a_round_leaves_out_what_no_adapter_could_serve() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::with_provider(&provider.url(), "train = true", "[specialise]\nauto = true\ncalls = 150");
    let proxy = home.serve();
    ask_all(&proxy, (0..160).map(desk::own_words).collect());
    wait_until("the round was refused", PATIENCE, || {
        proxy.log().contains("a round of training brought no adapter")
    });
    assert!(proxy.log().contains("can be answered word by word"), "{}", proxy.log());
}
