use understudy_call::{Asked, Declined};

use super::*;
use crate::{Reason, Refusal};

fn only(calls: Vec<(u64, Exchange)>, rules: &Rules, reason: Reason, count: u64) -> Curated {
    let made = curated(calls, rules);
    assert_eq!(made.report.count(reason), count, "{:#?}", made.report.dropped);
    let sampled = made.report.dropped.iter().find(|d| d.reason == reason).map_or(0, |d| d.samples.len());
    assert_eq!(sampled as u64, count.min(5));
    made
}

fn changed(change: impl Fn(&mut Exchange)) -> Vec<(u64, Exchange)> {
    let (seq, mut e) = usual(1);
    change(&mut e);
    vec![(seq, e), usual(2)]
}

#[test]
fn what_is_no_reference_is_left_out_by_name() {
    let rules = all_train();
    let reply = |c: Choice| move |e: &mut Exchange| e.reply.as_mut().unwrap().choices = vec![c.clone()];
    for (reason, calls) in [
        (Reason::Failed, changed(|e| e.meta.status = 503)),
        (Reason::Failed, changed(|e| e.meta.answered_by = AnsweredBy::Nobody)),
        (Reason::Failed, changed(|e| e.reply.as_mut().unwrap().error = Some(Default::default()))),
        (Reason::Truncated, changed(|e| e.meta.truncation = Truncation::ClientGone)),
        (Reason::Undecoded, changed(|e| e.reply = None)),
        (Reason::Unfinished, changed(reply(Choice { finish: Some(Finish::Length), ..says("the") }))),
        (Reason::ManyChoices, changed(|e| e.reply.as_mut().unwrap().choices = vec![says("a"), says("b")])),
        (Reason::StandIn, changed(|e| e.stand_ins = StandIns::Own)),
        (Reason::NotText, changed(reply(Choice { content: vec![Part::Refusal("no".into())], ..says("") }))),
        (Reason::OffGrammar, changed(reply(calls("sing", &json!({}))))),
        (Reason::OffGrammar, changed(reply(calls("play", &json!({"tempo": 3}))))),
        (Reason::NotPermitted, changed(|e| e.meta.provider = "other".into())),
        (Reason::EmptyPart, changed(|e| e.request.as_mut().unwrap().messages.truncate(1))),
        (
            Reason::Understudy,
            changed(|e| e.meta.answered_by = AnsweredBy::Understudy(UnderstudyId("u".into()))),
        ),
    ] {
        let made = only(calls, &rules, reason, 1);
        assert_eq!(texts(&made.rows), ["please play song 2 by artist 2"], "{reason:?}");
    }
    let long = vec![exchange(1, 1, asks(&"la ".repeat(700)), plays(&"x".repeat(7_000))), usual(2)];
    only(long, &rules, Reason::TooLong, 1);
    let flagged = Rules { flagged: [ExchangeId(key(1))].into(), ..rules };
    only(vec![usual(1), usual(2)], &flagged, Reason::Flagged, 1);
}

#[test]
fn other_tasks_and_other_callers_are_passed_over() {
    let (seq, mut other) = usual(2);
    other.meta.credential = Credential([8; 16]);
    let (_, mut form) = usual(3);
    form.meta.form = None;
    let made = curated(vec![usual(1), (seq, other), (3, form)], &all_train());
    assert_eq!((made.report.exchanges, made.report.elsewhere, made.rows.len()), (1, 2, 1));
}

#[test]
fn an_understudys_answer_under_another_form_spoils_the_later_turns_too() {
    let (seq, mut elsewhere) = by_understudy(exchange(1, 5, asks("what is it about?"), says("music")));
    elsewhere.meta.form = Some(understudy_call::FormHash([9; 16]));
    let later = vec![
        Message::text_of(Role::User, "hello"),
        Message::text_of(Role::Assistant, "an understudy's words"),
        Message::text_of(Role::User, "play Abba"),
    ];
    let calls = vec![(seq, elsewhere), exchange(2, 5, later, plays("Abba")), usual(3)];
    let made = only(calls, &all_train(), Reason::AfterUnderstudy, 1);
    assert_eq!(made.rows.len(), 1);
}

#[test]
fn an_audited_first_turn_is_the_providers() {
    let (seq, mut audited) = by_understudy(usual(1));
    audited.understudy_reply = Some(Reply { choices: vec![plays("wrong")], ..Reply::default() });
    let made = curated(vec![(seq, audited)], &all_train());
    assert_eq!(made.rows[0].reply, r#">play {"artist": "artist 1"}"#);
}

#[test]
fn of_the_same_call_the_latest_stays_and_stands_for_all() {
    let same = |seq| exchange(seq, seq, asks("play Abba"), plays("Abba"));
    let made = only(vec![same(1), same(2), usual(3), same(4)], &all_train(), Reason::ExactDuplicate, 2);
    let row = made.rows.iter().find(|r| r.seq == 4).unwrap();
    assert_eq!((row.stands_for, made.rows.len()), (3, 2));
}

#[test]
fn near_duplicates_go_only_where_the_label_is_the_same() {
    let long =
        |last: &str| format!("{} {last}", (0..60).map(|i| format!("word{i}")).collect::<Vec<_>>().join(" "));
    let of = |seq, last: &str, artist: &str| exchange(seq, seq, asks(&long(last)), plays(artist));
    let made =
        only(vec![of(1, "now", "Abba"), of(2, "today", "Abba")], &all_train(), Reason::NearDuplicate, 1);
    assert_eq!((made.rows[0].seq, made.rows[0].stands_for), (1, 2));
    only(vec![of(1, "now", "Abba"), of(2, "today", "Cher")], &all_train(), Reason::NearDuplicate, 0);
}

#[test]
fn a_chain_of_near_duplicates_leaves_no_two_of_them_in_two_parts() {
    let rules = permitted();
    let of_part = |split: Split, from: u64| {
        (from..).find(|n| crate::split::of(ConversationKey(key(*n)), &rules) == split).unwrap()
    };
    let first = of_part(Split::Train, 1);
    let (second, other) = (of_part(Split::Train, first + 1), of_part(Split::Development, 1));
    // Sixty words out of a row: neighbours share 56 of 60 word 3-grams, which is
    // near; the two ends share 54 of 62, which is not.
    let asked = |from: usize| (from..from + 60).map(|i| format!("word{i}")).collect::<Vec<_>>().join(" ");
    let call = |seq, conversation, from| exchange(seq, conversation, asks(&asked(from)), plays("Abba"));
    let calls = vec![call(1, first, 0), call(2, second, 2), call(3, other, 4)];
    let made = only(calls, &rules, Reason::NearDuplicate, 1);
    let rows: Vec<(u64, Split)> = made.rows.iter().map(|r| (r.seq, r.split)).collect();
    assert_eq!(rows, [(1, Split::Train), (3, Split::Development)]);
}

#[test]
fn a_conflict_goes_to_the_clear_majority_or_to_nobody() {
    let of = |seq, text: &str, artist: &str| exchange(seq, seq, asks(text), plays(artist));
    let clear = vec![
        of(1, "play it", "Abba"),
        of(2, "play it", "Abba"),
        of(3, "Play it!", "Abba"),
        of(4, "play it", "Cher"),
    ];
    let made = only(clear, &all_train(), Reason::Outvoted, 1);
    assert!(made.rows.iter().all(|r| r.reply.contains("Abba")));
    assert_eq!((made.report.conflicts.questions, made.report.conflicts.resolved), (1, 1));
    let even = vec![of(1, "play it", "Abba"), of(2, "PLAY  it?", "Cher"), of(3, "dim it", "Abba")];
    let made = only(even, &all_train(), Reason::Conflict, 2);
    assert_eq!(texts(&made.rows), ["dim it"]);
    assert_eq!((made.report.conflicts.questions, made.report.conflicts.resolved), (1, 0));
}

#[test]
fn replies_that_repeat_a_name_as_it_was_written_do_not_contradict_each_other() {
    let of = |seq, text: &str, artist: &str| exchange(seq, seq, asks(text), plays(artist));
    let made =
        only(vec![of(1, "play abba", "abba"), of(2, "Play Abba", "Abba")], &all_train(), Reason::Conflict, 0);
    assert_eq!((made.rows.len(), made.report.conflicts.questions), (2, 0));
}

/// A call that an understudy which serves declined; `audit` if it was drawn for one.
fn declined((seq, mut exchange): (u64, Exchange), audit: bool) -> (u64, Exchange) {
    exchange.meta.asked = Some(Asked {
        understudy: UnderstudyId("u".into()),
        entry: 1,
        declined: Some(Declined::BelowBar),
        audit,
        stratum: None,
    });
    (seq, exchange)
}

#[test]
fn what_an_understudy_left_teaches_and_judges_nobody() {
    let calls = |audit| (1..200).map(|n| declined(usual(n), audit)).collect::<Vec<_>>();
    let development = Rules { development: 1.0, held: 0.0, ..permitted() };
    let held = Rules { development: 0.0, held: 1.0, ..permitted() };
    for (rules, left, shown) in [(all_train(), 0, 0), (development, 199, 5), (held, 199, 0)] {
        let made = curated(calls(false), &rules);
        let samples = made.report.dropped.iter().map(|d| d.samples.len()).sum::<usize>();
        assert_eq!((made.report.count(Reason::LeftOver), samples), (left, shown), "{rules:?}");
        assert_eq!(curated(calls(true), &rules).report.count(Reason::LeftOver), 0, "drawn beforehand");
    }
}

#[test]
fn development_stays_as_the_traffic_is() {
    let rules = Rules { development: 1.0, held: 0.0, ..permitted() };
    let of = |seq, artist: &str| exchange(seq, 1, asks("play it"), plays(artist));
    let mut calls = vec![of(1, "Abba"), of(2, "Cher")];
    calls.extend((10..200).map(usual));
    calls.push(exchange(300, 300, asks(&"la la ".repeat(300)), plays("long")));
    calls.push(exchange(301, 301, asks("поставь что-нибудь из джаза"), plays("jazz")));
    let made = curated(calls, &rules);
    assert_eq!((made.rows.len(), made.report.dropped.len()), (194, 0), "{:#?}", made.report.dropped);
    assert!(splits_of(&made).iter().all(|s| *s == Split::Development));
}

#[test]
fn lengths_and_scripts_far_from_the_tasks_own_are_left_out() {
    let mut calls: Vec<_> = (1..200).map(usual).collect();
    calls.push(exchange(300, 300, asks(&"la la ".repeat(300)), plays("long")));
    calls.push(exchange(301, 301, asks("поставь что-нибудь из джаза"), plays("jazz")));
    let made = only(calls, &all_train(), Reason::LengthOutlier, 1);
    assert_eq!((made.report.count(Reason::ScriptOutlier), made.rows.len()), (1, 199));
    assert_eq!(made.report.script.as_ref().unwrap().0, "Latin");
}

#[test]
fn a_task_of_several_scripts_has_no_outlier() {
    let mut calls: Vec<_> = (1..60).map(usual).collect();
    calls.extend(
        (100..160).map(|n| exchange(n, n, asks(&format!("поставь песню номер {n} из джаза")), plays("jazz"))),
    );
    let made = only(calls, &all_train(), Reason::ScriptOutlier, 0);
    assert!(made.report.notes.iter().any(|n| n.contains("several scripts")), "{:?}", made.report.notes);
}

/// What a customer asks, long enough to tell its language.
fn asked_in(language: &str, n: u64) -> (u64, Exchange) {
    let text = match language {
        "en" => format!("please tell me whether the payment number {n} to my landlord has already arrived"),
        _ => {
            format!("bitte sagen Sie mir, ob die Zahlung Nummer {n} an meinen Vermieter schon angekommen ist")
        }
    };
    exchange(n, n, asks(&text), plays("jazz"))
}

#[test]
fn a_language_that_is_not_the_tasks_own_is_left_out() {
    let mut calls: Vec<_> = (1..200).map(|n| asked_in("en", n)).collect();
    calls.extend([300, 301].map(|n| asked_in("de", n)));
    let made = only(calls.clone(), &all_train(), Reason::LanguageOutlier, 2);
    assert_eq!(made.report.language.as_ref().unwrap().0, "English");
    let rules = Rules { one_language: false, ..all_train() };
    let made = only(calls, &rules, Reason::LanguageOutlier, 0);
    assert_eq!(made.report.language, None);
}

#[test]
fn a_task_of_several_languages_has_no_outlier() {
    let mut calls: Vec<_> = (1..100).map(|n| asked_in("en", n)).collect();
    calls.extend((300..330).map(|n| asked_in("de", n)));
    let made = only(calls, &all_train(), Reason::LanguageOutlier, 0);
    assert!(made.report.notes.iter().any(|n| n.contains("several languages")), "{:?}", made.report.notes);
}

#[test]
fn a_class_is_capped_only_where_asked_and_never_under_the_floor() {
    let dims = |n: u64| {
        exchange(
            n,
            n,
            asks(&format!("dim the light in room {n}")),
            calls("dim", &json!({"room": n.to_string()})),
        )
    };
    let calls: Vec<_> = (1..301).map(usual).chain((1_000..1_010).map(dims)).collect();
    assert_eq!(curated(calls.clone(), &all_train()).rows.len(), 310);
    let capped = Rules { class_cap: Some(2.0), class_floor: 20, ..all_train() };
    let made = curated(calls.clone(), &capped);
    // The median of 10 and 300 is the larger.
    assert_eq!(made.report.count(Reason::ClassCap), 0);
    let capped = Rules { class_cap: Some(0.2), class_floor: 20, ..all_train() };
    let made = only(calls.clone(), &capped, Reason::ClassCap, 240);
    let counts: Vec<(&str, u64, u64)> =
        made.report.classes.iter().map(|c| (c.class.as_str(), c.before, c.after)).collect();
    assert_eq!(counts, [("play", 300, 60), ("dim", 10, 10)]);
    let floored = Rules { class_cap: Some(0.01), class_floor: 20, ..all_train() };
    only(calls, &floored, Reason::ClassCap, 280);
}

#[test]
fn memory_is_bounded_by_letting_the_oldest_go() {
    let calls: Vec<_> = (1..1_001).map(usual).collect();
    let made = curated(calls, &Rules { memory: 100_000, ..all_train() });
    assert!(made.report.count(Reason::OverMemory) > 500, "{:#?}", made.report.dropped);
    assert!(made.rows.len() > 100);
    assert_eq!(made.rows.last().unwrap().seq, 1_000, "the latest stay");
}

#[test]
fn what_cannot_train_is_refused_with_the_remedy() {
    let refused = |calls: Vec<(u64, Exchange)>, rules: &Rules| curated(calls, rules).report.refusal();
    assert!(matches!(refused(Vec::new(), &all_train()), Some(Refusal::NothingRecorded { .. })));
    assert!(matches!(
        refused(vec![usual(1)], &all_train()),
        Some(Refusal::TooFewRows { rows: 1, least: 50 })
    ));
    let same = (1..200).map(|n| exchange(n, n, asks(&format!("play song {n}")), plays("Abba"))).collect();
    assert_eq!(refused(same, &all_train()), Some(Refusal::OneReply));
    let unasked = refused((1..200).map(usual).collect(), &Rules::default()).unwrap();
    assert!(
        unasked.to_string().contains("openai") && unasked.to_string().contains("train = true"),
        "{unasked}"
    );
    let empty = (1..200).map(|n| exchange(n, n, Vec::new(), plays("Abba"))).collect();
    assert!(matches!(refused(empty, &all_train()), Some(Refusal::EmptyPart { rows: 199 })));
    assert_eq!(refused((1..200).map(usual).collect(), &all_train()), None);
}
