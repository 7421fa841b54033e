//! A world for the whole machine to live in: conversations, understudies, load,
//! operators. Seeded; it uses nothing but the crate's public face.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use understudy_call::{ConversationKey, Declined, ExchangeId, FormHash, Lane, UnderstudyId};
use understudy_policy::{
    Action, Approval, Decision, EntryOpened, Event, ExchangeSeen, Ledger, Outcome, RosterMeta, RosterTask,
    ServedSeen, Stage, TaskId, TaskPolicy, Trial, TrialKind, lane,
};

/// Names of the classes; the first is the one that is always wrong.
pub(crate) const CLASSES: [&str; 7] = ["wrong", "a", "b", "c", "d", "e", "f"];

#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) calls: u64,
    /// Calls of a conversation, from and to.
    pub(crate) lengths: (u32, u32),
    /// Conversations that are held at once.
    pub(crate) open: usize,
    /// A conversation's calls have its turns before them.
    pub(crate) turns: bool,
    /// Share of hard conversations, and agreement in them; the rest is set so
    /// that the mean is `agreement`.
    pub(crate) hard: f64,
    pub(crate) hard_agreement: f64,
    pub(crate) agreement: f64,
    /// Share of calls in the class that is always wrong.
    pub(crate) wrong_class: f64,
    pub(crate) understudies: usize,
    /// Entries are also opened without Learn then Test's leave: at each doubling
    /// from here on, for each understudy, at the bar that looks best so far.
    pub(crate) forced_from: Option<u64>,
    /// A person promotes and later demotes, at random.
    pub(crate) meddling: bool,
    /// Load thins the draw of trials now and then.
    pub(crate) thinned: bool,
    /// After so many audited conversations agreement falls to this.
    pub(crate) falls: Option<(u64, f64)>,
    /// Keep the events.
    pub(crate) keep: bool,
}

impl Plan {
    pub(crate) fn null() -> Self {
        Self {
            calls: 3_000,
            lengths: (10, 30),
            open: 4,
            turns: false,
            hard: 0.10,
            hard_agreement: 0.60,
            agreement: 0.95,
            wrong_class: 0.03,
            understudies: 5,
            forced_from: Some(400),
            meddling: true,
            thinned: true,
            falls: None,
            keep: false,
        }
    }

    pub(crate) fn lone(self) -> Self {
        Self { lengths: (1, 1), hard: 0.0, ..self }
    }
}

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) decisions: Vec<Decision>,
    pub(crate) events: Vec<Event>,
    pub(crate) entries: u32,
    /// Opened by evidence where nothing deserved it.
    pub(crate) promoted: u32,
    /// Served calls of the class that is always wrong.
    pub(crate) wrong_served: u64,
    /// Calls until live, if it got there.
    pub(crate) live_at: Option<u64>,
    pub(crate) canary_at: Option<u64>,
    /// Audited conversations between the fall and the demotion.
    pub(crate) delay: Option<u64>,
    /// Served and agreed, of served calls.
    pub(crate) served: u64,
}

struct Conversation {
    key: ConversationKey,
    left: u32,
    hard: bool,
    begun: bool,
}

struct Version {
    id: UnderstudyId,
    /// (confidence, agrees) so far, for the forced choice of a bar.
    seen: Vec<(f64, bool)>,
}

pub(crate) fn policy() -> TaskPolicy {
    TaskPolicy { approval: Approval::Never, conversation_gap: 60, ..TaskPolicy::default() }
}

pub(crate) struct World {
    plan: Plan,
    rng: ChaCha8Rng,
    pub(crate) ledger: Ledger,
    seq: u64,
    open: Vec<Conversation>,
    cast: Vec<Version>,
    roster: Option<RosterTask>,
    busy: bool,
    agreement: f64,
    audited: u64,
    fell_at: Option<u64>,
    pub(crate) told: Told,
}

impl World {
    pub(crate) fn new(plan: Plan, policy: TaskPolicy, seed: u64) -> Self {
        let cast = (0..plan.understudies)
            .map(|i| Version { id: UnderstudyId(format!("u{i}-0")), seen: Vec::new() })
            .collect();
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            ledger: Ledger::new(TaskId(seed), policy),
            seq: 0,
            open: Vec::new(),
            cast,
            roster: None,
            busy: false,
            agreement: plan.agreement,
            audited: 0,
            fell_at: None,
            told: Told::default(),
            plan,
        }
    }

    pub(crate) fn run(mut self) -> Self {
        let promote_at = self.plan.meddling.then(|| self.rng.random_range(0..self.plan.calls));
        let demote_at = promote_at.map(|at| at + self.rng.random_range(50..800u64));
        let mut doubling = self.plan.forced_from;
        let mut generation = 0;
        for n in 1..=self.plan.calls {
            self.call();
            if doubling == Some(n) {
                generation += 1;
                self.renew(generation);
                doubling = Some(n * 2);
            } else if n % 100 == 0 {
                self.propose();
            }
            if Some(n) == promote_at {
                self.operator(Action::Promote);
            }
            if Some(n) == demote_at {
                self.operator(Action::Demote);
            }
            if self.told.delay.is_some() {
                break;
            }
        }
        self
    }

    fn apply(&mut self, event: Event) {
        let decisions = self.ledger.apply(&event);
        for d in &decisions {
            let opened =
                matches!(d.to, Stage::Canary { step: 0 }) && d.why == understudy_policy::Why::Evidence;
            self.told.promoted += u32::from(opened);
            if opened && self.told.canary_at.is_none() {
                self.told.canary_at = Some(self.seq);
            }
            if d.to == Stage::Live && self.told.live_at.is_none() {
                self.told.live_at = Some(self.seq);
            }
            if let (true, Some(at)) = (d.why == understudy_policy::Why::AuditsDisagree, self.fell_at) {
                self.told.delay = Some(self.audited - at);
            }
        }
        if !decisions.is_empty() || self.seq.is_multiple_of(64) {
            self.roster = self.ledger.roster_task(&RosterMeta {
                name: String::new(),
                form: FormHash([0; 16]),
                credential: None,
                budget_ms: 500.0,
            });
        }
        self.told.decisions.extend(decisions);
        if self.plan.keep {
            self.told.events.push(event);
        }
    }

    fn agrees(&mut self, hard: bool, class: usize) -> bool {
        if class == 0 {
            return false;
        }
        let easy = (self.agreement - self.plan.hard * self.plan.hard_agreement) / (1.0 - self.plan.hard);
        self.rng.random::<f64>() < if hard { self.plan.hard_agreement } else { easy }
    }

    fn call(&mut self) {
        self.seq += 1;
        while self.open.len() < self.plan.open {
            let left = self.rng.random_range(self.plan.lengths.0..=self.plan.lengths.1);
            let hard = self.rng.random::<f64>() < self.plan.hard;
            self.open.push(Conversation {
                key: ConversationKey(self.rng.random()),
                left,
                hard,
                begun: false,
            });
        }
        let at = self.rng.random_range(0..self.open.len());
        self.open[at].left -= 1;
        let (key, hard) = (self.open[at].key, self.open[at].hard);
        let later_turn = self.plan.turns && std::mem::replace(&mut self.open[at].begun, true);
        if self.open[at].left == 0 {
            self.open.swap_remove(at);
        }
        if self.rng.random::<f64>() < 0.01 {
            self.busy = !self.busy;
        }
        let draw: u64 = self.rng.random();
        let class = if self.rng.random::<f64>() < self.plan.wrong_class {
            0
        } else {
            self.rng.random_range(1..CLASSES.len())
        };
        let chosen = self.roster.as_ref().map_or(Lane::Provider, |r| lane::choose(r, key, draw));
        let provider_ms = 700.0 + 200.0 * self.rng.random::<f64>();
        let mut seen = ExchangeSeen {
            seq: self.seq,
            conversation: key,
            lane: chosen,
            at_ms: None,
            provider_ms: Some(provider_ms),
            total_ms: Some(provider_ms),
            answered_by_understudy: false,
            repeats: false,
            eligible: true,
            acting: false,
            troubled: false,
            later_turn,
        };
        let mut served = None;
        if let (Lane::Understudy | Lane::Audit, Some(roster)) = (chosen, self.roster.clone()) {
            let entry = &roster.entries_for(key)[0];
            let confidence: f64 = self.rng.random();
            let agrees = self.agrees(hard, class);
            let declined = if confidence < entry.bar {
                Some(Declined::BelowBar)
            } else if entry.strata.iter().any(|s| s == CLASSES[class]) {
                None
            } else if entry.weak.iter().any(|s| s == CLASSES[class]) {
                Some(Declined::Weak)
            } else {
                Some(Declined::Rare)
            };
            seen.answered_by_understudy = declined.is_none();
            seen.total_ms = Some(if declined.is_none() { 30.0 } else { provider_ms + 30.0 });
            if declined.is_none() {
                self.told.served += 1;
                self.told.wrong_served += u64::from(class == 0);
                seen.provider_ms = (chosen == Lane::Audit).then_some(provider_ms);
            }
            served = Some((entry.k, entry.understudy.clone(), declined, confidence, agrees));
        }
        self.apply(Event::Exchange(seen));
        if let Some((k, understudy, declined, confidence, agrees)) = served {
            self.apply(Event::Served(ServedSeen {
                seq: self.seq,
                conversation: key,
                k,
                understudy: understudy.clone(),
                declined,
                spent_ms: 30.0,
                invalid: false,
                late: false,
            }));
            if declined.is_none() {
                if chosen == Lane::Audit {
                    self.audited += 1;
                    if let (Some((after, to)), None) = (self.plan.falls, self.fell_at)
                        && self.audited >= after
                        && self.ledger.stage() == Stage::Live
                    {
                        self.fell_at = Some(self.audited);
                        self.agreement = to;
                    }
                    self.trial(key, &understudy, TrialKind::Audit, confidence, agrees, class);
                }
                return;
            }
        }
        // The draw comes before any answer.
        let share = if self.plan.thinned && self.busy { 0.3 } else { 1.0 };
        if self.ledger.trials_wanted() && lane::trial_drawn(draw, share) {
            for i in 0..self.cast.len() {
                let confidence: f64 = self.rng.random();
                let agrees = self.agrees(hard, class);
                if self.plan.forced_from.is_some() {
                    self.cast[i].seen.push((confidence, agrees));
                }
                let id = self.cast[i].id.clone();
                self.trial(key, &id, TrialKind::Shadow, confidence, agrees, class);
            }
        }
    }

    fn trial(
        &mut self,
        key: ConversationKey,
        who: &UnderstudyId,
        kind: TrialKind,
        confidence: f64,
        agrees: bool,
        class: usize,
    ) {
        self.apply(Event::Trial(Trial {
            task: self.ledger.task(),
            understudy: who.clone(),
            exchange: ExchangeId([0; 16]),
            seq: self.seq,
            conversation: key,
            kind,
            outcome: Outcome::Answered {
                score: f64::from(u8::from(agrees)),
                agrees,
                confidence,
                stratum: CLASSES[class].to_owned(),
            },
            spent_ms: 30.0,
            provider_ms: None,
        }));
    }

    fn propose(&mut self) {
        for i in 0..self.cast.len() {
            if let Some(opened) = self.ledger.propose_entry(&self.cast[i].id) {
                self.told.entries = self.told.entries.max(opened.k);
                self.apply(Event::EntryOpened(opened));
            }
        }
    }

    /// New versions of everyone, each entered at once at the bar that looks
    /// best on all that was seen: the worst that a careless caller could do.
    fn renew(&mut self, generation: u32) {
        for i in 0..self.cast.len() {
            let mut best = (0.0, 0.0);
            for bar in [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7] {
                let above: Vec<_> = self.cast[i].seen.iter().filter(|(c, _)| *c >= bar).collect();
                let mean = above.iter().filter(|(_, a)| *a).count() as f64 / above.len().max(1) as f64;
                if mean > best.0 {
                    best = (mean, bar);
                }
            }
            let old = self.cast[i].id.clone();
            self.cast[i].id = UnderstudyId(format!("u{i}-{generation}"));
            let serves = self.roster.as_ref().is_some_and(|r| {
                r.entries[0].understudy == old
                    || r.successor.as_ref().is_some_and(|s| s.entry.understudy == old)
            });
            if !serves {
                self.apply(Event::VersionGone { understudy: old, seq: self.seq });
            }
            self.told.entries += 1;
            let opened = EntryOpened {
                task: self.ledger.task(),
                k: self.told.entries,
                understudy: self.cast[i].id.clone(),
                bar: best.1,
                after_seq: self.seq,
                expected_coverage: 1.0 - best.1,
                expected_agreement: best.0,
                cost_rank: i as u8,
            };
            self.apply(Event::EntryOpened(opened));
        }
    }

    fn operator(&mut self, action: Action) {
        let seq = self.seq;
        self.apply(Event::Operator { action, by: "sim".to_owned(), seq });
    }
}
