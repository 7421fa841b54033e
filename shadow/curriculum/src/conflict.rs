//! Label conflicts: one question, several replies.

use std::collections::HashMap;

use crate::Rules;
use crate::question::Key;

/// A reply to a question, with its votes.
pub(crate) struct Vote {
    pub(crate) question: Key,
    pub(crate) label: Key,
    pub(crate) count: u64,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All replies say the same.
    Agreed,
    /// This label won.
    Won(Key),
    /// None did.
    Undecided,
}

/// The verdict on every question.
pub(crate) fn verdicts(votes: impl IntoIterator<Item = Vote>, rules: &Rules) -> HashMap<Key, Verdict> {
    let mut counts: HashMap<Key, HashMap<Key, u64>> = HashMap::new();
    for vote in votes {
        *counts.entry(vote.question).or_default().entry(vote.label).or_default() += vote.count;
    }
    counts.into_iter().map(|(question, labels)| (question, verdict(&labels, rules))).collect()
}

fn verdict(labels: &HashMap<Key, u64>, rules: &Rules) -> Verdict {
    if labels.len() < 2 {
        return Verdict::Agreed;
    }
    let all: u64 = labels.values().sum();
    match labels.iter().max_by_key(|(label, count)| (**count, **label)) {
        Some((label, count))
            if *count >= rules.majority_votes && *count as f64 >= rules.majority_share * all as f64 =>
        {
            Verdict::Won(*label)
        }
        _ => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(counts: &[u64]) -> Verdict {
        let votes = counts.iter().enumerate().map(|(i, count)| Vote {
            question: [0; 16],
            label: [u8::try_from(i).unwrap_or(0); 16],
            count: *count,
        });
        verdicts(votes, &Rules::default()).remove(&[0; 16]).unwrap_or(Verdict::Agreed)
    }

    #[test]
    fn a_clear_majority_wins_and_nothing_less() {
        assert_eq!(with(&[4]), Verdict::Agreed);
        assert_eq!(with(&[1, 4]), Verdict::Won([1; 16]));
        assert_eq!(with(&[4, 2]), Verdict::Won([0; 16]));
        assert_eq!(with(&[3, 2]), Verdict::Undecided, "three of five are no two thirds");
        assert_eq!(with(&[2, 1]), Verdict::Undecided, "two votes are too few");
        assert_eq!(with(&[1, 1]), Verdict::Undecided);
        assert_eq!(with(&[5, 2, 1]), Verdict::Undecided);
    }
}
