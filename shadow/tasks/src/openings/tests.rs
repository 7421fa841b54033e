use proptest::prelude::*;
use understudy_call::ToolCall;

use super::bounded::REMEMBERED;
use super::*;

mod forms;

const CALLER: Credential = Credential([1; 16]);
const FORM: FormHash = FormHash([2; 16]);

/// Examples that an agent gives as turns.
const EXAMPLES: [(Role, &str); 4] = [
    (Role::User, "Where is my parcel?"),
    (Role::Assistant, "delivery"),
    (Role::User, "I was charged twice."),
    (Role::Assistant, "billing"),
];

fn conversations() -> Conversations {
    Conversations::new(HashKey::new([7; 32]))
}

fn ask(turns: &[(Role, &str)]) -> Request {
    let mut messages = vec![Message::text_of(Role::System, "Name the queue.")];
    messages.extend(turns.iter().map(|(role, text)| Message::text_of(*role, *text)));
    Request { messages, ..Request::default() }
}

/// A question after the first so many turns of the examples.
fn after(examples: usize, question: &str) -> Request {
    let mut request = ask(&EXAMPLES[..examples]);
    request.messages.push(Message::text_of(Role::User, question));
    request
}

fn key_of(conversations: &Conversations, request: &Request) -> ConversationKey {
    conversations.of(CALLER, FORM, None, request).conversation
}

/// The key by a message's words.
fn by(words: &str) -> ConversationKey {
    HashKey::new([7; 32]).conversation(CALLER, FORM, None, words)
}

/// Has met as many questions after the first so many turns of the examples as it takes.
fn learn(conversations: &Conversations, examples: usize) {
    for n in 0..MANY {
        key_of(conversations, &after(examples, &format!("question {n} after {examples}")));
    }
}

fn openings(conversations: &Conversations) -> usize {
    conversations.learnt.openings.lock().unwrap().known.held.len()
}

#[test]
fn calls_with_the_same_examples_are_conversations_of_their_own_from_the_eighth_on() {
    let gateway = conversations();
    let writer = gateway.clone();
    for n in 1..=3 * MANY {
        let question = format!("question {n}");
        let expected = if n < MANY { by("Where is my parcel?") } else { by(&question) };
        for who in [&gateway, &writer] {
            assert_eq!(key_of(who, &after(4, &question)), expected, "{n}");
        }
    }
}

#[test]
fn the_turns_after_an_opening_are_one_conversation() {
    let c = conversations();
    learn(&c, 4);
    let mut request = after(4, "My card fails.");
    for turn in 0..10 {
        assert_eq!(key_of(&c, &request), by("My card fails."), "turn {turn}");
        request.messages.push(Message::text_of(Role::Assistant, "Which bank?"));
        request.messages.push(Message::text_of(Role::User, format!("The bank {turn}.")));
    }
    let call = ToolCall { id: "1".into(), name: "banks".into(), arguments: "{}".into() };
    let mut called = Message::text_of(Role::Assistant, "");
    called.tool_calls.push(call);
    request.messages.extend([called, Message::text_of(Role::Tool, "red, blue")]);
    assert_eq!(key_of(&c, &request), by("My card fails."));
    request.messages.push(Message::text_of(Role::User, "The red one."));
    assert_eq!(key_of(&c, &request), by("My card fails."));
}

#[test]
fn customers_who_are_greeted_alike_are_told_apart_by_what_they_say_next() {
    let c = conversations();
    let greeted =
        |said: &str| ask(&[(Role::User, "Hi"), (Role::Assistant, "How can I help?"), (Role::User, said)]);
    for n in 0..MANY {
        key_of(&c, &greeted(&format!("Where is order {n}?")));
    }
    assert_eq!(key_of(&c, &greeted("Cancel order 11.")), by("Cancel order 11."));
    assert_eq!(key_of(&c, &greeted("Cancel order 12.")), by("Cancel order 12."));
    // The greeting itself is everybody's still.
    assert_eq!(key_of(&c, &ask(&[(Role::User, "Hi")])), by("Hi"));
}

#[test]
fn a_conversation_that_begins_with_its_own_words_keeps_its_key() {
    let c = conversations();
    for customer in 0..3 * MANY {
        let first = format!("I am customer {customer}.");
        let mut request = ask(&[(Role::User, first.as_str())]);
        for turn in 0..20 {
            assert_eq!(key_of(&c, &request), by(&first), "turn {turn}");
            request.messages.push(Message::text_of(Role::Assistant, "Go on."));
            request.messages.push(Message::text_of(Role::User, format!("And {turn}?")));
        }
    }
    assert_eq!(openings(&c), 0);
}

#[test]
fn retries_make_no_opening() {
    let c = conversations();
    for n in 0..10 * MANY {
        let question = format!("question {}", n % (MANY - 1));
        assert_eq!(key_of(&c, &after(4, &question)), by("Where is my parcel?"));
    }
    assert_eq!(openings(&c), 0);
}

#[test]
fn an_opening_is_of_one_credential_and_form() {
    let c = conversations();
    learn(&c, 4);
    let key = HashKey::new([7; 32]);
    let request = after(4, "My card fails.");
    for (caller, form) in [(Credential([9; 16]), FORM), (CALLER, FormHash([9; 16]))] {
        let as_before = key.conversation(caller, form, None, "Where is my parcel?");
        assert_eq!(c.of(caller, form, None, &request), Belongs { form, conversation: as_before, opening: 0 });
    }
    assert_eq!(key_of(&c, &request), by("My card fails."));
}

#[test]
fn the_longest_opening_counts() {
    let c = conversations();
    learn(&c, 2);
    assert_eq!(key_of(&c, &after(4, "My card fails.")), by("I was charged twice."));
    learn(&c, 4);
    assert_eq!(key_of(&c, &after(4, "My card fails.")), by("My card fails."));
    assert_eq!(key_of(&c, &after(2, "My card fails.")), by("My card fails."));
    assert_eq!(openings(&c), 2);
}

#[test]
fn what_is_too_long_or_begun_by_the_model_is_no_opening_and_examples_of_tools_are() {
    let user = || Message::text_of(Role::User, "u");
    let model = || Message::text_of(Role::Assistant, "m");
    let turns = |n: usize| -> Vec<Message> {
        (0..n).map(|i| if i.is_multiple_of(2) { user() } else { model() }).collect()
    };
    let mut called = model();
    called.tool_calls.push(ToolCall { id: "1".into(), name: "find".into(), arguments: "{}".into() });
    let leading = [
        (turns(MESSAGES), 1),
        (turns(MESSAGES + 1), 0),
        (vec![user(), called.clone()], 1),
        (vec![user(), called, Message::text_of(Role::Tool, "{}"), model()], 1),
        (vec![model(), user(), model()], 0),
        (vec![user(), Message::text_of(Role::Assistant, "x".repeat(BYTES - 1))], 1),
        (vec![user(), Message::text_of(Role::Assistant, "x".repeat(BYTES))], 0),
        (vec![user(), user()], 1),
    ];
    for (messages, expected) in leading {
        let c = conversations();
        for n in 0..2 * MANY {
            let mut request = Request { messages: messages.clone(), ..Request::default() };
            request.messages.push(Message::text_of(Role::User, format!("question {n}")));
            let key = key_of(&c, &request);
            assert!(expected == 1 || key == by("u"));
        }
        assert_eq!(openings(&c), expected, "{} messages", messages.len());
    }
}

#[test]
fn rules_in_a_message_of_their_own_are_an_opening() {
    let c = conversations();
    let ruled = |said: &str| ask(&[(Role::User, "Name the queue of what follows."), (Role::User, said)]);
    for n in 0..MANY {
        key_of(&c, &ruled(&format!("Where is order {n}?")));
    }
    assert_eq!(key_of(&c, &ruled("Cancel order 11.")), by("Cancel order 11."));
    // Whoever says something else in two messages is one conversation still.
    let own = ask(&[(Role::User, "My parcel."), (Role::User, "Where is it?")]);
    assert_eq!(key_of(&c, &own), by("My parcel."));
}

#[test]
fn where_no_user_speaks_what_varies_in_the_system_text_names_it() {
    let c = conversations();
    let about =
        |text: &str| Request { messages: vec![Message::text_of(Role::System, text)], ..Request::default() };
    let page = about("It is 3:45 PM now. Name the kind of https://example.com/a.");
    assert_eq!(key_of(&c, &page), by("3:45 PM\nhttps://example.com/a."));
    let mut looped = page;
    looped.messages.push(Message::text_of(Role::Tool, "found"));
    assert_eq!(key_of(&c, &looped), by("https://example.com/a."), "a clock goes on within a conversation");
    assert_eq!(key_of(&c, &about("Say hello.")), by(""));
}

#[test]
fn the_oldest_are_forgotten_first_and_memory_is_bounded() {
    let c = conversations();
    let begun = |first: &str, said: &str| {
        ask(&[(Role::User, first), (Role::Assistant, "Go on."), (Role::User, said)])
    };
    for n in 0..=REMEMBERED {
        for way in 0..MANY {
            key_of(&c, &begun(&format!("opening {n}"), &format!("way {way}")));
        }
    }
    for n in 0..=REMEMBERED {
        key_of(&c, &begun(&format!("candidate {n}"), "only way"));
    }
    {
        let held = c.learnt.openings.lock().unwrap();
        assert_eq!((held.known.held.len(), held.known.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!((held.candidates.held.len(), held.candidates.order.len()), (REMEMBERED, REMEMBERED));
    }
    assert_eq!(key_of(&c, &begun("opening 0", "hello")), by("opening 0"));
    assert_eq!(key_of(&c, &begun("opening 1", "hello")), by("hello"));
    assert_eq!(key_of(&c, &begun(&format!("opening {REMEMBERED}"), "hello")), by("hello"));
}

#[test]
fn an_opening_is_learnt_and_kept_among_the_conversations_of_others() {
    let c = conversations();
    let begun = |first: &str, said: &str| {
        ask(&[(Role::User, first), (Role::Assistant, "Go on."), (Role::User, said)])
    };
    let others = |round: usize| {
        for n in 0..REMEMBERED - 1 {
            key_of(&c, &begun(&format!("conversation {round}.{n}"), "yes"));
        }
    };
    for way in 0..MANY {
        key_of(&c, &begun("an example", &format!("question {way}")));
        others(way);
    }
    assert_eq!(openings(&c), 1);
    for n in 0..REMEMBERED {
        assert_eq!(key_of(&c, &begun("an example", "another question")), by("another question"));
        for way in 0..MANY {
            key_of(&c, &begun(&format!("opening {n}"), &format!("way {way}")));
        }
    }
}

#[test]
fn nothing_is_shown_of_what_is_held() {
    assert_eq!(format!("{:?}", conversations()), "Conversations(…)");
}

proptest! {
    #[test]
    fn where_the_model_has_not_spoken_the_first_user_message_names_it(
        turns in prop::collection::vec((0..3usize, "\\PC{0,12}"), 0..8),
    ) {
        let roles = [Role::System, Role::User, Role::Tool];
        let messages: Vec<Message> =
            turns.iter().map(|(role, text)| Message::text_of(roles[*role], text.as_str())).collect();
        let key = key_of(&conversations(), &Request { messages, ..Request::default() });
        if let Some((_, first)) = turns.iter().find(|(role, _)| *role == 1) {
            prop_assert_eq!(key, by(first));
        }
    }
}
