use proptest::prelude::*;
use understudy_call::{
    Credential, Dialect, Exchange, ExchangeId, Format, Message, Metadata, Request, Role, Tool,
};

use crate::{Effect, HashKey, Sharing, TaskBook, fingerprint, mask, part, reads_or_acts};

fn tool(name: &str, description: &str) -> Tool {
    Tool {
        name: name.into(),
        description: Some(description.into()),
        parameters: serde_json::json!({"type": "object"}),
        strict: None,
        extra: serde_json::Map::new(),
    }
}

fn ask(system: &str, turns: &[(Role, &str)]) -> Request {
    let mut messages = vec![Message::text_of(Role::System, system)];
    messages.extend(turns.iter().map(|(r, t)| Message::text_of(*r, *t)));
    Request { model: "m".into(), messages, ..Request::default() }
}

fn exchange(request: Request, credential: u8) -> Exchange {
    Exchange::new(
        ExchangeId([0; 16]),
        Metadata {
            form: Some(fingerprint(Dialect::OpenaiChat, &request)),
            ..Metadata::answered("openai", Dialect::OpenaiChat, Credential([credential; 16]))
        },
        Some(request),
        None,
    )
}

#[test]
fn turns_and_masked_values_do_not_change_the_form() {
    let f = |r: &Request| fingerprint(Dialect::OpenaiChat, r);
    let a = ask("The current time is 2024-05-15 15:00:00 EST. Be kind.", &[(Role::User, "hi")]);
    let b = ask(
        "The current time is 2025-01-02 03:04:05 EST. Be kind.",
        &[(Role::User, "hi"), (Role::Assistant, "hello"), (Role::Tool, "{}")],
    );
    assert_eq!(f(&a), f(&b));
}

#[test]
fn a_number_in_a_rule_is_form() {
    let f = |s: &str| fingerprint(Dialect::OpenaiChat, &ask(s, &[]));
    assert_ne!(f("At most 5 passengers."), f("At most 9 passengers."));
    assert_ne!(f("Refund within 24 hours."), f("Refund within 48 hours."));
}

#[test]
fn tools_and_schema_are_form() {
    let base = ask("s", &[(Role::User, "u")]);
    let mut with_tool = base.clone();
    with_tool.tools = vec![tool("get_user", "Looks up a user.")].into();
    let mut with_format = base.clone();
    with_format.format = Format::JsonObject;
    let hashes: std::collections::HashSet<_> =
        [&base, &with_tool, &with_format].into_iter().map(|r| fingerprint(Dialect::OpenaiChat, r)).collect();
    assert_eq!(hashes.len(), 3);
}

fn offering(tools: &[(&str, &str)]) -> Request {
    let of = |(name, parameters): &(&str, &str)| Tool {
        description: None,
        parameters: serde_json::from_str(parameters).unwrap(),
        ..tool(name, "")
    };
    Request { tools: tools.iter().map(of).collect(), ..ask("s", &[]) }
}

#[test]
fn tools_met_before_are_known_again_by_how_they_were_written() {
    let requests = [
        offering(&[("book", r#"{"a":1,"b":{"c":[0.0]}}"#)]),
        offering(&[("book", r#"{"b":{"c":[0.0]},"a":1}"#)]),
        offering(&[("book", r#"{"a":1,"b":{"c":[-0.0]}}"#)]),
        offering(&[("book", r#"{"a":1,"b":{"c":[0]}}"#)]),
        offering(&[("book", r#"{"a":1,"b":{"c":["0"]}}"#)]),
        offering(&[("books", r#"{"a":1,"b":{"c":[0.0]}}"#)]),
        offering(&[("book", "null"), ("cancel", "null")]),
        offering(&[("cancel", "null"), ("book", "null")]),
        offering(&[("book", "null")]),
        offering(&[]),
    ];
    // What each is to a thread that has met none of the others.
    let alone = requests
        .clone()
        .map(|r| std::thread::spawn(move || fingerprint(Dialect::OpenaiChat, &r)).join().unwrap());
    assert_eq!(alone.iter().collect::<std::collections::HashSet<_>>().len(), requests.len());
    // Only what is shared is remembered, and there are more of them than that.
    let _again = requests.clone();
    for _ in 0..3 {
        for (r, form) in requests.iter().zip(&alone) {
            assert_eq!(fingerprint(Dialect::OpenaiChat, r), *form);
            assert_eq!(fingerprint(Dialect::OpenaiChat, r), *form);
        }
    }
}

#[test]
fn a_form_s_hash_is_the_same_in_every_version() {
    let mut r = ask("Today is 2024-05-15. Be kind.", &[(Role::User, "hi")]);
    let book = offering(&[("book", r#"{"b":[1,-0.0],"a":null}"#)]).tools;
    r.tools = [tool("get_user", "Looks up a user."), book[0].clone()].into_iter().collect();
    let schema = serde_json::json!({"type": "string"});
    r.format = Format::JsonSchema { name: "s".into(), schema: schema.into(), strict: None };
    // By another BLAKE3 (Python's), field by field: journals name their tasks by it.
    assert_eq!(fingerprint(Dialect::OpenaiChat, &r).to_string(), "d3b82492ccc34268bbb4b87e9451ea1b");
}

#[test]
fn variables_are_masked_by_kind_and_given_back_in_order() {
    let text = "Mail ann@example.com, see https://example.com/a?b=1 (session \
                123e4567-e89b-12d3-a456-426614174000) on Monday, 3 March 2025.";
    let (masked, values) = mask(text);
    assert_eq!(masked, "Mail ⟨email⟩, see ⟨url⟩ (session ⟨uuid⟩) on ⟨time⟩.");
    let kinds: Vec<&str> = values.iter().map(|v| v.kind.as_str()).collect();
    assert_eq!(kinds, ["email", "url", "uuid", "time"]);
    assert_eq!(values[0].value, "ann@example.com");
}

#[test]
fn a_word_that_only_begins_like_a_month_or_a_day_is_form() {
    for rule in [
        "Decline 5000 or more.",
        "Ask the Mayor 2020 times.",
        "Market 1999 units.",
        "Junction 1234",
        "Octane 1000",
        "Marching 12, 2024",
        "Sepia 1850",
    ] {
        assert_eq!(mask(rule).0, rule);
    }
    assert_eq!(mask("Monitor 3 March 2025").0, "Monitor ⟨time⟩");
    let f = |s: &str| fingerprint(Dialect::OpenaiChat, &ask(s, &[]));
    assert_ne!(f("Decline 5000 or more."), f("Decline 9000 or more."));
}

#[test]
fn months_and_days_are_masked_in_full_and_shortened() {
    for date in [
        "January 2025",
        "Jan. 5, 2025",
        "3 Februar 2025",
        "Mar 3 2025",
        "Apr 2025",
        "1 May 2025",
        "June 1st, 2025",
        "4 Jul 2025",
        "Aug 2025",
        "Sept. 2025",
        "Sep 9, 2025",
        "September 2025",
        "Oct 2025",
        "November 30, 2025 12:30 UTC",
        "Thurs, 4 Dec 2025",
        "Tue, 02 Dec 2025 10:00:00 GMT",
        "Wednesday, 3 December 2025",
        "15. Mai 2024",
        "3. März 2025",
        "3. Dezember 2025 17:05",
    ] {
        assert_eq!(mask(date).0, "⟨time⟩", "{date}");
    }
}

#[test]
fn clocks_are_masked_as_programs_and_people_of_many_countries_write_them() {
    for now in [
        "2024-05-15T14:30:00.123Z",
        "2024-05-15 14:30",
        "2024-05-15 at 3:45 PM",
        "5/15/2024, 3:45:12 PM",
        "05/15/2024",
        "15.05.2024",
        "15.05.2024, 14:30",
        "2024/05/15 14:30:00",
        "Wednesday, May 15",
        "Wed 15 May, 3:45 pm",
        "Wednesday, May 15, 2024 at 3:45 PM",
        "May 15, 2024, 9:05 a.m",
        "Wed May 15 14:30:00 2024",
        "Wed May  5 14:30:00 UTC 2024",
        "2024年5月15日",
        "3:45 PM",
        "15:45",
        "03:45:00",
    ] {
        assert_eq!(mask(&format!("It is {now}. Go on.")).0, "It is ⟨time⟩. Go on.", "{now}");
    }
    for said in
        ["Current time: {}", "The time is {}, so hurry", "Time: {}", "it is {} now", "Local time is now {}"]
    {
        assert_eq!(mask(&said.replace("{}", "15:45")).0, said.replace("{}", "⟨time⟩"));
    }
    for said in ["Today is {}", "Today's date: {}", "Date: {}"] {
        assert_eq!(mask(&said.replace("{}", "Wednesday, May 15")).0, said.replace("{}", "⟨time⟩"));
    }
    for rule in [
        "Open from 9:00 AM to 5:30 PM.",
        "At 10:30 amounts are due.",
        "Version 1.2.20240",
        "Every May 15",
        "Check-in time: 15:00. Check-out time: 11:00",
        "Opening time: 9:00 AM",
        "Lead time 10:30",
        "If it is 18:00 or later, escalate.",
        "Now 9:00-17:00",
        ".NET 4.8.9032",
        "a ratio of 1/4/1000",
        "Closed on Sunday, December 24",
    ] {
        assert_eq!(mask(rule).0, rule);
    }
}

#[test]
fn masked_values_belong_to_the_part() {
    let p = part(&ask("Today is 2024-05-15.", &[(Role::User, "book it for tomorrow")]), 0);
    assert_eq!(p.text(), "time: 2024-05-15\nbook it for tomorrow");
    assert_eq!(&p.text()[p.turns_at()..], "book it for tomorrow");
}

#[test]
fn what_all_calls_begin_with_is_no_part() {
    let turns = [(Role::User, "2+2"), (Role::Assistant, "4"), (Role::User, "3+5")];
    let request = ask("Today is 2024-05-15. Add.", &turns);
    assert_eq!(part(&request, 3).text(), "time: 2024-05-15\n3+5");
    assert!(!part(&request, 3).is_multi_turn() && part(&request, 0).is_multi_turn());
    assert_eq!(part(&request, 0).turns.len(), 3);
}

#[test]
fn reading_needs_a_reading_name_and_anything_unsure_acts() {
    let reads = ["get_user_details", "searchDirectFlight", "list-all-airports", "calculate", "lookup_order"];
    let acts = ["book_reservation", "send_certificate", "frobnicate", "get_and_delete", "play_music", ""];
    for name in reads {
        assert_eq!(reads_or_acts(&tool(name, "Looks it up.")), Effect::Reads, "{name}");
    }
    for name in acts {
        assert_eq!(reads_or_acts(&tool(name, "Does it.")), Effect::Acts, "{name}");
    }
    assert_eq!(reads_or_acts(&tool("get_refund", "Refunds the customer.")), Effect::Acts);
}

#[test]
fn a_tool_does_what_the_operator_says() {
    let mut book = TaskBook::default();
    let (guessed_to_act, guessed_to_read) = (tool("frobnicate", "Does it."), tool("calculate", "Adds."));
    assert_eq!(book.effect(&guessed_to_act), Effect::Acts);
    book.declare_tools([("frobnicate".to_owned(), Effect::Reads), ("calculate".to_owned(), Effect::Acts)]);
    assert_eq!(book.effect(&guessed_to_act), Effect::Reads);
    assert_eq!(book.effect(&guessed_to_read), Effect::Acts);
}

#[test]
fn a_name_that_reads_in_part_or_in_some_program_acts() {
    let acts = [
        "check_in_passenger",
        "checkOutBasket",
        "check_off_item",
        "resolve_ticket",
        "select_seat",
        "load_wallet",
        "find_and_replace",
        "lookup_and_lock_account",
        "searchOrLock",
        "check_then_lock",
        "search_and_check_in_guest",
        // Nouns, which no list tells from verbs: the safe side.
        "get_terms_and_conditions",
    ];
    let reads = [
        "check_status",
        "check_order",
        "search_and_list_orders",
        "get_or_compute_route",
        "look_up_order",
        "get_checkout_page",
        "get_check_in_time",
        "think",
        "list_all_airports",
        "search_screening_event",
        "get_return_policy",
    ];
    for name in acts {
        assert_eq!(reads_or_acts(&tool(name, "Looks it up.")), Effect::Acts, "{name}");
    }
    for name in reads {
        assert_eq!(reads_or_acts(&tool(name, "Looks it up.")), Effect::Reads, "{name}");
    }
}

#[test]
fn a_task_belongs_to_one_credential_unless_shared() {
    let mut book = TaskBook::default();
    let r = ask("Route the customer.", &[(Role::User, "u")]);
    let a = book.assign(&exchange(r.clone(), 1)).unwrap();
    let b = book.assign(&exchange(r.clone(), 2)).unwrap();
    assert_ne!(a, b);
    assert_eq!(book.task(a).unwrap().name, "route-the-customer");
    assert_eq!(book.task(b).unwrap().name, "route-the-customer-2");

    let form = fingerprint(Dialect::OpenaiChat, &r);
    let other = ask("Rate the book.", &[(Role::User, "u")]);
    for (sharing, other_too) in [(Sharing::Forms([form].into()), false), (Sharing::All, true)] {
        let mut book = TaskBook::default();
        book.share(sharing);
        let task = book.assign(&exchange(r.clone(), 1)).unwrap();
        assert_eq!(book.assign(&exchange(r.clone(), 2)), Some(task));
        assert_eq!(book.task(task).unwrap().credential, None);
        let one = book.assign(&exchange(other.clone(), 1));
        assert_eq!(one == book.assign(&exchange(other.clone(), 2)), other_too);

        // A book that was kept speaks for its tasks, not for who shares them now.
        let kept = serde_json::to_string(&book).unwrap();
        let mut later = TaskBook::default();
        later.take_up(serde_json::from_str(&kept).unwrap());
        assert!(later.task(task).is_none());
        assert_ne!(later.assign(&exchange(r.clone(), 1)), Some(task));
        later.share(Sharing::Forms([form].into()));
        later.take_up(serde_json::from_str(&kept).unwrap());
        assert_eq!(later.task(task).unwrap().calls, 2);
    }
}

#[test]
fn a_new_form_for_every_call_locks_no_later_task_out() {
    let mut book = TaskBook::default();
    let kept = book.assign(&exchange(ask("Kept.", &[]), 1)).unwrap();
    assert!(book.rename(kept, "kept"));
    let routine = exchange(ask("Routine.", &[]), 1);
    for _ in 0..10 {
        book.assign(&routine).unwrap();
    }
    for i in 0..5_000 {
        assert!(book.assign(&exchange(ask(&format!("Order number {i}."), &[]), 1)).is_some());
    }
    assert_eq!(book.tasks().len(), 4096);
    assert!(book.task(kept).is_some() && book.id_of(&routine).is_some_and(|id| book.task(id).is_some()));
    assert_eq!(book.take_forgotten().len(), 5_002 - 4_096);
    assert!(book.take_forgotten().is_empty());
}

#[test]
fn a_task_without_system_text_is_named_by_what_its_messages_begin_with() {
    let asked = |n: usize| {
        let text = format!("Sort the ticket into one queue: billing or delivery.\nTicket: no{n}x is late");
        exchange(ask("", &[(Role::User, &text)]), 1)
    };
    let mut book = TaskBook::default();
    let id = book.assign(&asked(0)).unwrap();
    assert_eq!(book.task(id).unwrap().name, "untitled");
    (1..60).for_each(|n| assert_eq!(book.assign(&asked(n)), Some(id)));
    assert_eq!(book.task(id).unwrap().name, "sort-the-ticket-into-one-queue");
    let mut given = TaskBook::default();
    given.assign(&asked(0)).unwrap();
    assert!(given.rename(id, "queues"));
    (1..60).for_each(|n| assert_eq!(given.assign(&asked(n)), Some(id)));
    assert_eq!(given.task(id).unwrap().name, "queues", "what a person says stays");
}

#[test]
fn names_are_editable_and_unique() {
    let mut book = TaskBook::default();
    let a = book.assign(&exchange(ask("One.", &[]), 1)).unwrap();
    let b = book.assign(&exchange(ask("Two.", &[]), 1)).unwrap();
    assert!(book.rename(a, "router"));
    assert!(!book.rename(b, "router"));
    assert_eq!(book.find("router").unwrap().id, a);
    assert_eq!(book.find(&b.to_string()[..8]).unwrap().id, b);
}

#[test]
fn conversations_follow_the_explicit_id_or_the_first_user_message() {
    let key = HashKey::new([7; 32]);
    let c = key.credential("openai", b"sk-1");
    let f = fingerprint(Dialect::OpenaiChat, &ask("s", &[]));
    assert_eq!(key.conversation(c, f, None, "hi"), key.conversation(c, f, None, "hi"));
    assert_ne!(key.conversation(c, f, None, "hi"), key.conversation(c, f, None, "ho"));
    assert_eq!(key.conversation(c, f, Some("t1"), "hi"), key.conversation(c, f, Some("t1"), "ho"));
    assert_ne!(c, HashKey::new([8; 32]).credential("openai", b"sk-1"));
}

proptest! {
    #[test]
    fn masking_never_loses_text(text in "\\PC{0,200}") {
        let (masked, values) = mask(&text);
        let mut back = masked.into_owned();
        for v in &values {
            back = back.replacen(&format!("⟨{}⟩", v.kind), &v.value, 1);
        }
        prop_assert_eq!(back, text);
    }
}
