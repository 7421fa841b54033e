//! What a task waits for, in words.

use understudy_call::UnderstudyId;
use understudy_policy::{EntryView, LedgerView, Stage};
use understudy_rehearsal::TaskReport;

use super::shown_entry;

/// What a task waits for, in words.
pub(super) fn waits_for(report: &TaskReport) -> Option<String> {
    let view = &report.evidence;
    if view.awaiting_approval {
        let why = if view.acting {
            "its replies may call tools that act"
        } else {
            "the policy asks for it, whatever the task's replies do"
        };
        return Some(format!("approval: {why}"));
    }
    if view.cooldown_trials > 0 {
        return Some(format!("{} trials after its demotion", view.cooldown_trials));
    }
    match view.stage {
        Stage::Observing => Some("more calls".to_owned()),
        Stage::Shadowing if report.cast.is_empty() => Some("more calls, then an understudy".to_owned()),
        Stage::Shadowing if report.cast.iter().all(|(id, ..)| is_left_out(id, view)) => {
            Some("an understudy that the policy lets answer".to_owned())
        }
        Stage::Shadowing if is_one_conversation(view) => Some(
            "another conversation: all calls begin with the same words, so they count as one; name each by the header x-understudy-conversation (gateway.conversation_header)"
                .to_owned(),
        ),
        Stage::Shadowing if !view.entries.iter().any(|e| e.closed.is_none()) => {
            let developed = view.development.iter().filter(|(u, ..)| view.permits(u));
            let left = developed.filter(|(u, ..)| !view.given_up.contains(u));
            let nearest = left.map(|(_, done, needed)| (*done, *needed)).max();
            match nearest {
                None if view.given_up.iter().any(|u| view.permits(u)) => {
                    Some("a better version: those so far cannot reach τ, and rest".to_owned())
                }
                Some((done, needed)) if done < needed => {
                    Some(format!("a bar: {done} of {needed} conversations judged"))
                }
                Some(_) => Some("a bar that keeps τ: nobody has one yet".to_owned()),
                None => Some("trials".to_owned()),
            }
        }
        Stage::Shadowing => Some(evidence(shown_entry(report))),
        Stage::Canary { .. } => {
            view.step.map(|(done, needed)| format!("audits: {done} of {needed} conversations"))
        }
        Stage::Live => view.successor.map(|(k, step, done, needed)| {
            format!("entry {k} may succeed (step {}): {done} of {needed} audits", step + 1)
        }),
    }
}

/// Calls after which a task whose calls are all of one conversation is no accident.
const ONE_CONVERSATION: u64 = 200;

/// Whether no conversation of the task ever ends: where the agent names none, calls
/// that begin with the same user message are of one, unless
/// [`understudy_tasks::Conversations`] finds that it belongs to many.
fn is_one_conversation(view: &LedgerView) -> bool {
    view.calls >= ONE_CONVERSATION
        && view.open_conversations == 1
        && view.entries.is_empty()
        && view.development.iter().all(|(_, done, _)| *done == 0)
}

/// Whether the policy does not let an understudy answer.
pub(super) fn is_left_out(id: &str, view: &LedgerView) -> bool {
    !view.permits(&UnderstudyId(id.to_owned()))
}

/// What an open entry's evidence needs.
fn evidence(entry: Option<&EntryView>) -> String {
    match entry {
        Some(e) if e.earned.is_some() => {
            "nothing more: max_stage, min_coverage or a pin keeps it here".to_owned()
        }
        Some(EntryView { calls_needed: Some(n), .. }) => format!("evidence: about {n} more calls"),
        Some(e) if e.agreement.is_some() => "evidence: agreement is not above τ so far".to_owned(),
        _ => "evidence".to_owned(),
    }
}

/// What becomes of a person's word.
pub(super) fn approval(report: &TaskReport) -> &'static str {
    let view = &report.evidence;
    match (view.needs_approval, view.acting, view.approved) {
        (true, true, true) => "acts, approved",
        (true, true, false) => "acts, waits for a person before canary",
        (true, false, true) => "asked for by the policy, approved",
        (true, false, false) => "asked for by the policy, waits for a person before canary",
        (false, true, _) => "not asked for by the policy, though it acts",
        (false, false, _) => "not needed: it only reads or speaks",
    }
}
