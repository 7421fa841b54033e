//! The part alone, as a specialised understudy is given it in training and in
//! serving alike: no system text, no tools, only what varies.

use understudy_call::{CallText, Message, Part as Piece, Role};
use understudy_tasks::Part;

use crate::{example, window};

/// Characters of one turn of several; a longer one is cut in its middle.
const TURN_CHARS: usize = 2_000;

/// Bytes of all turns. A lone turn, such as a document out of which something is to be
/// taken, may have them all: what is not shown cannot be found. Of a longer conversation the first turn stays, which
/// says what it is about, and the latest that fit.
const PART_CHARS: usize = 6_000;

/// By so many characters at once earlier turns fall away, not one by one: the
/// calls of some turns then begin alike, which training and the engine's cache
/// both read once.
const STEP_CHARS: usize = 2_500;

/// The turns of a part, in text: masked values first, a tool call as the
/// understudy itself writes one. Training rows and live calls both come from here, so that what
/// was learnt is what is asked; an adapter from before `long_turns` is shown less of a
/// lone turn.
#[must_use]
pub fn messages(part: &Part, calls: CallText, long_turns: bool) -> Vec<Message> {
    let masked: String = part.masked.iter().map(|m| format!("{}: {}\n", m.kind, m.value)).collect();
    let lone = long_turns && part.turns.len() == 1;
    let mut turns: Vec<Message> = part.turns.iter().map(|m| turn(m, calls, lone)).collect();
    match turns.first_mut() {
        Some(first) if !masked.is_empty() => {
            *first = Message::text_of(first.role, format!("{masked}{}", first.text()));
        }
        None if !masked.is_empty() => turns.push(Message::text_of(Role::User, masked.trim_end())),
        _ => {}
    }
    latest(turns)
}

fn turn(message: &Message, calls: CallText, lone: bool) -> Message {
    let said: String = message
        .content
        .iter()
        .map(|piece| match piece {
            Piece::Text(t) | Piece::Refusal(t) => t.as_str(),
            _ => "⟨media⟩",
        })
        .collect();
    let called =
        if message.tool_calls.is_empty() { None } else { example::calls_text(&message.tool_calls, calls) };
    let text = match called {
        Some(calls) if said.is_empty() => calls,
        Some(calls) => format!("{said}\n{calls}"),
        None => said,
    };
    // By bytes, which are nearer to a model's tokens in other scripts than Latin.
    let fits = if lone { text.chars().count() * PART_CHARS / text.len().max(1) } else { 0 };
    Message::text_of(message.role, window::cut(&text, fits.max(TURN_CHARS)))
}

fn latest(turns: Vec<Message>) -> Vec<Message> {
    let sizes: Vec<usize> = turns.iter().map(|m| m.text().len()).collect();
    let (first, rest) = sizes.split_first().map_or((0, &[][..]), |(first, rest)| (*first, rest));
    let over = (first + rest.iter().sum::<usize>()).saturating_sub(PART_CHARS);
    let away = over.div_ceil(STEP_CHARS) * STEP_CHARS;
    let mut gone = 0;
    let falls = |size: &&usize| {
        let falls = gone < away;
        gone += **size;
        falls
    };
    let fall = rest.iter().take_while(falls).count();
    // The last turn is what is asked.
    let from = 1 + fall.min(rest.len().saturating_sub(1));
    turns.into_iter().enumerate().filter(|(i, _)| *i == 0 || *i >= from).map(|(_, m)| m).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_call::ToolCall;

    fn said(role: Role, text: &str) -> Message {
        Message::text_of(role, text)
    }

    #[test]
    fn a_lone_question_is_its_words() {
        let part = Part { masked: Vec::new(), turns: vec![said(Role::User, "play jazz")] };
        let turns = messages(&part, CallText::Line, true);
        assert_eq!((turns.len(), turns[0].text().as_str()), (1, "play jazz"));
    }

    #[test]
    fn a_lone_document_is_shown_three_times_as_far_as_one_turn_of_many() {
        let shown = |turns: &[String]| -> Vec<usize> {
            let turns = turns.iter().map(|text| said(Role::User, text)).collect();
            let messages = messages(&Part { masked: Vec::new(), turns }, CallText::Line, true);
            messages.iter().map(|m| m.text().chars().count()).collect()
        };
        let gap = " […] ".chars().count();
        assert_eq!(shown(&["x".repeat(PART_CHARS)]), [PART_CHARS]);
        assert_eq!(shown(&["x".repeat(PART_CHARS + 1)]), [PART_CHARS + gap]);
        assert_eq!(shown(&["я".repeat(PART_CHARS)]), [PART_CHARS / 2 + gap]);
        assert_eq!(shown(&["我".repeat(PART_CHARS)]), [TURN_CHARS + gap]);
        assert_eq!(shown(&["x".repeat(PART_CHARS), "y".to_owned()]), [TURN_CHARS + gap, 1]);
        let lone = Part { masked: Vec::new(), turns: vec![said(Role::User, &"x".repeat(PART_CHARS))] };
        let before = messages(&lone, CallText::Line, false);
        assert_eq!(before[0].text().chars().count(), TURN_CHARS + gap, "as it learnt");
    }

    #[test]
    fn calls_and_results_of_a_conversation_are_text() {
        let mut called = said(Role::Assistant, "");
        called.tool_calls =
            vec![ToolCall { id: "1".into(), name: "find".into(), arguments: r#"{"a":1}"#.into() }];
        let part =
            Part { masked: Vec::new(), turns: vec![said(Role::User, "q"), called, said(Role::Tool, "ok")] };
        assert_eq!(
            messages(&part, CallText::Json, true)[1].text(),
            r#"{"name": "find", "arguments": {"a": 1}}"#
        );
        let turns = messages(&part, CallText::Line, true);
        assert_eq!(turns[1].text(), r#">find {"a": 1}"#);
        assert_eq!(turns[2].role, Role::Tool);
    }

    #[test]
    fn of_a_long_conversation_the_first_turn_and_the_latest_stay() {
        let mut turns = vec![said(Role::User, "what it is about")];
        turns.extend((0..20).map(|i| said(Role::Assistant, &format!("{i} {}", "x".repeat(1_000)))));
        let kept = messages(&Part { masked: Vec::new(), turns }, CallText::Line, true);
        assert_eq!(kept[0].text(), "what it is about");
        assert!(kept.last().unwrap().text().starts_with("19 "));
        assert!(kept.len() < 8 && kept.len() > 4, "{}", kept.len());
    }

    #[test]
    fn a_long_conversation_that_goes_on_begins_alike_for_some_turns() {
        let turns = |n: usize| -> Vec<Message> {
            (0..n).map(|i| said(Role::User, &format!("{i} {}", "x".repeat(400)))).collect()
        };
        let kept = |n: usize| messages(&Part { masked: Vec::new(), turns: turns(n) }, CallText::Line, true);
        let second: Vec<String> = (10..40).map(|n| kept(n)[1].text()).collect();
        let starts: std::collections::BTreeSet<&String> = second.iter().collect();
        assert!(starts.len() <= 9, "{} of {}", starts.len(), second.len());
        for n in 10..40 {
            let kept = kept(n);
            let size: usize = kept.iter().map(|m| m.text().len()).sum();
            assert!(size <= PART_CHARS && (n < 15 || size > PART_CHARS - STEP_CHARS - 410), "{n}: {size}");
            assert!(kept.last().unwrap().text().starts_with(&format!("{} ", n - 1)));
        }
    }
}
