//! Openings that make a form.

use super::*;

fn belongs(conversations: &Conversations, request: &Request) -> Belongs {
    conversations.of(CALLER, FORM, None, request)
}

/// The form of questions after the examples, once they have one.
fn with_examples() -> FormHash {
    form_with(FORM, &after(4, "q").messages[..5])
}

/// So many questions after the first so many turns of the examples, each met in turn.
fn meet(conversations: &Conversations, examples: usize, n: usize, of: &str) -> Vec<Belongs> {
    (0..n).map(|n| belongs(conversations, &after(examples, &format!("{of} {n}")))).collect()
}

#[test]
fn conversations_that_are_named_keep_their_names_and_each_teaches_once() {
    let c = conversations();
    let named = |id: &str, n: usize| c.of(CALLER, FORM, Some(id), &after(4, &format!("question {n}")));
    let by_id = |id: &str| HashKey::new([7; 32]).conversation(CALLER, FORM, Some(id), "whatever");
    for n in 0..4 * ALL {
        assert_eq!(named("t1", n), Belongs { form: FORM, conversation: by_id("t1"), opening: 0 });
    }
    assert_eq!(key_of(&c, &after(4, "My card fails.")), by("Where is my parcel?"));
    for n in 0..MANY + ALL {
        assert_eq!(named(&format!("u{n}"), 0).conversation, by_id(&format!("u{n}")));
    }
    assert_eq!(named("t1", 0), Belongs { form: with_examples(), conversation: by_id("t1"), opening: 5 });
    assert_eq!(key_of(&c, &after(4, "My card fails.")), by("My card fails."));
}

#[test]
fn examples_that_conversations_in_a_row_bring_make_a_form_and_system_text_among_them_counts() {
    let c = conversations();
    let first = (MANY - 1) + (ALL - 1);
    for (n, belongs) in (0..).zip(meet(&c, 4, 2 * first, "question")) {
        let expected = if n < first { (FORM, 0) } else { (with_examples(), 5) };
        assert_eq!((belongs.form, belongs.opening), expected, "{n}");
    }
    let mut request = after(4, "My card fails.");
    request.messages.extend(
        [(Role::Assistant, "Which bank?"), (Role::User, "The red one.")]
            .map(|(role, text)| Message::text_of(role, text)),
    );
    let expected = Belongs { form: with_examples(), conversation: by("My card fails."), opening: 5 };
    assert_eq!(belongs(&c, &request), expected);
    assert_eq!(request.turns_after(5).next().map(Message::text).as_deref(), Some("My card fails."));
}

#[test]
fn one_call_that_begins_otherwise_and_they_are_counted_anew_until_there_is_a_form() {
    let otherwise = [
        ask(&[(Role::User, "Are you there?")]),
        after(2, "Are you there?"),
        ask(&[(Role::User, "Hi"), (Role::Assistant, "Hello"), (Role::User, "Are you there?")]),
    ];
    for other in otherwise {
        let c = conversations();
        learn(&c, 4);
        assert!(meet(&c, 4, ALL - 2, "a").iter().all(|b| b.form == FORM));
        assert_eq!(belongs(&c, &other).form, FORM);
        assert!(meet(&c, 4, ALL - 1, "b").iter().all(|b| b.form == FORM));
        assert_eq!(meet(&c, 4, 1, "c")[0].form, with_examples());
        assert_eq!(belongs(&c, &other), Belongs { form: FORM, opening: 0, ..belongs(&c, &other) });
        assert_eq!(meet(&c, 4, 1, "d")[0].form, with_examples());
    }
}

#[test]
fn calls_of_one_conversation_count_once() {
    let c = conversations();
    learn(&c, 4);
    let mut request = after(4, "My card fails.");
    for turn in 0..2 * ALL {
        request.messages.push(Message::text_of(Role::Assistant, "Go on."));
        request.messages.push(Message::text_of(Role::User, format!("And {turn}?")));
        assert_eq!(belongs(&c, &request).opening, 0);
    }
}

#[test]
fn conversations_that_take_turns_count_once_each() {
    let c = conversations();
    learn(&c, 4);
    let mut requests: Vec<Request> = (0..5).map(|n| after(4, &format!("question {n} after 4"))).collect();
    for turn in 0..2 * ALL {
        for request in &mut requests {
            assert_eq!(belongs(&c, request).opening, 0, "{turn}");
            request.messages.push(Message::text_of(Role::Assistant, "Go on."));
            request.messages.push(Message::text_of(Role::User, format!("And {turn}?")));
        }
    }
}

#[test]
fn what_some_calls_begin_with_makes_no_form() {
    let c = conversations();
    let menu = |choice: &str, said: &str| {
        let says = format!("{choice}. Go on.");
        ask(&[(Role::User, choice), (Role::Assistant, says.as_str()), (Role::User, said)])
    };
    for n in 0..4 * ALL {
        let choice = if n.is_multiple_of(3) { "billing" } else { "support" };
        let found = belongs(&c, &menu(choice, &format!("it is {n}")));
        assert_eq!((found.form, found.opening), (FORM, 0));
        assert!(n < 3 * MANY || found.conversation == by(&format!("it is {n}")));
    }
}

#[test]
fn other_examples_are_another_form_and_more_of_them_too() {
    let c = conversations();
    let other = |said: &str| {
        ask(&[(Role::User, "Where is my parcel?"), (Role::Assistant, "sales"), (Role::User, said)])
    };
    let enough = MANY + ALL;
    meet(&c, 2, enough, "a");
    let two = meet(&c, 2, 1, "b")[0];
    assert_eq!(two.opening, 3);
    meet(&c, 4, enough, "c");
    let four = meet(&c, 4, 1, "d")[0];
    assert_eq!((four.form, four.opening), (with_examples(), 5));
    for n in 0..enough {
        belongs(&c, &other(&format!("e {n}")));
    }
    let changed = belongs(&c, &other("f"));
    assert_eq!(changed.opening, 3);
    let forms = std::collections::HashSet::from([FORM, two.form, four.form, changed.form]);
    assert_eq!(forms.len(), 4);
    // Who goes back finds what there was.
    assert_eq!(meet(&c, 2, 1, "g")[0].form, two.form);
}

#[test]
fn the_same_examples_are_the_same_form_whoever_calls() {
    let forms = [CALLER, Credential([9; 16])].map(|caller| {
        let c = Conversations::new(HashKey::new(caller.0.repeat(2).try_into().unwrap()));
        let of = |n: usize| c.of(caller, FORM, None, &after(4, &format!("question {n}"))).form;
        (0..=MANY + ALL).map(of).collect::<Vec<_>>()
    });
    assert_eq!(forms[0], forms[1]);
    assert_eq!(forms[0].last(), Some(&with_examples()));
}

#[test]
fn what_some_go_on_with_alike_keeps_no_examples_from_making_a_form() {
    let c = conversations();
    let often = |said: &str| {
        let mut request = after(4, "Hi");
        request.messages.push(Message::text_of(Role::Assistant, "How can I help?"));
        request.messages.push(Message::text_of(Role::User, said));
        request
    };
    learn(&c, 4);
    // Until the greeting is known for an opening, those who were greeted are one.
    for n in 0..2 * ALL {
        let (plain, greeted) = (after(4, &format!("question {n}")), often(&format!("{n}")));
        let found = belongs(&c, if n.is_multiple_of(2) { &plain } else { &greeted });
        assert_eq!(found.opening, if n >= ALL + 4 { 5 } else { 0 }, "{n}");
    }
    assert_eq!(key_of(&c, &often("Where is it?")), by("Where is it?"));
}

#[test]
fn another_process_goes_on_from_what_this_one_had_learnt() {
    let (whole, first) = (conversations(), conversations());
    let asked = |c: &Conversations, n: usize| belongs(c, &after(4, &format!("question {n}")));
    let all = MANY + ALL;
    // Cut off while the opening is a candidate, is known, and has its form.
    let mut c = first;
    for n in 0..2 * all {
        if [5, 20, all + 5].contains(&n) {
            let learnt = serde_json::to_vec(&*c.openings()).unwrap();
            assert!(!String::from_utf8_lossy(&learnt).contains("parcel"));
            c = conversations();
            c.take_up(&learnt).unwrap();
        }
        assert_eq!(asked(&c, n), asked(&whole, n), "{n}");
    }
    assert!(c.learnt(false).is_some() && c.learnt(false).is_none());
    asked(&c, 0);
    assert!(c.learnt(false).is_some());
    // That a row is broken off is news, once.
    for news in [true, false] {
        key_of(&c, &ask(&[(Role::User, "Hi")]));
        assert_eq!(c.learnt(false).is_some(), news);
    }
    assert!(c.take_up(b"[]").is_err() && c.take_up(b"").is_err());
    assert_eq!(asked(&c, 1).opening, 5);
}
