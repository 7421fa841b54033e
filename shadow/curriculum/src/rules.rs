use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use understudy_call::ExchangeId;

/// What may enter a training set, and where the limits lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// The providers whose replies may be trained on, by configured name. No
    /// other provider's enter.
    pub permitted: BTreeMap<String, Permission>,
    /// Exchanges that a person marked as wrong.
    pub flagged: BTreeSet<ExchangeId>,
    /// Characters of a row, part and reply together; a longer one would not fit
    /// the model's context (2,048 tokens at some four characters).
    pub longest: usize,
    /// A training row whose logarithm of length lies more than so many standard
    /// deviations (estimated by the median absolute deviation) over the median
    /// is left out; `None` leaves all in.
    pub length_outlier: Option<f64>,
    /// A training row with a smaller share of letters in the task's main script
    /// is left out, 0 to 1; `None` leaves all in.
    pub script_share: Option<f64>,
    /// Whether a training row that is without doubt in another language than the
    /// task's others is left out.
    pub one_language: bool,
    /// Jaccard similarity of word 3-grams from which two parts with one label
    /// are near duplicates, 0 to 1.
    pub near: f64,
    /// Of one question's replies, the share that the most frequent needs to win.
    pub majority_share: f64,
    /// And its least number.
    pub majority_votes: u64,
    /// A class keeps at most so many times the median class's training rows;
    /// `None` (the default) keeps all, for the task's own frequencies are what
    /// the understudy will meet.
    pub class_cap: Option<f64>,
    /// No class is cut under this many rows.
    pub class_floor: usize,
    /// Share of conversations for stopping and for the bar, 0 to 1.
    pub development: f64,
    /// Share of conversations that nothing looks at before the report, 0 to 1.
    pub held: f64,
    /// Training rows under which a training run makes no sense.
    pub least_rows: usize,
    /// Bytes of text held while curating; beyond them the oldest are let go.
    pub memory: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            permitted: BTreeMap::new(),
            flagged: BTreeSet::new(),
            longest: 8_000,
            length_outlier: Some(6.0),
            script_share: Some(0.5),
            one_language: true,
            near: 0.9,
            majority_share: 2.0 / 3.0,
            majority_votes: 3,
            class_cap: None,
            class_floor: 50,
            development: 0.10,
            held: 0.05,
            least_rows: 50,
            memory: 256 << 20,
        }
    }
}

/// Who permitted training on a provider's replies, when, and under which terms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// A person, or the key and file in which it is written.
    pub by: String,
    /// When, in words or as a date; passed in, for nothing here has a clock.
    pub at: String,
    /// Which terms of the provider's it rests on.
    pub terms: String,
}
