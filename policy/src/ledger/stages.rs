//! The rules that move a task from stage to stage.

use std::collections::BTreeMap;

use understudy_call::UnderstudyId;

use super::entry::{Closed, Entry};
use super::service::Service;
use super::{Ledger, service};
use crate::exact::door;
use crate::{Action, Approval, Decision, Stage, TaskPolicy, Why};

impl Ledger {
    /// Looks at what the evidence asks for, after each event.
    pub(super) fn consider(&mut self, out: &mut Vec<Decision>) {
        if self.stage == Stage::Observing {
            let enough = self.calls >= u64::from(self.policy.observe_calls);
            if enough && !self.pinned && self.reach() >= Stage::Shadowing {
                self.move_to(Stage::Shadowing, Why::EnoughCalls, None, out);
            }
            return;
        }
        self.doubt_successor(out);
        let alarm = self.service.as_ref().and_then(|s| s.alarm(&self.policy, self.provider_ms.mean()));
        if self.alarm.is_none() {
            self.alarm = alarm;
        }
        if self.pinned {
            return;
        }
        if let Some(why) = self.alarm {
            self.demote(why, None, out);
            return;
        }
        if self.service.is_some() && self.needs_approval() && !self.approved {
            self.withdraw(out);
            return;
        }
        self.climb(out);
        self.succeed(out);
        self.canary(out);
    }

    /// A step of the canary that has been earned leads to the next.
    fn climb(&mut self, out: &mut Vec<Decision>) {
        let Stage::Canary { step } = self.stage else {
            return;
        };
        let Some(service) = &self.service else { return };
        let next = self.after(step);
        if service.has_earned_its_step(&self.policy) && next <= self.reach() {
            self.move_to(next, Why::StepEarned, None, out);
            let seq = self.seq;
            if let Some(service) = &mut self.service {
                service.step(seq);
            }
        }
    }

    /// An entry that has earned its evidence opens the canary; beside one that
    /// is live it becomes the successor.
    fn canary(&mut self, out: &mut Vec<Decision>) {
        let first = Stage::Canary { step: 0 };
        if first > self.reach() {
            return;
        }
        if self.successor.is_some() {
            return;
        }
        let needed = self.coverage_to_beat();
        let serving = self.service.as_ref().map(|s| s.k);
        let Some(k) = self
            .entries
            .iter()
            .filter(|e| e.closed.is_none() && e.earned.is_some() && Some(e.opened.k) != serving)
            .filter(|e| e.coverage() >= needed)
            .max_by(|a, b| {
                let cheaper = b.opened.cost_rank.cmp(&a.opened.cost_rank);
                a.coverage().total_cmp(&b.coverage()).then(cheaper).then(b.opened.k.cmp(&a.opened.k))
            })
            .map(|e| e.opened.k)
        else {
            self.waiting = false;
            return;
        };
        if self.needs_approval() && !self.approved {
            if !self.waiting {
                self.waiting = true;
                self.decide(self.stage, self.stage, Why::AwaitingApproval, Some(k), None, out);
            }
            return;
        }
        if self.stage == Stage::Live {
            self.begin_succession(k, out);
            return;
        }
        let why = if self.waiting && self.approved { Why::Approved } else { Why::Evidence };
        self.begin(k, first, why, None, out);
    }

    /// Lets an entry serve from a stage on; the one that served is replaced.
    fn begin(&mut self, k: u32, stage: Stage, why: Why, by: Option<&str>, out: &mut Vec<Decision>) {
        if let Some(old) = self.service.take()
            && let Some(entry) = self.entry_mut(old.k)
        {
            entry.closed = Some(Closed::Replaced);
        }
        self.waiting = false;
        self.service = Some(Service::begin(k, self.seq, &self.policy));
        self.move_to(stage, why, by, out);
    }

    /// Takes the entry that serves off until a person has approved; its
    /// evidence stands.
    fn withdraw(&mut self, out: &mut Vec<Decision>) {
        self.move_to(Stage::Shadowing, Why::AwaitingApproval, None, out);
        self.waiting = true;
        self.service = None;
        self.successor = None;
    }

    pub(super) fn demote(&mut self, why: Why, by: Option<&str>, out: &mut Vec<Decision>) {
        self.move_to(Stage::Shadowing, why, by, out);
        self.close_all(Closed::Demoted);
        // Sixteenfold at most: a task that fails again and again is tried again seldom, not never.
        self.cooldown = self.policy.cooldown_trials.saturating_mul(1 << self.demotions.min(4));
        self.demotions += 1;
    }

    fn close_all(&mut self, why: Closed) {
        for entry in self.entries.iter_mut().filter(|e| e.closed.is_none()) {
            entry.closed = Some(why);
        }
        self.service = None;
        self.successor = None;
        self.alarm = None;
        self.waiting = false;
        self.develop_anew();
    }

    pub(super) fn operator(&mut self, action: &Action, by: &str, out: &mut Vec<Decision>) {
        let by = Some(by);
        match action {
            Action::Approve => {
                self.approved = true;
                // What waits goes on in `consider`, under this reason.
                self.decide(
                    self.stage,
                    self.stage,
                    Why::Approved,
                    self.service.as_ref().map(|s| s.k),
                    by,
                    out,
                );
            }
            Action::Promote => self.promote(by, out),
            Action::Demote => {
                if self.stage > Stage::Shadowing {
                    self.approved = false;
                    self.demote(Why::Operator, by, out);
                }
            }
            Action::Pin(pinned) => {
                self.pinned = *pinned;
                self.pinned_by = by.filter(|_| *pinned).map(str::to_owned);
                self.decide(
                    self.stage,
                    self.stage,
                    if *pinned { Why::Pinned } else { Why::Unpinned },
                    self.service.as_ref().map(|s| s.k),
                    by,
                    out,
                );
            }
        }
    }

    /// One stage up against the evidence. With no open entry there is nobody to
    /// serve, and nothing happens.
    fn promote(&mut self, by: Option<&str>, out: &mut Vec<Decision>) {
        match self.stage {
            Stage::Observing => self.move_to(Stage::Shadowing, Why::Operator, by, out),
            Stage::Shadowing => {
                let best = self
                    .entries
                    .iter_mut()
                    .filter(|e| e.closed.is_none())
                    .max_by(|a, b| a.process.log_wealth().total_cmp(&b.process.log_wealth()));
                if let Some(entry) = best {
                    entry.by_operator = true;
                    let k = entry.opened.k;
                    // Who promotes by hand has approved.
                    self.approved = true;
                    self.begin(k, Stage::Canary { step: 0 }, Why::Operator, by, out);
                }
            }
            Stage::Canary { step } => {
                let next = self.after(step);
                self.move_to(next, Why::Operator, by, out);
                let seq = self.seq;
                let k = self.service.as_mut().map(|s| {
                    s.step(seq);
                    s.k
                });
                if let Some(entry) = k.and_then(|k| self.entry_mut(k)) {
                    entry.by_operator = true;
                }
            }
            Stage::Live => {}
        }
    }

    /// Closes the entries of a version that can no longer answer.
    pub(super) fn version_gone(&mut self, understudy: &UnderstudyId, out: &mut Vec<Decision>) {
        let Some(number) = self.number_of(understudy) else {
            return;
        };
        self.development.remove(&number);
        self.take_off(|e| e.understudy == number, (Why::VersionGone, Closed::VersionGone), out);
    }

    pub(super) fn journal_lost(&mut self, out: &mut Vec<Decision>) {
        self.conversations.forget();
        self.begin_again(Why::JournalLost, Closed::JournalLost, out);
    }

    /// Takes other rules. What was earned was earned against a target and an error,
    /// step by step; where those change, it has to be earned anew.
    pub(super) fn come_under(&mut self, policy: &TaskPolicy, out: &mut Vec<Decision>) {
        let promise = |p: &TaskPolicy| (p.tau, p.alpha, p.steps.clone());
        let another_promise = promise(&self.policy) != promise(policy);
        self.conversations.set_gap(policy.conversation_gap);
        self.policy = policy.clone();
        if another_promise {
            self.begin_again(Why::Policy, Closed::Policy, out);
        }
        self.leave_out(out);
        self.look_once_more();
    }

    /// Closes the entries of whom the rules do not let answer. What the others have
    /// earned stands.
    fn leave_out(&mut self, out: &mut Vec<Decision>) {
        let policy = self.policy.clone();
        self.take_off(|e| !policy.permits(&e.opened.understudy), (Why::Policy, Closed::Policy), out);
    }

    /// Closes the open entries that are `meant`: the one that serves and the one
    /// that would follow it as well.
    fn take_off(
        &mut self,
        meant: impl Fn(&Entry) -> bool,
        (why, closed): (Why, Closed),
        out: &mut Vec<Decision>,
    ) {
        let open = self.entries.iter().filter(|e| e.closed.is_none());
        let off: Vec<u32> = open.filter(|e| meant(e)).map(|e| e.opened.k).collect();
        if self.service.as_ref().is_some_and(|s| off.contains(&s.k)) {
            self.move_to(Stage::Shadowing, why, None, out);
            self.service = None;
            self.successor = None;
            self.alarm = None;
        }
        if let Some(k) = self.successor.as_ref().map(|s| s.k).filter(|k| off.contains(k)) {
            self.decide(self.stage, self.stage, why, Some(k), None, out);
            self.successor = None;
        }
        if !off.is_empty() {
            self.look_once_more();
        }
        for entry in self.entries.iter_mut().filter(|e| off.contains(&e.opened.k)) {
            entry.closed = Some(closed);
        }
    }

    /// Back to shadowing from further on, and no evidence counts any more.
    fn begin_again(&mut self, why: Why, closed: Closed, out: &mut Vec<Decision>) {
        if self.stage > Stage::Shadowing {
            self.move_to(Stage::Shadowing, why, None, out);
        }
        self.close_all(closed);
    }

    /// Whether a person's word is needed before the task serves.
    pub(super) fn needs_approval(&self) -> bool {
        match self.policy.approval {
            Approval::Always => true,
            Approval::Acting => self.acting,
            Approval::Never => false,
        }
    }

    /// The furthest stage that evidence may reach.
    pub(super) fn reach(&self) -> Stage {
        if self.multi_turn {
            self.policy.max_stage.min(self.policy.multi_turn_max_stage)
        } else {
            self.policy.max_stage
        }
    }

    pub(super) fn after(&self, step: u8) -> Stage {
        if usize::from(step) + 1 < self.policy.steps.len() {
            Stage::Canary { step: step + 1 }
        } else {
            Stage::Live
        }
    }

    pub(super) fn entry_mut(&mut self, k: u32) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.opened.k == k)
    }

    pub(super) fn move_to(&mut self, to: Stage, why: Why, by: Option<&str>, out: &mut Vec<Decision>) {
        let from = self.stage;
        self.decide(from, to, why, self.service.as_ref().map(|s| s.k), by, out);
        self.stage = to;
    }

    pub(super) fn decide(
        &self,
        from: Stage,
        to: Stage,
        why: Why,
        k: Option<u32>,
        by: Option<&str>,
        out: &mut Vec<Decision>,
    ) {
        let service = self.successor.iter().chain(&self.service).find(|s| Some(s.k) == k);
        let entry = k.and_then(|k| self.entries.iter().find(|e| e.opened.k == k));
        let mut numbers = BTreeMap::new();
        let mut note = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                numbers.insert(name.to_owned(), door(value));
            }
        };
        note("calls", Some(self.calls as f64));
        if let Some(e) = entry {
            note("log_wealth", Some(e.process.log_wealth()));
            note("log_threshold", Some(e.log_threshold()));
            note("alpha", Some(e.alpha));
            note("tau", Some(self.policy.tau));
            note("bar", Some(e.bar));
            note("conversations", Some(e.outcomes.count() as f64));
            note("agreement", e.outcomes.mean());
            note("coverage", Some(e.coverage()));
            note("audited_conversations", Some(e.audits.count() as f64));
            note("audited_agreement", e.audits.mean());
        }
        if let Some(service) = service.or(self.service.as_ref()) {
            note("detector", Some(service.detector.value()));
            note("detector_limit", Some(self.policy.cusum_limit));
            note("step_conversations", Some(service.step_audits.count() as f64));
            for (name, share) in service.shares() {
                note(name, share);
            }
            if service.excess_ms.count() >= service::LATENCY_MIN {
                note("excess_ms", service.excess_ms.mean());
                note("provider_ms", self.provider_ms.mean());
            }
            let (served, control) = service.arms_means();
            note("trouble_served", served);
            note("trouble_control", control);
        }
        out.push(Decision {
            task: self.task,
            seq: self.seq,
            from,
            to,
            why,
            entry: k,
            understudy: entry.map(|e| e.opened.understudy.clone()),
            numbers,
            by: by.map(str::to_owned),
        });
    }
}
