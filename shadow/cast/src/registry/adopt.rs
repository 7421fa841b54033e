//! Adapters that were trained elsewhere come in here.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use understudy_call::{CallText, ConversationKey, EmbedError, Responder, UnderstudyId};
use understudy_policy::TaskId;
use understudy_policy::interval::binomial_tail;
use understudy_tasks::Task;

use super::{Cast, Keeps, Kind, Made, embed_missing};
use crate::error::CastError;
use crate::example::Example;
use crate::head::Rehearsed;
use crate::specialised::{Calibration, Draft, Judgement, Specialised, SpecialisedSnapshot};

/// What an adapter was trained on.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// The adapter's name with the engine.
    pub adapter: String,
    /// How it writes a call.
    pub calls: CallText,
    /// Whether it has learnt to leave calls to the provider.
    pub defers: bool,
    /// The hash of the frame that its rows were taken out of, if they were.
    pub frame: Option<String>,
    /// Whether its rows had lone turns as far as all turns together go.
    pub long_turns: bool,
    /// The rows that it learnt.
    pub trained: Vec<Example>,
    /// Rows that it did not: they choose calibration and bar.
    pub development: Vec<Example>,
}

/// A new version beside the one before, on the same development rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Conversations of whose rows the new one got more right.
    pub won: u64,
    /// Conversations of whose rows the old one got more right.
    pub lost: u64,
    /// Probability of at least so many wins if both were equally good (one-sided
    /// sign test on the conversations where they differ: rows of one conversation
    /// are not independent).
    pub p: f64,
}

/// A new version replaces the one before only where chance alone would show as
/// much in one case of twenty.
const CHANCE: f64 = 0.05;

impl Round {
    /// Compares two versions' judgements of the same rows, in the same order: the
    /// row's conversation, whether the old one agreed, whether the new one does.
    #[must_use]
    pub fn of(rows: impl IntoIterator<Item = (ConversationKey, bool, bool)>) -> Self {
        let mut gained: BTreeMap<ConversationKey, i64> = BTreeMap::new();
        for (conversation, before, after) in rows {
            *gained.entry(conversation).or_default() += i64::from(after) - i64::from(before);
        }
        let won = gained.values().filter(|rows| **rows > 0).count() as u64;
        let lost = gained.values().filter(|rows| **rows < 0).count() as u64;
        Self { won, lost, p: binomial_tail(won as f64, (won + lost) as f64, 0.5) }
    }

    /// Whether the new one is better beyond chance.
    #[must_use]
    pub fn is_better(&self) -> bool {
        self.won > self.lost && self.p <= CHANCE
    }
}

impl Cast {
    /// The draft of a specialised version, its training parts embedded; it is
    /// not yet published.
    ///
    /// # Errors
    /// Without an engine that says which models it has, without rows, or where the task's
    /// frame is not the one of the rows any more.
    pub async fn draft(&self, task: &Task, lesson: &Lesson, born_seq: u64) -> Result<Draft, CastError> {
        let away = || CastError::NoEngine;
        let (embedder, model) =
            (self.embedder.as_ref().ok_or_else(away)?, self.model.as_ref().ok_or_else(away)?);
        let base = model.model().await.ok_or_else(away)?;
        let of_hash = |hash: &String| task.framing.of_hash(hash).ok_or(CastError::OtherFrame);
        let frame = lesson.frame.as_ref().map(of_hash).transpose()?;
        let mut trained: Vec<Example> = match frame {
            Some(frame) => lesson.trained.iter().filter_map(|e| e.framed(frame)).collect(),
            None => lesson.trained.clone(),
        };
        embed_missing(embedder.as_ref(), &mut trained).await.map_err(|e: EmbedError| CastError::Embed(e))?;
        let embeds = Some(embedder.id()).filter(|name| !name.is_empty()).ok_or_else(away)?;
        let models = (base.as_str(), lesson.adapter.as_str(), embeds.as_str());
        let snapshot = SpecialisedSnapshot::new(task.id, task.credential, models, &trained, born_seq)
            .ok_or(CastError::NoRows)?
            .within(frame)
            .writing(lesson.calls)
            .reading(lesson.long_turns)
            .deferring(lesson.defers);
        Draft::new(snapshot, Arc::clone(embedder), Arc::clone(model)).ok_or(CastError::NoRows)
    }

    /// Publishes a draft, calibrated on the judged development rows.
    ///
    /// # Errors
    /// [`CastError::NoRows`] when nothing was judged.
    pub fn adopt(&self, draft: Draft, judged: &[Judgement]) -> Result<Made, CastError> {
        let made = draft.calibrated(judged).ok_or(CastError::NoRows)?;
        let confidences = Calibration::cross_fit(judged);
        let rehearsed = judged
            .iter()
            .zip(confidences)
            .map(|(j, confidence)| Rehearsed {
                conversation: j.conversation,
                confidence,
                agrees: j.agrees,
                stratum: j.stratum.clone(),
            })
            .collect();
        Ok(Made { id: self.publish_specialised(made), rehearsed })
    }

    /// The newest specialised version of a task.
    #[must_use]
    pub fn specialised_of(&self, task: TaskId) -> Option<UnderstudyId> {
        self.of_task(task).into_iter().find(|m| m.kind == Kind::Specialised).map(|m| m.id)
    }

    /// A version once more as a draft, to answer rows beside a newer one.
    #[must_use]
    pub fn redraft(&self, id: &UnderstudyId) -> Option<Draft> {
        let member = self.members.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()?;
        let Keeps::Specialised(made) = &member.keeps else { return None };
        Draft::new(
            made.snapshot().clone(),
            Arc::clone(self.embedder.as_ref()?),
            Arc::clone(self.model.as_ref()?),
        )
    }

    pub(super) fn take_specialised(&self, snapshot: SpecialisedSnapshot) -> Option<UnderstudyId> {
        let (embedder, model) = (Arc::clone(self.embedder.as_ref()?), Arc::clone(self.model.as_ref()?));
        Specialised::new(snapshot, embedder, model).map(|made| self.publish_specialised(made))
    }

    fn publish_specialised(&self, made: Specialised) -> UnderstudyId {
        let s = made.snapshot();
        let (task, born) = (s.task, s.born_seq);
        let note = format!("{} with adapter {}, trained on {} exchanges", s.model, s.adapter, s.rows);
        let made = Arc::new(made);
        let responder: Arc<dyn Responder> = Arc::<Specialised>::clone(&made);
        self.take(task, Kind::Specialised, responder, born, note, Keeps::Specialised(made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> ConversationKey {
        ConversationKey((n as u128).to_be_bytes())
    }

    #[test]
    fn a_conversation_is_won_or_lost_once_however_many_rows_it_has() {
        // Four of five rows each: 20 to 10 by rows, which would be p .049.
        let rows = (0..30).map(|row| (key(row / 5), row >= 20, row < 20));
        let round = Round::of(rows);
        assert_eq!((round.won, round.lost), (4, 2));
        assert!(!round.is_better(), "{round:?}");
        // One row won and one lost is a draw.
        let round = Round::of([(key(1), false, true), (key(1), true, false)]);
        assert_eq!((round.won, round.lost), (0, 0));
    }

    #[test]
    fn a_round_is_better_only_beyond_chance() {
        let round = |won: usize, lost: usize, same: usize| {
            let rows =
                [vec![(false, true); won], vec![(true, false); lost], vec![(true, true); same]].concat();
            Round::of(rows.into_iter().enumerate().map(|(i, (before, after))| (key(i), before, after)))
        };
        // 9 of 10: (10 + 1)/1024.
        let clear = round(9, 1, 300);
        assert!((clear.p - 11.0 / 1024.0).abs() < 1e-12 && clear.is_better(), "{clear:?}");
        assert!(!round(6, 4, 300).is_better());
        assert!(!round(0, 0, 300).is_better());
        assert!(!round(1, 9, 0).is_better());
        assert!(round(900, 700, 0).is_better());
    }
}
