use super::*;
use crate::example::{Example, label};
use crate::testing::{
    CREDENTIAL, OTHER, Vectors, ask, block_on, choice, example, noise, question, tool, tool_call,
};
use proptest::prelude::*;
use understudy_call::{Part, Priority};

const DIM: usize = 16;

/// Exchange `i` of label `l`: near the label's own axis.
fn at(l: usize, i: u64, spread: f32) -> Vec<f32> {
    let mut v: Vec<f32> = (0..DIM).map(|d| spread * noise(l as u64 * 1_000 + i, d as u64)).collect();
    v[l] += 1.0;
    unit(v)
}

fn unit(v: Vec<f32>) -> Vec<f32> {
    let n = v.iter().map(|x| x * x).sum::<f32>().sqrt();
    v.into_iter().map(|x| x / n).collect()
}

fn clusters(labels: usize, each: u64) -> Vec<Example> {
    (0..labels)
        .flat_map(|l| {
            (0..each).map(move |i| {
                let n = l as u64 * each + i;
                let mut e = example(
                    n,
                    &format!("question {l} {i}"),
                    choice(&format!("{{\"intent\": \"label_{l}\"}}")),
                );
                e.embedding = Some(at(l, i, 0.15));
                e
            })
        })
        .collect()
}

fn fitted(examples: &[Example]) -> HeadSnapshot {
    fit(TaskId(1), Some(CREDENTIAL), "e", examples, u64::MAX, &HeadRules::default()).unwrap()
}

#[test]
fn a_head_tells_clusters_apart_and_is_less_sure_of_what_lies_between_or_far() {
    let head = fitted(&clusters(6, 20));
    let mut surest_known = f64::INFINITY;
    for l in 0..6 {
        for i in 100..110 {
            let g = head.guess(&at(l, i, 0.15), None).unwrap();
            assert_eq!(head.labels[g.label].stratum, format!("label_{l}"));
            surest_known = surest_known.min(g.confidence());
        }
    }
    for i in 0..20 {
        // A direction that no label has, and one between two labels.
        let novel = head.guess(&at(6 + i % 8, 500 + i as u64, 0.15), None).unwrap();
        assert!(novel.confidence() < surest_known, "{novel:?}");
        let (a, b) = (at(i % 6, 1, 0.0), at((i + 1) % 6, 1, 0.0));
        let torn = head.guess(&unit(a.iter().zip(&b).map(|(a, b)| a + b).collect()), None).unwrap();
        assert!(torn.confidence() < surest_known, "{torn:?}");
    }
}

#[test]
fn the_same_exchanges_in_any_order_give_the_same_version() {
    let examples = clusters(5, 12);
    let mut shuffled = examples.clone();
    shuffled.reverse();
    shuffled.swap(3, 17);
    // An exchange that is given twice counts once.
    shuffled.push(examples[0].clone());
    assert_eq!(fitted(&examples).id(), fitted(&shuffled).id());
    assert!(fitted(&examples).id().0.starts_with("head-"));
}

#[test]
fn anything_else_is_another_version() {
    let examples = clusters(5, 12);
    let base = fitted(&examples);
    let mut other = examples.clone();
    other[7].embedding = Some(at(1, 999, 0.2));
    assert_ne!(fitted(&other).id(), base.id());
    let of = |task, embedder| {
        fit(TaskId(task), Some(CREDENTIAL), embedder, &examples, u64::MAX, &HeadRules::default())
    };
    assert_ne!(of(2, "e").unwrap().id(), base.id());
    assert_ne!(of(1, "f").unwrap().id(), base.id());
    let damaged = HeadSnapshot { usual: base.usual + 0.1, ..base.clone() };
    assert_ne!(damaged.id(), base.id());
}

#[test]
fn a_head_knows_nothing_later_and_nothing_of_another_credential() {
    let mut examples = clusters(5, 12);
    let base = fitted(&examples);
    let last = examples.iter().map(|e| e.seq).max().unwrap();
    let fit = |examples: &[Example]| {
        fit(TaskId(1), Some(CREDENTIAL), "e", examples, last, &HeadRules::default()).unwrap()
    };
    let expected = HeadSnapshot { born_seq: last, ..base.clone() };
    let mut later = example(last + 1, "later", choice("{\"intent\": \"label_0\"}"));
    later.embedding = Some(at(3, 77, 0.1));
    let mut stranger = example(3, "stranger", choice("{\"intent\": \"label_0\"}"));
    stranger.credential = OTHER;
    stranger.exchange.0[0] = 9;
    stranger.embedding = Some(at(2, 78, 0.1));
    examples.extend([later, stranger]);
    assert_eq!(fit(&examples), expected);
}

#[test]
fn there_is_no_head_where_replies_are_many() {
    let examples: Vec<Example> = (0..100)
        .map(|n| {
            let mut e = example(n, "q", choice(&format!("answer {n}")));
            e.embedding = Some(at(0, n, 0.5));
            e
        })
        .collect();
    let no = fit(TaskId(1), None, "e", &examples, u64::MAX, &HeadRules::default()).unwrap_err();
    assert!(matches!(no, NotFitted::NotFew { labels: 0, examples: 100, .. }), "{no}");
}

#[test]
fn a_rare_reply_is_remembered_against_answering_and_one_reply_is_enough_for_a_head() {
    let mut examples = clusters(1, 40);
    let alone = fitted(&examples);
    let there = at(0, 300, 0.3);
    let before = alone.guess(&there, None).unwrap().confidence();
    let mut rare = example(900, "rare", choice("{\"intent\": \"rare\"}"));
    rare.embedding = Some(there.clone());
    examples.push(rare);
    let warned = fitted(&examples);
    assert_eq!(warned.labels.len(), 1);
    assert!(warned.guess(&there, None).unwrap().confidence() < before);
}

#[test]
fn a_reply_that_repeats_a_redacted_value_is_no_label() {
    let mut examples = clusters(12, 20);
    examples.last_mut().unwrap().echoes = true;
    let head = fitted(&examples);
    assert_eq!(head.labels.len(), 11);
    assert!(head.labels.iter().all(|l| l.stratum != "label_11"));
    assert_eq!(head.exchanges(), 240);
}

#[test]
fn the_memory_is_bounded_and_keeps_each_label() {
    let rules = HeadRules { memory: 60, memory_per_label: 50, ..HeadRules::default() };
    let mut examples = clusters(3, 60);
    examples.truncate(125);
    let head = fit(TaskId(1), None, "e", &examples, u64::MAX, &rules).unwrap();
    assert!(head.memory.len() <= 90, "{}", head.memory.len());
    for l in 0..3 {
        assert!(head.memory_labels.iter().filter(|x| **x == l).count() >= 5);
    }
}

#[test]
fn a_head_answers_with_the_provider_s_words_and_never_a_call_that_it_learnt() {
    let examples = clusters(4, 10);
    let embedder = Vectors::default().with("where is my card", at(2, 50, 0.1)).with("weather", at(9, 1, 0.1));
    let head = Head::new(fitted(&examples), Arc::new(embedder)).unwrap();
    let request = question("where is my card");
    let answer = block_on(head.respond(ask(&request, None))).unwrap();
    assert_eq!(answer.reply.first().unwrap().text(), "{\"intent\": \"label_2\"}");
    assert_eq!(answer.stratum, "label_2");
    assert!(answer.reply.is_whole());

    let learnt = block_on(head.respond(ask(&request, Some(examples[3].exchange))));
    assert_eq!(learnt.unwrap_err(), Declined::Unavailable);
    let stranger = Ask { credential: OTHER, ..ask(&request, None) };
    assert_eq!(block_on(head.respond(stranger)).unwrap_err(), Declined::Unavailable);
    let barred = Ask { bar: Some(answer.confidence), ..ask(&request, None) };
    assert!(block_on(head.respond(barred)).is_ok());
    let novel = question("weather");
    let barred = Ask { bar: Some(answer.confidence), ..ask(&novel, None) };
    assert_eq!(block_on(head.respond(barred)).unwrap_err(), Declined::Novel);
    let unknown = question("the embedder does not know this");
    assert_eq!(block_on(head.respond(ask(&unknown, None))).unwrap_err(), Declined::Unavailable);
}

#[test]
fn a_reply_that_the_provider_would_have_cut_is_not_said() {
    let mut examples = clusters(4, 10);
    // What the provider counted is known of one reply only.
    examples.iter_mut().filter(|e| e.reply.text().contains("label_3")).for_each(|e| e.tokens = Some(8));
    let vectors = Vectors::default().with("counted", at(3, 50, 0.1)).with("not", at(2, 50, 0.1));
    let head = Head::new(fitted(&examples), Arc::new(vectors)).unwrap();
    let limited = |text: &str, max_tokens: u32| {
        let mut request = question(text);
        request.sampling.max_tokens = Some(max_tokens);
        block_on(head.respond(ask(&request, None))).map(|a| a.stratum)
    };
    assert_eq!(limited("counted", 1), Err(Declined::TooLong));
    assert_eq!(limited("counted", 8), Err(Declined::TooLong));
    assert_eq!(limited("counted", 9), Ok("label_3".to_owned()));
    assert_eq!(limited("not", 9), Err(Declined::TooLong));
    assert_eq!(limited("not", 100), Ok("label_2".to_owned()));
    let mut stopped = question("not");
    stopped.sampling.stop = vec!["_2".to_owned()];
    assert_eq!(block_on(head.respond(ask(&stopped, None))).unwrap_err(), Declined::TooLong);
}

#[test]
fn a_reply_that_does_not_fit_this_call_s_tools_is_not_said() {
    let mut both = tool_call("go", "{}");
    both.tool_calls.extend(both.tool_calls.clone());
    let examples: Vec<Example> = (0..10)
        .map(|n| {
            let mut e = example(n, &format!("question {n}"), both.clone());
            e.embedding = Some(at(0, n, 0.1));
            e
        })
        .collect();
    let head = Head::new(fitted(&examples), Arc::new(Vectors::default().with("q", at(0, 50, 0.1)))).unwrap();
    let asked = |parallel, tools: &[&str]| {
        let mut request = question("q");
        request.tools = tools.iter().map(|name| tool(name, serde_json::Value::Null)).collect();
        request.parallel_tool_calls = parallel;
        block_on(head.respond(ask(&request, None))).map(|a| a.reply.choices.len())
    };
    assert_eq!(asked(None, &["go"]), Ok(1));
    assert_eq!(asked(Some(false), &["go"]), Err(Declined::Invalid));
    assert_eq!(asked(None, &["stay"]), Err(Declined::Invalid));
}

#[test]
fn an_embedder_of_another_version_is_not_asked_twice() {
    let mut embedder = Vectors::default().with("q", at(0, 1, 0.1));
    embedder.name = "another".into();
    let head = Head::new(fitted(&clusters(3, 10)), Arc::new(embedder)).unwrap();
    assert_eq!(block_on(head.respond(ask(&question("q"), None))).unwrap_err(), Declined::Unavailable);
}

#[test]
fn tool_calls_are_labels_too_whatever_the_order_of_their_arguments() {
    let (a, b) = (tool_call("go", r#"{"x": 1, "y": 2}"#), tool_call("go", r#"{"y":2,"x":1}"#));
    assert_eq!(label(&a), label(&b));
    assert_ne!(label(&a), label(&tool_call("go", r#"{"x": 2, "y": 2}"#)));
    let mut examples = Vec::new();
    for n in 0..20 {
        let reply =
            if n < 10 { if n % 2 == 0 { a.clone() } else { b.clone() } } else { tool_call("stay", "{}") };
        let mut e = example(n, "q", reply);
        e.embedding = Some(at(usize::from(n < 10), n, 0.2));
        examples.push(e);
    }
    let head = fitted(&examples);
    let strata: Vec<&str> = head.labels.iter().map(|l| l.stratum.as_str()).collect();
    assert_eq!(strata, [r#"go {"x":1,"y":2}"#, "stay {}"]);
}

#[test]
fn what_is_said_beside_a_call_is_no_part_of_the_choice_and_is_not_said_again() {
    let routed = |queue: &str, said: Option<String>| {
        let call = tool_call("route", &format!(r#"{{"queue": "{queue}"}}"#));
        Choice { content: said.into_iter().map(Part::Text).collect(), ..call }
    };
    let head = |say: &dyn Fn(u64) -> Option<String>| {
        let examples = (0..20).map(|n| {
            let reply = routed(if n < 10 { "billing" } else { "sales" }, say(n));
            Example { embedding: Some(at(usize::from(n < 10), n, 0.2)), ..example(n, "q", reply) }
        });
        fitted(&examples.collect::<Vec<_>>())
    };
    let with_ways = head(&|n| Some(format!("Ticket {n} goes on.")));
    assert_eq!(with_ways.labels.iter().map(|l| l.seen).collect::<Vec<_>>(), [10, 10]);
    assert!(with_ways.labels.iter().all(|l| l.reply.content.is_empty() && l.reply.tool_calls.len() == 1));
    let alike = head(&|_| Some("One moment.".to_owned()));
    assert!(alike.labels.iter().all(|l| l.reply.text() == "One moment."));
}

#[test]
fn a_stand_in_beside_calls_takes_no_label_away_where_the_calls_come_again_without() {
    let fit_of = |echoing: &[u64]| {
        let examples = (0..40).map(|n| {
            let to = ["billing", "sales", "returns", "other"][n as usize % 4];
            let call = tool_call("route", &format!(r#"{{"queue": "{to}"}}"#));
            let reply = if echoing.contains(&n) {
                Choice { content: vec![Part::Text("Noted for bob@example.com.".to_owned())], ..call }
            } else {
                call
            };
            let made = Example { embedding: Some(at(n as usize % 4, n, 0.2)), ..example(n, "q", reply) };
            Example { echoes: echoing.contains(&n), ..made }
        });
        let rules = HeadRules { least_cover: 0.5, ..HeadRules::default() };
        fit(TaskId(1), None, "e", &examples.collect::<Vec<_>>(), u64::MAX, &rules).unwrap()
    };
    let head = fit_of(&[0, 5, 6]);
    assert_eq!(head.labels.len(), 4);
    assert!(head.labels.iter().all(|l| l.reply.content.is_empty()));
    // Billing's last is one that echoes: nothing says that its calls do not.
    assert_eq!(fit_of(&[36]).labels.len(), 3);
}

#[test]
fn a_head_of_before_sees_as_it_did_and_keeps_its_name() {
    let new = fitted(&clusters(3, 10));
    let mut note = serde_json::to_value(&new).unwrap();
    assert_eq!(note.as_object_mut().unwrap().remove("sight").unwrap(), "turns");
    let old: HeadSnapshot = serde_json::from_value(note).unwrap();
    assert!(old.sight.is_whole() && old.id() != new.id());
    assert!(serde_json::to_value(&old).unwrap().get("sight").is_none());
}

#[test]
fn a_note_gives_the_same_head_back() {
    let head = fitted(&clusters(4, 10));
    let back: HeadSnapshot = serde_json::from_value(serde_json::to_value(&head).unwrap()).unwrap();
    assert_eq!(back.id(), head.id());
    assert_eq!(back, head);
}

proptest! {
    #[test]
    fn the_nearest_are_the_greatest(xs in prop::collection::vec(-1.0f32..1.0, 0..40)) {
        let mut nearest = Nearest::default();
        xs.iter().for_each(|x| nearest.see(*x));
        let mut sorted = xs.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted.truncate(NEAREST);
        let mean = if sorted.is_empty() { 0.0 } else { sorted.iter().map(|x| f64::from(*x)).sum::<f64>() / sorted.len() as f64 };
        prop_assert!((nearest.mean() - mean).abs() < 1e-6);
    }
}

#[test]
fn shadow_work_is_asked_for_as_such() {
    let embedder = Arc::new(Vectors::default().with("q", at(0, 1, 0.1)));
    let head = Head::new(fitted(&clusters(3, 10)), Arc::<Vectors>::clone(&embedder)).unwrap();
    let request = question("q");
    block_on(head.respond(Ask { priority: Priority::Live, ..ask(&request, None) })).unwrap();
    assert_eq!(embedder.asked(), vec![Priority::Live]);
}

fn rehearsed(examples: &[Example]) -> Vec<Rehearsed> {
    rehearse(&fitted(examples), examples, &HeadRules::default()).unwrap()
}

#[test]
fn a_head_is_judged_on_every_example_by_fits_that_did_not_know_it() {
    let judged = rehearsed(&clusters(6, 20));
    assert_eq!(judged.len(), 120);
    assert!(judged.iter().all(|r| r.agrees && r.stratum.starts_with("label_") && r.confidence.is_some()));
}

#[test]
fn what_cannot_be_known_is_not_known() {
    // Replies without any rule: whoever had seen the example, the same text or
    // the same conversation, would be right.
    let rule = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).count_ones() % 2;
    let mut examples = Vec::new();
    for n in 0..400u64 {
        let text = n / 2;
        let mut e = example(
            n,
            &format!("question {text}"),
            choice(&format!("{{\"intent\": \"label_{}\"}}", rule(text))),
        );
        e.embedding = Some(at(0, text, 0.5));
        e.conversation = understudy_call::ConversationKey([(text / 4) as u8; 16]);
        examples.push(e);
    }
    let judged = rehearsed(&examples);
    assert_eq!(judged.len(), 200, "a text that comes again counts once");
    let right = judged.iter().filter(|r| r.agrees).count();
    assert!((70..=130).contains(&right), "{right} of 200 where chance gives 100");
    assert!(fitted(&examples).exchanges() == 400);
}
