//! What a head would have said of its own examples: each is judged by a fit
//! that has seen neither it, nor its conversation, nor the same text.
//!
//! A head of many replies needs some twenty judged calls of each, and a bar
//! some hundreds of calls. Waiting for them after each fit would take as long
//! as the next doubling; the examples are there already. What comes out chooses
//! the bar and says which replies are rare. It is development, never evidence:
//! that begins with the next call.

use std::collections::BTreeSet;

use understudy_call::ConversationKey;

use super::HeadSnapshot;
use super::fit::{HeadRules, NotFitted, fit};
use crate::example::Example;

/// Parts that the examples are cut into: each is judged by a head fitted on the others.
pub(crate) const FOLDS: u64 = 5;

/// One example, judged by a head that did not know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// Its conversation.
    pub conversation: ConversationKey,
    /// How sure the head was; `None` where it had nothing to say.
    pub confidence: Option<f64>,
    /// Whether it said what the provider had said.
    pub agrees: bool,
    /// The stratum of what it said.
    pub stratum: String,
}

/// Judges the examples that a head was fitted on, by folds. A text that comes
/// again counts once.
///
/// # Errors
/// Where a fold has too few replies for a head of its own.
pub fn rehearse(
    whole: &HeadSnapshot,
    examples: &[Example],
    rules: &HeadRules,
) -> Result<Vec<Rehearsed>, NotFitted> {
    let mut judged = Vec::with_capacity(examples.len());
    let mut seen = BTreeSet::new();
    for fold in 0..FOLDS {
        let (held, others): (Vec<&Example>, Vec<&Example>) =
            examples.iter().partition(|e| of(e.errand()) == fold);
        let texts: BTreeSet<&str> = held.iter().map(|e| e.part_text.as_str()).collect();
        let others: Vec<&Example> =
            others.into_iter().filter(|e| !texts.contains(e.part_text.as_str())).collect();
        let head = fit(whole.task, whole.credential, &whole.embedder, &others, whole.born_seq, rules)?;
        for example in held {
            if !seen.insert(example.part_text.as_str()) {
                continue;
            }
            let Some(embedding) = &example.embedding else { continue };
            let guess = head.guess(embedding, None);
            let label = guess.and_then(|g| head.labels.get(g.label));
            judged.push((
                example.seq,
                Rehearsed {
                    conversation: example.errand(),
                    confidence: guess.map(|g| g.confidence()),
                    agrees: label.is_some_and(|l| crate::example::label(&l.reply) == example.label),
                    stratum: label.map(|l| l.stratum.clone()).unwrap_or_default(),
                },
            ));
        }
    }
    judged.sort_by_key(|(seq, _)| *seq);
    Ok(judged.into_iter().map(|(_, one)| one).collect())
}

/// The fold of a whole conversation, by its hash.
pub(crate) fn of(conversation: ConversationKey) -> u64 {
    u64::from(blake3::hash(&conversation.0).as_bytes()[0]) % FOLDS
}
