//! Which marks of a log's lines may stand in a report. Every scalar beside a call is a mark:
//! some say which calls belong together (`solved`, `tool`), others are content that an
//! application logs once more (a prompt, an address), and no report holds content.

use std::collections::{BTreeMap, BTreeSet};

use understudy_rehearsal::logs::Log;

/// The longest value that names a group: above it stands a text.
const LONGEST: usize = 64;

/// So many values may differ among calls of which some share one.
const FEW: usize = 8;

/// So many values may differ where no two calls share one: a yes and a no.
const PAIR: usize = 2;

/// Leaves each call those of its marks that group calls: the ones `named` by whoever chose
/// calls by them, and of the others all whose values are short and are shared by calls.
pub(in crate::rehearse) fn keep_groups<'a>(
    held: &mut Log,
    named: impl Iterator<Item = &'a (String, String)>,
) {
    let named: BTreeSet<&str> = named.map(|(key, _)| key.as_str()).collect();
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in held.calls.iter().flat_map(|call| &call.marks) {
        values.entry(key).or_default().push(value);
    }
    let content: BTreeSet<String> = values
        .into_iter()
        .filter(|(key, values)| !named.contains(key) && !are_groups(values))
        .map(|(key, _)| key.to_owned())
        .collect();
    if content.is_empty() {
        return;
    }
    tracing::info!(marks = ?content, "these marks of the log may be content and are not in the report");
    for call in &mut held.calls {
        call.marks.retain(|key, _| !content.contains(key));
    }
}

/// Whether a mark's values, one for each call that has it, are names of groups.
fn are_groups(values: &[&str]) -> bool {
    let different = values.iter().collect::<BTreeSet<_>>().len();
    let is_short = |value: &&str| value.chars().take(LONGEST + 1).count() <= LONGEST;
    let few = different <= FEW && (different < values.len() || different <= PAIR);
    values.iter().all(is_short) && (few || different * 2 <= values.len())
}

#[cfg(test)]
mod tests {
    use understudy_call::{Reply, Request, StandIns};
    use understudy_rehearsal::logs::LoggedCall;

    use super::*;

    /// So many calls with the marks that their numbers make.
    fn log(calls: usize, marks: impl Fn(usize) -> Vec<(&'static str, String)>) -> Log {
        let call = |n| LoggedCall {
            request: Request::default(),
            reply: Reply::default(),
            at_ms: None,
            took: None,
            conversation: Some(format!("c{n}")),
            status: 200,
            id: None,
            stand_ins: StandIns::None,
            marks: marks(n).into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        };
        Log { calls: (0..calls).map(call).collect(), ..Log::default() }
    }

    fn kept(mut log: Log, named: &[(String, String)]) -> BTreeSet<String> {
        keep_groups(&mut log, named.iter());
        assert!(log.calls.iter().all(|c| c.conversation.is_some()));
        log.calls.into_iter().flat_map(|c| c.marks.into_keys()).collect()
    }

    #[test]
    fn content_beside_a_call_is_left_out_and_groups_stay() {
        let marks = |n: usize| {
            vec![
                ("solved", n.is_multiple_of(2).to_string()),
                ("split", "test".to_owned()),
                ("tool", format!("tool {}", n % 14)),
                ("task_id", (n / 3).to_string()),
                ("prompt", if n == 7 { "long ".repeat(20) } else { "Hi".to_owned() }),
                ("user_email", format!("user{n}@example.com")),
            ]
        };
        let groups = BTreeSet::from(["solved", "split", "task_id", "tool"].map(str::to_owned));
        assert_eq!(kept(log(60, marks), &[]), groups);
        let named = [("user_email".to_owned(), "user3@example.com".to_owned())];
        assert!(kept(log(60, marks), &named).contains("user_email"));
    }

    #[test]
    fn a_mark_of_few_calls_is_judged_by_their_number_and_not_by_the_logs() {
        // Rare, and of all who have it each is another's.
        let rare = |n: usize| if n < 9 { vec![("who", n.to_string())] } else { Vec::new() };
        assert!(kept(log(900, rare), &[]).is_empty());
        let emails = |n: usize| vec![("email", format!("user{n}@example.com"))];
        assert!(kept(log(5, emails), &[]).is_empty());
        // Two differ by chance.
        let novel = |n: usize| vec![("novel", (n == 0).to_string())];
        assert_eq!(kept(log(2, novel), &[]), BTreeSet::from(["novel".to_owned()]));
    }
}
