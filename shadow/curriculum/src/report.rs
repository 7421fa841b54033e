use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use understudy_call::ExchangeId;

use crate::{Permission, Rules, Split};

/// Samples kept of each reason.
pub(crate) const SAMPLES: usize = 5;

/// Characters of a sample.
const SAMPLE_CHARS: usize = 160;

/// Why an exchange did not become a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The call failed, or nobody answered.
    Failed,
    /// Not all bytes were captured.
    Truncated,
    /// Its dialect is not decoded, or it did not parse.
    Undecoded,
    /// The reply did not end of its own accord.
    Unfinished,
    /// More than one choice, or none.
    ManyChoices,
    /// The reply holds a redacted value that its request does not: only the
    /// stand-in is known.
    StandIn,
    /// An understudy answered.
    Understudy,
    /// A later turn of a conversation in which an understudy answered.
    AfterUnderstudy,
    /// Left by an understudy that serves, in a conversation of the development or
    /// the held part.
    LeftOver,
    /// A person marked it.
    Flagged,
    /// Its provider is not marked `train = true`.
    NotPermitted,
    /// Media in the part, or a reply that is no text.
    NotText,
    /// The engine's grammar could not write the reply.
    OffGrammar,
    /// Nothing varies.
    EmptyPart,
    /// It is not in the frame that the task's messages have.
    OutsideFrame,
    /// Longer than the model's context.
    TooLong,
    /// Older than what fits the memory that curation may take.
    OverMemory,
    /// The same part and the same reply; the latest is kept.
    ExactDuplicate,
    /// Nearly the same part and the same label; the first is kept.
    NearDuplicate,
    /// Its question was asked first by a conversation of another part of the set.
    OtherPart,
    /// Most replies to the question say something else.
    Outvoted,
    /// The replies to the question contradict each other without a clear majority.
    Conflict,
    /// Far longer than the task's rows are.
    LengthOutlier,
    /// Written mostly in another script than the task's rows are.
    ScriptOutlier,
    /// Written in another language than the task's rows are.
    LanguageOutlier,
    /// Over the cap of its class.
    ClassCap,
}

impl Reason {
    /// The name used in counters.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Truncated => "truncated",
            Self::Undecoded => "undecoded",
            Self::Unfinished => "unfinished",
            Self::ManyChoices => "many_choices",
            Self::StandIn => "stand_in",
            Self::Understudy => "understudy",
            Self::AfterUnderstudy => "after_understudy",
            Self::LeftOver => "left_over",
            Self::Flagged => "flagged",
            Self::NotPermitted => "not_permitted",
            Self::NotText => "not_text",
            Self::OffGrammar => "off_grammar",
            Self::EmptyPart => "empty_part",
            Self::OutsideFrame => "outside_frame",
            Self::TooLong => "too_long",
            Self::OverMemory => "over_memory",
            Self::ExactDuplicate => "exact_duplicate",
            Self::NearDuplicate => "near_duplicate",
            Self::OtherPart => "other_part",
            Self::Outvoted => "outvoted",
            Self::Conflict => "conflict",
            Self::LengthOutlier => "length_outlier",
            Self::ScriptOutlier => "script_outlier",
            Self::LanguageOutlier => "language_outlier",
            Self::ClassCap => "class_cap",
        }
    }

    /// In words, for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Failed => "the call failed, or nobody answered",
            Self::Truncated => "not all bytes were captured",
            Self::Undecoded => "not decoded",
            Self::Unfinished => "the reply did not end of its own accord",
            Self::ManyChoices => "more than one choice, or none",
            Self::StandIn => "a redacted value in the reply that the request does not hold",
            Self::Understudy => "an understudy answered",
            Self::AfterUnderstudy => "a later turn after an understudy's answer",
            Self::LeftOver => "declined by an understudy that serves: hard calls judge nobody",
            Self::Flagged => "marked by a person",
            Self::NotPermitted => "its provider is not marked train = true",
            Self::NotText => "media, or a reply that is no text",
            Self::OffGrammar => "the task's tools and schema do not allow the reply",
            Self::EmptyPart => "nothing varies",
            Self::OutsideFrame => "other instructions than the task's messages begin and end with",
            Self::TooLong => "longer than the model's context",
            Self::OverMemory => "older than what fits the memory",
            Self::ExactDuplicate => "the same part and reply, seen later",
            Self::NearDuplicate => "nearly the same part, the same label",
            Self::OtherPart => "its question belongs to another part of the set",
            Self::Outvoted => "most replies to this question say something else",
            Self::Conflict => "replies to this question contradict each other",
            Self::LengthOutlier => "far longer than the task's rows",
            Self::ScriptOutlier => "another script than the task's rows",
            Self::LanguageOutlier => "another language than the task's rows",
            Self::ClassCap => "over the cap of its class",
        }
    }
}

/// What was left out for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// Why.
    pub reason: Reason,
    /// How many exchanges.
    pub count: u64,
    /// The first few in the journal's order, held conversations aside.
    pub samples: Vec<Sample>,
}

/// One exchange that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Which.
    pub exchange: ExchangeId,
    /// Its place in the journal.
    pub seq: u64,
    /// The end of what it asked, shortened.
    pub asked: String,
    /// What was answered, shortened; empty where nothing was.
    pub answered: String,
}

impl Sample {
    pub(crate) fn new(exchange: ExchangeId, seq: u64, asked: &str, answered: &str) -> Self {
        Self { exchange, seq, asked: shorten(asked), answered: shorten(answered) }
    }
}

fn shorten(text: &str) -> String {
    let mut words = text.split_whitespace().flat_map(|w| w.chars().chain([' ']));
    let mut out: String = words.by_ref().take(SAMPLE_CHARS).collect();
    out.truncate(out.trim_end().len());
    if words.next().is_some() {
        out.push('…');
    }
    out
}

/// A class before and after, held conversations aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// The tools that a reply calls, or its label where that is short.
    pub class: String,
    /// Exchanges that could be learnt from, duplicates included.
    pub before: u64,
    /// Rows.
    pub after: u64,
}

/// How large a part is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitSize {
    /// Rows.
    pub rows: u64,
    /// Conversations.
    pub conversations: u64,
    /// Exchanges that the rows stand for.
    pub stands_for: u64,
    /// Of the rows those that are left to the provider ([`Row::defers`](crate::Row::defers)).
    #[serde(default)]
    pub left: u64,
}

/// Training questions that had more than one reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflicts {
    /// How many.
    pub questions: u64,
    /// Of those with a clear majority, which was kept.
    pub resolved: u64,
}

/// Characters of the rows, held ones aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Characters {
    /// Of all parts.
    pub parts: u64,
    /// Of all replies.
    pub replies: u64,
    /// Of the middle row, part and reply.
    pub median: u64,
    /// Of the longest.
    pub longest: u64,
}

/// In, out, and why. `exchanges` = `rows` + the counts of `dropped`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The task's id.
    pub task: String,
    /// Its name for people.
    pub name: String,
    /// Exchanges of the task that were read.
    pub exchanges: u64,
    /// Exchanges of other tasks that were passed over.
    pub elsewhere: u64,
    /// Rows, held ones included.
    pub rows: u64,
    /// What was left out, by reason.
    pub dropped: Vec<Dropped>,
    /// The classes, the largest first.
    pub classes: Vec<ClassCount>,
    /// Sizes by part.
    pub splits: BTreeMap<Split, SplitSize>,
    /// Label conflicts.
    pub conflicts: Conflicts,
    /// Sizes in characters.
    pub characters: Characters,
    /// Different replies among the training rows; to leave the call to the provider is one.
    pub replies: u64,
    /// Training rows that are texts which follow no pattern and are not copied out of their
    /// part: nobody says them again.
    #[serde(default)]
    pub said_once: u64,
    /// The script most letters are in, and its share, 0 to 1.
    pub script: Option<(String, f64)>,
    /// The language of most training rows that are long enough to tell theirs, and
    /// its share of those, 0 to 1.
    #[serde(default)]
    pub language: Option<(String, f64)>,
    /// Whose replies there were: exchanges by provider, and who permitted to
    /// train on them.
    pub providers: BTreeMap<String, (u64, Option<Permission>)>,
    /// The share of recorded calls that redaction changed, where known. The
    /// journal holds stand-ins only: see [`Report::personal_data`].
    pub redacted_share: Option<f64>,
    /// The hash of the frame that the rows were taken out of ([`understudy_tasks::Frame::hash`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// Lone turns are shown as far as all turns together are.
    #[serde(default)]
    pub long_turns: bool,
    /// The limits.
    pub rules: Rules,
    /// What else is to be known, in sentences.
    pub notes: Vec<String>,
}

impl Report {
    /// How many were left out for this reason.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        self.dropped.iter().find(|d| d.reason == reason).map_or(0, |d| d.count)
    }

    /// A part's size.
    #[must_use]
    pub fn split(&self, split: Split) -> SplitSize {
        self.splits.get(&split).copied().unwrap_or_default()
    }

    /// The share of the training calls, 0 to 1, that a model could answer word by word: all
    /// but those whose reply is a text that is said once.
    #[must_use]
    pub fn answerable(&self) -> f64 {
        // A row that stands for several calls is said again.
        let calls = self.split(Split::Train).stands_for;
        1.0 - self.said_once as f64 / calls.max(1) as f64
    }

    /// What was done about personal data, in a sentence.
    #[must_use]
    pub fn personal_data(&self) -> String {
        let share = match self.redacted_share {
            Some(share) => {
                format!("; it changed {:.1} % of the calls recorded since the start", share * 100.0)
            }
            None => String::new(),
        };
        format!("the journal replaced personal data by keyed stand-ins before it was written{share}")
    }
}

/// Counts and samples by reason, in any order.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<Reason, (u64, BTreeMap<u64, Sample>)>);

impl Tally {
    /// Counts one; the sample is made only where it is kept.
    pub(crate) fn drop(&mut self, reason: Reason, seq: u64, sample: impl FnOnce() -> Option<Sample>) {
        let (count, samples) = self.0.entry(reason).or_default();
        *count += 1;
        let early = samples.len() < SAMPLES || samples.last_key_value().is_some_and(|(last, _)| seq < *last);
        if early && let Some(sample) = sample() {
            samples.insert(seq, sample);
            if samples.len() > SAMPLES {
                samples.pop_last();
            }
        }
    }

    pub(crate) fn into_dropped(self) -> Vec<Dropped> {
        self.0
            .into_iter()
            .map(|(reason, (count, samples))| Dropped {
                reason,
                count,
                samples: samples.into_values().collect(),
            })
            .collect()
    }
}
