use proptest::prelude::*;

use super::*;

fn asked(text: &str) -> Request {
    Request { messages: vec![Message::text_of(Role::User, text)], ..Request::default() }
}

fn part_of(text: &str) -> Part {
    Part { masked: Vec::new(), turns: vec![Message::text_of(Role::User, text)] }
}

/// What different words say, of which none begin or end alike.
fn said(n: usize) -> String {
    let things = ["parcel", "card", "refund", "lamp", "order", "kettle", "invoice"];
    let ways = ["where is the", "my", "please send another", "nobody told me about this"];
    format!("{} {} since row{n}x", ways[n % ways.len()], things[n % things.len()])
}

fn met(texts: impl Iterator<Item = String>) -> Framing {
    let mut framing = Framing::default();
    for text in texts {
        framing.meet(&asked(&text), 0);
    }
    framing
}

const RULES: &str =
    "You sort tickets into queues: billing, delivery or other.\nSay nothing else.\n\nTicket: ";
const TAIL: &str = "\n\nAnswer with one word.";

#[test]
fn what_all_messages_begin_and_end_with_is_no_part() {
    let framing = met((0..ALL).map(|n| format!("{RULES}{}{TAIL}", said(n))));
    let frame = framing.frame().unwrap();
    let part = frame.part(&part_of(&format!("{RULES}is it  broken,\nor not?{TAIL}"))).unwrap();
    assert_eq!(part.text(), "is it  broken,\nor not?", "spaces and lines stay");
    assert!(frame.part(&part_of("is it broken?")).is_none());
    assert!(frame.part(&part_of(&RULES.replace("Say", "Tell"))).is_none());
    assert_eq!(frame.part(&part_of(&format!("{RULES}{TAIL}"))).unwrap().text(), "");
    assert!(frame.text().starts_with("You sort tickets") && frame.text().ends_with("with one word."));
    assert!(frame.text().contains("else. Ticket:\n…\nAnswer"), "{}", frame.text());
}

#[test]
fn the_turns_that_follow_stay_and_a_conversation_counts_once() {
    let mut framing = Framing::default();
    for n in 0..ALL - 1 {
        for _ in 0..3 {
            framing.meet(&asked(&format!("{RULES}{}", said(n))), 0);
        }
    }
    assert!(framing.frame().is_none());
    framing.meet(&asked(&format!("{RULES}{}", said(ALL))), 0);
    let mut part = part_of(&format!("{RULES}hello"));
    part.turns.push(Message::text_of(Role::Assistant, "other"));
    part.turns.push(Message::text_of(Role::User, "and now?"));
    let inside = framing.frame().unwrap().part(&part).unwrap();
    assert_eq!(inside.text(), "user: hello\nassistant: other\nuser: and now?");
}

#[test]
fn dates_and_addresses_of_a_frame_may_differ_and_are_values_of_the_part() {
    let dated = |day: usize, team: &str, text: &str| {
        format!(
            "Today is Wednesday, May {day}, 2024 and help is at {team}@example.com all day.\nSort this: {text}"
        )
    };
    let framing = met((0..ALL).map(|n| dated(n % 28 + 1, "team", &said(n))));
    let inside = |day, team| framing.frame().unwrap().part(&part_of(&dated(day, team, "12 lamps"))).unwrap();
    let part = inside(31, "team");
    assert_eq!(part.text(), "time: Wednesday, May 31, 2024\nemail: team@example.com\n12 lamps");
    assert_eq!(&part.text()[part.turns_at()..], "12 lamps");
    let live = inside(31, "who-it-really-is");
    assert!(live.text().contains("email: who-it-really-is@example.com"), "a reply may repeat it");
    assert_eq!(&live.text()[live.turns_at()..], "12 lamps");
    let same_day = met((0..ALL).map(|n| dated(1, "team", &said(n))));
    let tomorrow = same_day.frame().unwrap().part(&part_of(&dated(2, "team", "a lamp"))).unwrap();
    assert_eq!(
        tomorrow.text(),
        "time: Wednesday, May 2, 2024\nemail: team@example.com\na lamp",
        "they were all of one day"
    );
}

#[test]
fn a_number_that_is_personal_may_be_another_in_a_live_call_and_one_that_is_asked_is_no_frame() {
    let hotline = |number: &str, text: &str| format!("{RULES}Call +49 30 {number} if need be.\n{text}");
    let framing = met((0..ALL).map(|n| hotline("1234567", &said(n))));
    assert_eq!(
        framing.frame().unwrap().part(&part_of(&hotline("7654321", "a lamp"))).unwrap().text(),
        "number: +49\nnumber: 30\nnumber: 7654321\na lamp"
    );
    let tier = |n: usize, text: &str| format!("{RULES}They are of tier {n}.\n{text}");
    let framing = met((0..ALL).map(|n| tier(1, &said(n))));
    let inside = |n| framing.frame().unwrap().part(&part_of(&tier(n, "a lamp")));
    assert_eq!(inside(1).unwrap().text(), "a lamp");
    assert!(inside(2).is_none(), "it is another question");
    let page = |n: usize, text: &str| format!("{RULES}Page: https://example.com/{n}\n{text}");
    let of_one = met((0..ALL).map(|n| page(1, &said(n))));
    assert!(of_one.frame().unwrap().part(&part_of(&page(2, "a lamp"))).is_none(), "so is another page");
    let from = |n: usize| format!("{RULES}From: a{n}@example.com\n{}", said(n));
    let mail = met((0..ALL).map(from));
    assert_eq!(mail.frame().unwrap().part(&part_of(&from(3))).unwrap().text(), from(3)[RULES.len() + 6..]);
    // Beside a date, and in its own word.
    let json = |tier: usize, day: usize, text: &str| {
        format!("{RULES}{{\"made\":\"2024-06-{day:02}/2025-06-{day:02}\",\"tier\":{tier}}}\n{text}")
    };
    let framing = met((0..ALL).map(|n| json(1, n % 28 + 1, &said(n))));
    let inside = |tier| framing.frame().unwrap().part(&part_of(&json(tier, 30, "a lamp")));
    assert_eq!(inside(1).unwrap().text(), "time: 2024-06-30\ntime: 2025-06-30\na lamp");
    assert!(inside(2).is_none());
    // A rule's number and a name with one are no stand-ins.
    let rule = |most: usize, segment: usize, text: &str| {
        format!("{RULES}Segment: customer-segment-{segment}, over {most} a person.\n{text}")
    };
    let framing = met((0..ALL).map(|n| rule(100_000, 2, &said(n))));
    let inside = |most, segment| framing.frame().unwrap().part(&part_of(&rule(most, segment, "a lamp")));
    assert!(inside(100_000, 2).is_some() && inside(500_000, 2).is_none() && inside(100_000, 3).is_none());
    let form = |age: usize, text: &str| format!("{RULES}\nAge: {age}\nNote: {text}");
    let framing = met((0..ALL).map(|n| form(20 + n, &said(n))));
    let part = framing.frame().unwrap().part(&part_of(&form(37, "a lamp"))).unwrap();
    assert_eq!(part.text(), "37\nNote: a lamp");
}

#[test]
fn a_frame_that_few_of_the_latest_calls_are_in_is_none() {
    let mut framing = met((0..ALL).map(|n| format!("{RULES}{}", said(n))));
    let hash = framing.frame().unwrap().hash();
    for n in 0..10 {
        framing.meet(&asked(&said(n)), 0);
    }
    assert!(framing.frame().is_none());
    assert!(framing.of_hash(&hash).is_some() && framing.of_hash("").is_none());
    for n in 0..100 {
        framing.meet(&asked(&format!("{RULES}{}", said(n))), 0);
    }
    assert_eq!(framing.frame().map(Frame::hash), Some(hash));
}

#[test]
fn what_questions_happen_to_begin_with_is_theirs() {
    let framing = met((0..ALL).map(|n| format!("{RULES}I want {}", said(n))));
    let part = framing.frame().unwrap().part(&part_of(&format!("{RULES}I want a lamp"))).unwrap();
    assert_eq!(part.text(), "I want a lamp");
    assert!(met((0..ALL).map(said)).frame().is_none(), "they have nothing in common");
    let numbered = |n: usize| format!("Look up what order {n} of customer {} has come to, please.", n * 7);
    assert!(met((0..ALL).map(numbered)).frame().is_none(), "nothing would be left");
    assert!(
        met((0..ALL).map(|n| format!("Sort this: {}", said(n)))).frame().is_none(),
        "too short to matter"
    );
}

#[test]
fn another_frame_takes_its_place_when_messages_in_a_row_have_it() {
    let mut framing = met((0..ALL).map(|n| format!("{RULES}{}", said(n))));
    let before = framing.frame().unwrap().hash();
    let other = |n: usize| format!("Which of the queues of our help desk is this for, and why?\n{}", said(n));
    for n in 0..ALL - 1 {
        framing.meet(&asked(&other(n)), 0);
    }
    framing.meet(&asked(&format!("{RULES}once more")), 0);
    framing.meet(&asked(&other(ALL)), 0);
    assert!(framing.frame().is_none() && framing.of_hash(&before).is_some(), "both are in use");
    for n in 0..ALL {
        framing.meet(&asked(&other(n)), 0);
    }
    let frame = framing.frame().unwrap();
    assert!(framing.of_hash(&before).is_none());
    assert_eq!(frame.part(&part_of(&other(7))).unwrap().text(), said(7));
}

#[test]
fn it_survives_being_kept_and_what_is_half_found_begins_anew() {
    let framed = |n: usize| format!("{RULES}{}{TAIL}", said(n));
    let kept = |framing: &Framing| -> Framing {
        serde_json::from_str(&serde_json::to_string(framing).unwrap()).unwrap()
    };
    let mut framing = kept(&met((0..ALL - 1).map(framed)));
    assert_eq!(framing, Framing::default());
    for n in 0..ALL {
        framing.meet(&asked(&framed(n)), 0);
    }
    assert_eq!(kept(&framing), framing);
    assert!(framing.frame().is_some());
}

proptest! {
    #[test]
    fn whatever_is_inside_comes_out_as_it_went_in(inside in "\\PC{0,80}", again in "[a-z \\n]{0,40}") {
        let framing = met((0..ALL).map(|n| format!("{RULES}{}{TAIL}", said(n))));
        let inside = format!("{inside}{again}");
        let part = framing.frame().unwrap().part(&part_of(&format!("{RULES}{inside}{TAIL}")));
        prop_assert_eq!(part.unwrap().text(), inside.trim());
    }
}
