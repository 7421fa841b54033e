//! The part alone, in text: no system text, no tools, masked values first.
//!
//! The understudy that is trained on it is asked with the same, so the limits
//! here are part of what it learns.

use understudy_call::{Part as Piece, Role, ToolCall};
use understudy_tasks::Part;

use crate::written;

/// Characters of one turn; a longer one is cut in its middle.
const TURN_CHARS: usize = 2_000;

/// Characters of all turns: the first, and the latest that fit.
const PART_CHARS: usize = 6_000;

/// Characters left out, in the place where they stood.
const GAP: &str = " […] ";

/// A turn as it is learnt.
pub(crate) type Turn = (Role, String);

/// The turns of a part.
pub(crate) fn turns(part: &Part) -> Vec<Turn> {
    let masked: String = part.masked.iter().map(|m| format!("{}: {}\n", m.kind, m.value)).collect();
    let mut turns: Vec<Turn> = part.turns.iter().map(|m| (m.role, turn(&m.content, &m.tool_calls))).collect();
    match turns.first_mut() {
        Some((_, first)) if !masked.is_empty() => first.insert_str(0, &masked),
        None if !masked.is_empty() => turns.push((Role::User, masked.trim_end().to_owned())),
        _ => {}
    }
    latest(turns)
}

fn turn(content: &[Piece], calls: &[ToolCall]) -> String {
    let said: String = content
        .iter()
        .map(|piece| match piece {
            Piece::Text(t) | Piece::Refusal(t) => t.as_str(),
            _ => "⟨media⟩",
        })
        .collect();
    let called = if calls.is_empty() { None } else { written::calls(calls) };
    let text = match called {
        Some(calls) if said.is_empty() => calls,
        Some(calls) => format!("{said}\n{calls}"),
        None => said,
    };
    cut(text, TURN_CHARS)
}

/// The text, or its first third and last two thirds.
fn cut(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let chars = text.chars().count();
    if chars <= most {
        return text;
    }
    let head = most / 3;
    let mut out: String = text.chars().take(head).collect();
    out.push_str(GAP);
    out.extend(text.chars().skip(chars - (most - head)));
    out
}

fn latest(turns: Vec<Turn>) -> Vec<Turn> {
    let mut left = PART_CHARS.saturating_sub(turns.first().map_or(0, |(_, t)| t.len()));
    let mut from = turns.len();
    for (i, (_, text)) in turns.iter().enumerate().skip(1).rev() {
        if text.len() > left {
            break;
        }
        left -= text.len();
        from = i;
    }
    turns.into_iter().enumerate().filter(|(i, _)| *i == 0 || *i >= from).map(|(_, t)| t).collect()
}
