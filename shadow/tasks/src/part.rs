//! What varies from call to call.

use serde::{Deserialize, Serialize};
use understudy_call::{Message, Part as ContentPart, Request, Role};

use crate::mask::{Masked, mask};

/// What varies: the turns after the form's opening, and the values masked out of the form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Values masked out of the system text, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<Masked>,
    /// The turns, system text and the form's opening aside.
    pub turns: Vec<Message>,
}

/// The part of a call whose first `opening` messages all calls of its form begin with
/// ([`understudy_call::Metadata::opening`]).
#[must_use]
pub fn part(request: &Request, opening: u16) -> Part {
    let masked =
        request.messages.iter().filter(|m| m.role == Role::System).flat_map(|m| mask(&m.text()).1).collect();
    Part { masked, turns: request.turns_after(opening).cloned().collect() }
}

/// What of the system text says which call it is, beside the turns: addresses and ids, and
/// the time only where there is no turn at all, for a clock goes on from call to call.
#[must_use]
pub fn told_apart_by(messages: &[Message]) -> String {
    let has_turns = messages.iter().any(|m| m.role != Role::System);
    let system = messages.iter().filter(|m| m.role == Role::System);
    let values = system.flat_map(|m| mask(&m.text()).1).filter(|v| !has_turns || v.kind != "time");
    values.map(|v| v.value).collect::<Vec<_>>().join("\n")
}

impl Part {
    /// The text that varies, for a model and for finding neighbours. A lone
    /// user message is its bare text; otherwise each turn is a line that says
    /// who speaks.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for m in &self.masked {
            out.push_str(&m.kind);
            out.push_str(": ");
            out.push_str(&m.value);
            out.push('\n');
        }
        if let [only] = self.turns.as_slice()
            && only.role == Role::User
        {
            out.push_str(&only.text());
            return out;
        }
        for turn in &self.turns {
            turn_line(&mut out, turn);
        }
        out.truncate(out.trim_end().len());
        out
    }

    /// Where in [`Self::text`] the turns begin: masked values stand before them.
    #[must_use]
    pub fn turns_at(&self) -> usize {
        // A kind, a colon, a space, the value, the end of the line.
        self.masked.iter().map(|m| m.kind.len() + m.value.len() + 3).sum()
    }

    /// Whether the conversation had a turn of the model before this call.
    #[must_use]
    pub fn is_multi_turn(&self) -> bool {
        self.turns.iter().any(|m| m.role == Role::Assistant)
    }
}

fn turn_line(out: &mut String, turn: &Message) {
    out.push_str(match turn.role {
        Role::System => "system: ",
        Role::User => "user: ",
        Role::Assistant => "assistant: ",
        Role::Tool => "tool: ",
    });
    for piece in &turn.content {
        match piece {
            ContentPart::Text(t) | ContentPart::Refusal(t) => out.push_str(t),
            _ => out.push_str("⟨media⟩"),
        }
    }
    for call in &turn.tool_calls {
        out.push_str(&call.name);
        out.push(' ');
        out.push_str(&call.arguments);
    }
    out.push('\n');
}
