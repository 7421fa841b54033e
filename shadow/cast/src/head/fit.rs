//! Makes a head out of a task's exchanges.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use understudy_call::Credential;
use understudy_policy::TaskId;

use super::regression::Regression;
use super::{HeadSnapshot, Label, NEAREST, Nearest, mark};
use crate::example::{Example, stratum};
use crate::packed::{Floats, Rows};
use crate::window::Sight;

/// When a head is made, and of what.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadRules {
    /// Most distinct replies. Beyond it the task is not a choice among few.
    pub most_labels: usize,
    /// Exchanges that a reply needs to be a label.
    pub least_per_label: usize,
    /// Share of the exchanges that the labels must cover.
    pub least_cover: f64,
    /// Remembered parts a label.
    pub memory_per_label: usize,
    /// Remembered parts in all: 384 bytes each.
    pub memory: usize,
    /// L2 penalty on the weights of embeddings of unit length, added to the sum
    /// of the log-losses (half of it, times the squares).
    pub penalty: f32,
    /// Most steps of the solver, at a time.
    pub steps: u64,
}

impl Default for HeadRules {
    /// 200 labels of at least 4 exchanges that cover 90 %; the penalty 1/30 was
    /// best of 1/3, 1/30 and 1/150 on held-out train rows (agreement at 80 %
    /// coverage 97.2, 98.0, 98.1 % by the first recipe, and fewest novel calls taken at 1/30).
    fn default() -> Self {
        Self {
            most_labels: 200,
            least_per_label: 4,
            least_cover: 0.9,
            memory_per_label: 256,
            memory: 8_192,
            penalty: 1.0 / 30.0,
            steps: 60,
        }
    }
}

/// Why there is no head.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFitted {
    /// Replies that come often enough do not cover the task.
    #[error("replies are not few: {labels} frequent ones cover {} % of {examples} exchanges", (covered * 100.0).round())]
    NotFew {
        /// Replies with enough exchanges.
        labels: usize,
        /// Share that they cover.
        covered: f64,
        /// Exchanges looked at.
        examples: usize,
    },
    /// No usable embeddings.
    #[error("no embeddings of one dimension for the task's {examples} exchanges")]
    NoEmbeddings {
        /// Exchanges looked at.
        examples: usize,
    },
    /// The solver gave up.
    #[error("the solver found no weights")]
    Solver,
}

impl NotFitted {
    /// The name used in counters.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotFew { .. } => "not_few",
            Self::NoEmbeddings { .. } => "no_embeddings",
            Self::Solver => "solver",
        }
    }
}

/// Fits a head on `examples` (of one task, one credential unless shared, none
/// after `born_seq`, each with its embedding). The order of the examples does
/// not matter; the same examples give the same version on the same machine.
///
/// # Errors
/// Why there is none: for most tasks because the replies are not few.
pub fn fit<E: Borrow<Example>>(
    task: TaskId,
    credential: Option<Credential>,
    embedder: &str,
    examples: &[E],
    born_seq: u64,
    rules: &HeadRules,
) -> Result<HeadSnapshot, NotFitted> {
    let (usable, dim) = usable(credential, examples, born_seq)?;
    let names = frequent(&usable, rules)?;
    let index: BTreeMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let of = |e: &Example| index.get(e.label.as_str()).copied();
    let labels: Vec<Label> = names.iter().map(|n| label_of(n, &usable)).collect();

    let weights = weights(&usable, &of, dim, names.len(), rules)?;
    let (memory, memory_labels) = remember(&usable, &of, dim, names.len(), rules);
    let usual = usual(&memory, &memory_labels, names.len());
    let mut learnt: Vec<u64> = usable.iter().map(|(e, _)| mark(e.exchange)).collect();
    learnt.sort_unstable();
    Ok(HeadSnapshot {
        task,
        credential,
        embedder: embedder.to_owned(),
        born_seq,
        labels,
        weights,
        memory,
        memory_labels,
        learnt,
        usual,
        sight: Sight::Turns,
        frame: None,
    })
}

/// An example with its embedding.
type Embedded<'e> = (&'e Example, &'e [f32]);

/// The examples that count, in the journal's order, and the embeddings' dimension.
fn usable<E: Borrow<Example>>(
    credential: Option<Credential>,
    examples: &[E],
    born_seq: u64,
) -> Result<(Vec<Embedded<'_>>, usize), NotFitted> {
    let all = || examples.iter().map(Borrow::borrow);
    let dim = all().find_map(|e: &Example| e.embedding.as_ref()).map_or(0, Vec::len);
    let mut usable: Vec<Embedded<'_>> = all()
        .filter(|e| e.seq <= born_seq && credential.is_none_or(|c| c == e.credential))
        .filter_map(|e| Some((e, e.embedding.as_deref()?)))
        .filter(|(_, v)| v.len() == dim && v.iter().all(|x| x.is_finite()))
        .collect();
    if usable.is_empty() || dim == 0 {
        return Err(NotFitted::NoEmbeddings { examples: examples.len() });
    }
    usable.sort_by_key(|(e, _)| (e.seq, e.exchange));
    usable.dedup_by_key(|(e, _)| e.exchange);
    Ok((usable, dim))
}

/// The replies with enough exchanges, in the order of their text.
fn frequent<'a>(usable: &[(&'a Example, &[f32])], rules: &HeadRules) -> Result<Vec<&'a str>, NotFitted> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (e, _) in usable {
        *seen.entry(e.label.as_str()).or_default() += 1;
    }
    // A head says a reply as it was recorded, and here that is with a stand-in. What is said
    // beside calls is not in their label, so there it may be that: where the same calls came
    // later with nothing redacted. Earlier ones may be of before records said so.
    let mut echoing: BTreeSet<&str> = BTreeSet::new();
    for (e, _) in usable {
        if e.echoes {
            echoing.insert(e.label.as_str());
        } else if !e.reply.tool_calls.is_empty() {
            echoing.remove(e.label.as_str());
        }
    }
    seen.retain(|label, _| !echoing.contains(label));
    let often: Vec<(&str, usize)> = seen.into_iter().filter(|(_, n)| *n >= rules.least_per_label).collect();
    let covered = often.iter().map(|(_, n)| n).sum::<usize>() as f64 / usable.len() as f64;
    if often.is_empty() || often.len() > rules.most_labels || covered < rules.least_cover {
        return Err(NotFitted::NotFew { labels: often.len(), covered, examples: usable.len() });
    }
    Ok(often.into_iter().map(|(n, _)| n).collect())
}

/// A label with the reply that was written most often for it, the first of equals. What
/// was said beside its calls in different words is one call's own: the reply is without.
fn label_of(name: &str, usable: &[Embedded<'_>]) -> Label {
    let mut ways: Vec<(&Example, u32)> = Vec::new();
    let mut seen = 0;
    for (e, _) in usable.iter().filter(|(e, _)| e.label == name) {
        seen += 1;
        if e.echoes {
            continue;
        }
        match ways.iter_mut().find(|(w, _)| w.reply == e.reply) {
            Some((_, n)) => *n += 1,
            None => ways.push((e, 1)),
        }
    }
    // `max_by_key` takes the last of equals, so look from the end.
    let mut reply =
        ways.iter().rev().max_by_key(|(_, n)| *n).map(|(e, _)| e.reply.clone()).unwrap_or_default();
    let same = usable.iter().filter(|(e, _)| e.label == name && e.reply == reply);
    let tokens = same.filter_map(|(e, _)| e.tokens).max();
    let alike = usable.iter().filter(|(e, _)| e.label == name).all(|(e, _)| e.reply.content == reply.content);
    if !reply.tool_calls.is_empty() && !alike {
        reply.content = Vec::new();
    }
    Label { stratum: stratum(&reply, name), reply, seen, tokens }
}

/// The regression's weights, label by label, intercept last, for embeddings of
/// unit length.
fn weights(
    usable: &[Embedded<'_>],
    of: &dyn Fn(&Example) -> Option<usize>,
    dim: usize,
    labels: usize,
    rules: &HeadRules,
) -> Result<Floats, NotFitted> {
    if labels == 1 {
        // One reply: nothing to choose, distance alone decides.
        return Ok(Floats(vec![0.0; dim + 1]));
    }
    let rows: Vec<(usize, &[f32])> = usable.iter().filter_map(|(e, v)| Some((of(e)?, *v))).collect();
    let regression = Regression::new(&rows, dim, labels);
    regression.and_then(|r| r.weights(rules.penalty, rules.steps)).map(Floats).ok_or(NotFitted::Solver)
}

/// Remembered parts: all of them while they fit, else an even choice along
/// the journal within each label, so that neither the old nor the new is lost.
fn remember(
    usable: &[Embedded<'_>],
    of: &dyn Fn(&Example) -> Option<usize>,
    dim: usize,
    labels: usize,
    rules: &HeadRules,
) -> (Rows, Vec<u16>) {
    let mut by_label: Vec<Vec<&[f32]>> = vec![Vec::new(); labels + 1];
    for (e, v) in usable {
        if let Some(list) = by_label.get_mut(of(e).unwrap_or(labels)) {
            list.push(v);
        }
    }
    let each = rules.memory_per_label.min((rules.memory / (labels + 1)).max(2 * NEAREST));
    // What the small labels leave of the whole goes to the large ones.
    let spare: usize = by_label.iter().map(|l| each.saturating_sub(l.len())).sum();
    let large = by_label.iter().filter(|l| l.len() > each).count().max(1);
    let most = rules.memory_per_label.min(each + spare / large);
    let (mut rows, mut marks) = (Rows::new(dim), Vec::new());
    for (label, list) in by_label.iter().enumerate() {
        let take = list.len().min(most);
        for i in 0..take {
            if let Some(v) = list.get(i * list.len() / take)
                && rows.push(v)
            {
                marks.push(u16::try_from(label).unwrap_or(u16::MAX));
            }
        }
    }
    (rows, marks)
}

/// The similarity to the own label, without itself, that one remembered part in
/// twenty stays under; over at most some five hundred of them.
fn usual(memory: &Rows, marks: &[u16], labels: usize) -> f32 {
    let step = (marks.len() / 512).max(1);
    let mut owns: Vec<f32> = Vec::new();
    for (i, own) in marks.iter().enumerate().step_by(step).filter(|(_, l)| usize::from(**l) < labels) {
        let Some(v) = memory.row(i) else { continue };
        let mut nearest = Nearest::default();
        for (j, (cosine, l)) in memory.dots(&v).zip(marks).enumerate() {
            if j != i && l == own {
                nearest.see(cosine);
            }
        }
        owns.push(nearest.mean() as f32);
    }
    owns.sort_unstable_by(f32::total_cmp);
    owns.get(owns.len() / 20).copied().unwrap_or(0.0)
}
