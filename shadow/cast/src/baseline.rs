//! The two baselines that stand beside every report and are never served:
//! exact repeat, and the nearest neighbour's reply. What an understudy does not
//! do better than these it has not learnt.

use std::collections::HashMap;

use understudy_call::Choice;

use serde::{Deserialize, Serialize};

use crate::example::{Example, label};
use crate::packed::Rows;

/// Latest exchanges on which both are measured at a fit.
const MEASURED: usize = 500;

/// How a baseline did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Exchanges it was asked.
    pub of: u64,
    /// Those it had a reply for.
    pub answered: u64,
    /// Replies that the provider gave too.
    pub agreed: u64,
}

impl Measured {
    fn count(&mut self, said: Option<&Choice>, wanted: &str) {
        self.of += 1;
        if let Some(choice) = said {
            self.answered += 1;
            self.agreed += u64::from(label(choice) == wanted);
        }
    }
}

/// Both baselines on the latest of `examples`, each asked what came before it.
#[must_use]
pub fn measure(examples: &[Example]) -> [Measured; 2] {
    let (mut baselines, mut measured) = (Baselines::default(), [Measured::default(); 2]);
    let from = examples.len().saturating_sub(MEASURED);
    for (i, example) in examples.iter().enumerate() {
        if i >= from && i > 0 {
            let [exact, nearest] = &mut measured;
            exact.count(baselines.exact_repeat(&example.part_text), &example.label);
            let near =
                example.embedding.as_deref().and_then(|v| baselines.nearest(v)).map(|(reply, _)| reply);
            nearest.count(near, &example.label);
        }
        baselines.learn(example);
    }
    measured
}

/// Both baselines over what they were given so far: give an example only after
/// they were asked about it.
#[derive(Debug, Default)]
pub struct Baselines {
    by_text: HashMap<[u8; 32], usize>,
    replies: Vec<Choice>,
    rows: Option<Rows>,
    of_row: Vec<usize>,
}

impl Baselines {
    /// Learns an exchange.
    pub fn learn(&mut self, example: &Example) {
        let at = self.replies.len();
        self.replies.push(example.reply.clone());
        self.by_text.insert(*blake3::hash(example.part_text.as_bytes()).as_bytes(), at);
        if let Some(v) = &example.embedding
            && self.rows.get_or_insert_with(|| Rows::new(v.len())).push(v)
        {
            self.of_row.push(at);
        }
    }

    /// The latest reply to the very same part.
    #[must_use]
    pub fn exact_repeat(&self, part_text: &str) -> Option<&Choice> {
        self.replies.get(*self.by_text.get(blake3::hash(part_text.as_bytes()).as_bytes())?)
    }

    /// The reply to the nearest part, and its cosine.
    #[must_use]
    pub fn nearest(&self, embedding: &[f32]) -> Option<(&Choice, f32)> {
        let rows = self.rows.as_ref().filter(|r| r.dim() == embedding.len())?;
        let (row, cosine) = rows.dots(embedding).enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some((self.replies.get(*self.of_row.get(row)?)?, cosine))
    }
}
