//! An adapter answers its development rows.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use understudy_call::{Choice, ConversationKey, Declined, Reply, Request, UnderstudyId};
use understudy_cast::specialised::{Draft, Judgement};
use understudy_cast::{Cast, Example};
use understudy_policy::interval;
use understudy_tasks::{Form, Part, Task};

use crate::score;

/// An adapter that is answering.
pub(super) struct Answering {
    pub(super) task: Task,
    /// Rows that it was trained on.
    pub(super) rows: u64,
    pub(super) draft: Draft,
    /// The version that it would take the place of, known once it has begun.
    pub(super) before: Option<(UnderstudyId, Draft)>,
    pub(super) begun: bool,
    pub(super) left: VecDeque<Example>,
    pub(super) of: usize,
    pub(super) judged: Vec<Judgement>,
    /// Whether the version before agreed, row by row.
    pub(super) agreed_before: Vec<bool>,
    /// Why rows were left unasked.
    pub(super) given_up: Option<&'static str>,
    /// What the first rows told, where it was enough.
    pub(super) told_enough: Option<String>,
}

impl Answering {
    pub(super) fn new(task: Task, rows: u64, draft: Draft, development: Vec<Example>) -> Self {
        // In no order of theirs, so that the first of them speak for all.
        let mut development = development;
        development.sort_by_cached_key(|example| *blake3::hash(&example.exchange.0).as_bytes());
        Self {
            task,
            rows,
            draft,
            before: None,
            begun: false,
            of: development.len(),
            left: development.into(),
            judged: Vec::new(),
            agreed_before: Vec::new(),
            given_up: None,
            told_enough: None,
        }
    }

    /// Rows answered, and of how many.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.of.saturating_sub(self.left.len()) as u64, self.of as u64)
    }

    /// Its turn has come: whoever is the task's version now is the one to beat.
    pub(super) fn begin(&mut self, cast: &Cast) {
        if !self.begun {
            self.begun = true;
            self.before = cast.specialised_of(self.task.id).and_then(|id| {
                let draft = cast.redraft(&id)?;
                Some((id, draft))
            });
        }
    }

    /// Leaves the rest of the rows unasked.
    pub(super) fn give_up(&mut self, why: &'static str) {
        self.left.clear();
        self.given_up = Some(why);
    }

    /// Leaves the rest of the rows unasked where hardly this share of them can be agreed
    /// on: over the conversations of those that were asked, which were drawn, the
    /// one-sided 99 % bound is under it. It is looked at after each row, so it errs more
    /// often than that, but it only saves time and promotes nobody: long rows that nobody
    /// answers would else keep other tasks from their evidence.
    pub(super) fn stop_under(&mut self, needed: f64) {
        let mut of: BTreeMap<ConversationKey, (f64, f64)> = BTreeMap::new();
        for one in &self.judged {
            let (agreed, n) = of.entry(one.conversation).or_default();
            *agreed += f64::from(u8::from(one.agrees));
            *n += 1.0;
        }
        let sum = of.values().map(|(agreed, n)| agreed / n).sum();
        if !self.left.is_empty() && interval::upper_is_under(sum, of.len() as f64, 0.99, needed) {
            let agreed = self.judged.iter().filter(|j| j.agrees).count();
            let n = self.judged.len();
            self.told_enough =
                Some(format!("{agreed} of {n} rows agreed, so the other {} were not asked", self.left.len()));
            self.of = n;
            self.left.clear();
        }
    }

    /// Answers the next row.
    ///
    /// # Errors
    /// The engine could not be asked, which says nothing of the adapter: the row is
    /// put back, behind the others.
    pub(super) async fn answer(&mut self, deadline: Duration) -> Result<(), Declined> {
        let Some(example) = self.left.pop_front() else { return Ok(()) };
        match self.judge(&example, deadline).await {
            Ok((one, other)) => {
                self.judged.push(one);
                self.agreed_before.extend(other.map(|o| o.agrees));
                Ok(())
            }
            Err(why) => {
                self.left.push_back(example);
                Err(why)
            }
        }
    }

    /// The row's answer, and that of the version before.
    async fn judge(
        &self,
        example: &Example,
        deadline: Duration,
    ) -> Result<(Judgement, Option<Judgement>), Declined> {
        let request = asked(&self.task.form, &example.part);
        let one = judge(&self.draft, &request, example, deadline).await?;
        let other = match &self.before {
            Some((_, before)) => Some(judge(before, &request, example, deadline).await?),
            None => None,
        };
        Ok((one, other))
    }
}

/// The call that a development row was, its system text aside: a specialised
/// understudy is never shown that.
fn asked(form: &Form, part: &Part) -> Request {
    Request {
        messages: part.turns.clone(),
        tools: form.tools.clone(),
        tool_choice: form.tool_choice.clone(),
        format: form.format.clone(),
        ..Request::default()
    }
}

async fn judge(
    draft: &Draft,
    request: &Request,
    example: &Example,
    deadline: Duration,
) -> Result<Judgement, Declined> {
    let nothing =
        Judgement { conversation: example.errand(), signals: None, agrees: false, stratum: String::new() };
    match draft.rehearse(request, example, deadline).await {
        Ok((choice, signals, stratum)) => {
            let score = score::compare(request, &whole(&example.reply), &whole(&choice));
            Ok(Judgement { signals: Some(signals), agrees: score.agrees, stratum, ..nothing })
        }
        Err(why) if why.is_unasked() => Err(why),
        Err(_) => Ok(nothing),
    }
}

/// A reply of one choice.
fn whole(choice: &Choice) -> Reply {
    Reply { choices: vec![choice.clone()], ..Reply::default() }
}
