use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use understudy_call::{Exchange, Message};
use understudy_tasks::{Frame, Task};

use crate::conflict::{self, Verdict, Vote};
use crate::intake::{Group, Intake, Member, Taken};
use crate::near::{Met, signatures};
use crate::outliers::{Letters, is_of_one_language, language, length_limit, main_language};
use crate::part_alone::Turn;
use crate::question::Key;
use crate::report::{Characters, ClassCount, Conflicts, Reason, Report, SplitSize, Tally};
use crate::{Curated, Row, Rules, Split, balance, said_once, split};

/// Classes that a report names; the rest is one line.
const CLASSES: usize = 100;

/// Makes rows of a task's exchanges and says why the others are none.
///
/// The exchanges may come in any order and may be of other tasks too, which are
/// passed over; whoever can should give all there are, for an understudy may
/// have answered an earlier turn of a conversation under another form. What is
/// held meanwhile is text of at most [`Rules::memory`] bytes, and some 600 bytes
/// a row.
#[must_use]
pub fn curate(task: &Task, exchanges: impl Iterator<Item = (u64, Exchange)>, rules: &Rules) -> Curated {
    let mut intake = Intake::new(task, rules);
    for (seq, exchange) in exchanges {
        intake.take(seq, exchange);
    }
    let (groups, taken) = intake.finish();
    let mut set = Set::new(rules, groups, taken.tally);
    let before = set.classes(true);
    set.one_part_a_question();
    set.one_row_a_group();
    let conflicts = set.conflicts();
    set.near_duplicates();
    set.lengths();
    let script = set.scripts();
    let language = set.languages();
    set.balance();
    let after = set.classes(false);
    let mut notes = std::mem::take(&mut set.notes);
    let (mut rows, tally) = set.into_rows();
    let said_once = said_once::mark(&mut rows);
    let counts = Taken { tally, ..taken };
    let mut report = report(task, rules, counts, &rows);
    report.said_once = said_once as u64;
    match report.split(Split::Train).left {
        0 if said_once > 0 => notes.push(format!(
            "{said_once} training rows are texts that follow no pattern: no small model can be held to them word by word"
        )),
        0 => {}
        left => notes.push(format!(
            "{left} training rows are texts that follow no pattern: what is learnt of them is to leave such calls to the provider"
        )),
    }
    report.classes = class_counts(before, &after);
    report.conflicts = conflicts;
    report.script = script;
    report.language = language;
    report.notes = notes;
    Curated { rows, report }
}

/// A group with its part of the set.
struct Kept {
    group: Group,
    split: Split,
    /// The exchange that stands for it.
    member: Member,
    stands_for: u64,
}

/// The groups on their way to rows, in the order in which they were first asked.
struct Set<'a> {
    rules: &'a Rules,
    groups: Vec<Group>,
    kept: Vec<Kept>,
    tally: Tally,
    notes: Vec<String>,
}

impl<'a> Set<'a> {
    fn new(rules: &'a Rules, groups: Vec<Group>, tally: Tally) -> Self {
        Self { rules, groups, kept: Vec::new(), tally, notes: Vec::new() }
    }

    /// Exchanges or rows by class, held ones aside.
    fn classes(&self, exchanges: bool) -> HashMap<String, u64> {
        let mut counts: HashMap<String, u64> = HashMap::new();
        if exchanges {
            for group in &self.groups {
                let open =
                    group.members.iter().filter(|m| split::of(m.conversation, self.rules) != Split::Held);
                *counts.entry(group.class.clone()).or_default() += open.count() as u64;
            }
        } else {
            for kept in self.kept.iter().filter(|k| k.split != Split::Held) {
                *counts.entry(kept.group.class.clone()).or_default() += 1;
            }
        }
        counts.retain(|_, n| *n > 0);
        counts
    }

    /// A question belongs to the part of the conversation that asked it first:
    /// what came later cannot move it, so that a row once held stays held.
    fn one_part_a_question(&mut self) {
        let mut home: HashMap<Key, Split> = HashMap::new();
        for mut group in std::mem::take(&mut self.groups) {
            let Some(first) = group.members.first() else { continue };
            let first = split::of(first.conversation, self.rules);
            let home = *home.entry(group.question).or_insert(first);
            let (own, other): (Vec<Member>, Vec<Member>) =
                group.members.iter().copied().partition(|m| split::of(m.conversation, self.rules) == home);
            for m in other {
                let shown = split::of(m.conversation, self.rules) != Split::Held;
                self.tally.drop(Reason::OtherPart, m.seq, || shown.then(|| group.sample(&m)));
            }
            group.members = own;
            // A row is named after the exchange whose tokens it has, else the latest.
            let told = group.members.iter().find(|m| m.seq == group.told_by && !group.tokens.is_empty());
            let told = told.copied();
            if told.is_none() {
                group.tokens = Vec::new();
            }
            if let Some(member) = told.or_else(|| group.members.last().copied()) {
                let stands_for = group.members.len() as u64;
                self.kept.push(Kept { group, split: home, member, stands_for });
            }
        }
    }

    /// One exchange stands for its group.
    fn one_row_a_group(&mut self) {
        for kept in &self.kept {
            for m in kept.group.members.iter().filter(|m| m.seq != kept.member.seq) {
                let shown = kept.split != Split::Held;
                self.tally.drop(Reason::ExactDuplicate, m.seq, || shown.then(|| kept.group.sample(m)));
            }
        }
    }

    /// Leaves out the rows for which `why` gives a reason.
    fn leave_out(&mut self, why: impl Fn(&Kept) -> Option<Reason>) {
        let tally = &mut self.tally;
        self.kept.retain(|kept| match why(kept) {
            None => true,
            Some(reason) => {
                let shown = kept.split != Split::Held;
                tally.drop(reason, kept.member.seq, || shown.then(|| kept.group.sample(&kept.member)));
                false
            }
        });
    }

    /// Training questions with several replies: the clear majority's stays, or none.
    fn conflicts(&mut self) -> Conflicts {
        let train = self.kept.iter().filter(|k| k.split == Split::Train);
        let votes =
            train.map(|k| Vote { question: k.group.question, label: k.group.said, count: k.stands_for });
        let verdicts = conflict::verdicts(votes, self.rules);
        let questions = verdicts.values().filter(|v| **v != Verdict::Agreed).count() as u64;
        let resolved = verdicts.values().filter(|v| matches!(v, Verdict::Won(_))).count() as u64;
        self.leave_out(|k| {
            if k.split != Split::Train {
                return None;
            }
            match verdicts.get(&k.group.question)? {
                Verdict::Agreed => None,
                Verdict::Won(label) => (*label != k.group.said).then_some(Reason::Outvoted),
                Verdict::Undecided => Some(Reason::Conflict),
            }
        });
        Conflicts { questions, resolved }
    }

    /// Of parts that are nearly the same with the same label, the first stays. It
    /// is what all later ones were held against: were it replaced by a later one,
    /// a third that is like that one and not like the first would stay beside it,
    /// maybe in another part of the set.
    fn near_duplicates(&mut self) {
        let parts: Vec<&[Turn]> = self.kept.iter().map(|k| k.group.turns.as_slice()).collect();
        let labels: Vec<Key> = self.kept.iter().map(|k| k.group.label).collect();
        let signed = signatures(&parts);
        let mut met = Met::new(&parts, &labels, &signed);
        let like: Vec<Option<usize>> = (0..parts.len()).map(|i| met.meet(i, self.rules.near)).collect();
        let mut gone: HashSet<usize> = HashSet::new();
        for (i, first) in like.iter().enumerate() {
            let Some(first) = *first else { continue };
            let (Some(stays), Some(lost)) = (self.kept.get(first), self.kept.get(i)) else { continue };
            let same_part = stays.split == lost.split;
            let reason = if same_part { Reason::NearDuplicate } else { Reason::OtherPart };
            gone.insert(i);
            let (shown, stood_for) = (lost.split != Split::Held, lost.stands_for);
            self.tally.drop(reason, lost.member.seq, || shown.then(|| lost.group.sample(&lost.member)));
            if same_part && let Some(stays) = self.kept.get_mut(first) {
                stays.stands_for += stood_for;
            }
        }
        let mut i = 0;
        self.kept.retain(|_| {
            i += 1;
            !gone.contains(&(i - 1))
        });
    }

    fn lengths(&mut self) {
        let Some(deviations) = self.rules.length_outlier else { return };
        let train = self.kept.iter().filter(|k| k.split == Split::Train);
        let Some(limit) = length_limit(train.map(|k| k.group.chars()), deviations) else { return };
        if limit < self.rules.longest as f64 {
            self.notes.push(format!("a training row of more than {limit:.0} characters is a length outlier"));
        }
        self.leave_out(|k| {
            (k.split == Split::Train && k.group.chars() as f64 > limit).then_some(Reason::LengthOutlier)
        });
    }

    fn scripts(&mut self) -> Option<(String, f64)> {
        let mut all = Letters::default();
        for kept in self.kept.iter().filter(|k| k.split == Split::Train) {
            all.add(&Letters::of(&kept.group.turns));
        }
        let (main, share) = all.main()?;
        match self.rules.script_share {
            Some(least) if all.is_of_one_script() => self.leave_out(|k| {
                let unlike = k.split == Split::Train && Letters::of(&k.group.turns).is_unlike(main, least);
                unlike.then_some(Reason::ScriptOutlier)
            }),
            Some(_) => {
                self.notes.push("the task is written in several scripts: none is an outlier".to_owned())
            }
            None => {}
        }
        Some((main.to_owned(), share))
    }

    fn languages(&mut self) -> Option<(String, f64)> {
        if !self.rules.one_language {
            return None;
        }
        let train = self.kept.iter().filter(|k| k.split == Split::Train);
        let told: HashMap<u64, _> =
            train.filter_map(|k| Some((k.member.seq, language(&k.group.turns)?))).collect();
        let (main, share) = main_language(told.values().copied())?;
        if is_of_one_language(share) {
            self.leave_out(|k| {
                told.get(&k.member.seq).is_some_and(|l| *l != main).then_some(Reason::LanguageOutlier)
            });
        } else {
            self.notes.push("the task is written in several languages: none is an outlier".to_owned());
        }
        Some((main.eng_name().to_owned(), share))
    }

    fn balance(&mut self) {
        let train = self.kept.iter().filter(|k| k.split == Split::Train);
        let Some(most) = balance::most(train.map(|k| k.group.class.as_str()), self.rules) else {
            self.notes.push("classes are kept at their own frequencies".to_owned());
            return;
        };
        self.notes.push(format!("a class keeps at most {most} training rows, drawn by hash"));
        let mut drawn: BTreeMap<&str, BTreeSet<(Key, u64)>> = BTreeMap::new();
        for kept in self.kept.iter().filter(|k| k.split == Split::Train) {
            let draw = (kept.group.question, kept.member.seq);
            drawn.entry(&kept.group.class).or_default().insert(draw);
        }
        let over: HashSet<u64> =
            drawn.into_values().flat_map(|of| of.into_iter().skip(most).map(|(_, seq)| seq)).collect();
        self.leave_out(|k| {
            (k.split == Split::Train && over.contains(&k.member.seq)).then_some(Reason::ClassCap)
        });
    }

    fn into_rows(self) -> (Vec<Row>, Tally) {
        let row = |kept: Kept| Row {
            exchange: kept.member.exchange,
            conversation: kept.member.conversation,
            seq: kept.member.seq,
            split: kept.split,
            messages: kept.group.turns.into_iter().map(|(role, text)| Message::text_of(role, text)).collect(),
            reply: kept.group.reply,
            defers: false,
            tokens: kept.group.tokens,
            class: kept.group.class,
            stands_for: kept.stands_for,
        };
        let mut rows: Vec<Row> = self.kept.into_iter().map(row).collect();
        rows.sort_unstable_by_key(|r| r.seq);
        (rows, self.tally)
    }
}

fn report(task: &Task, rules: &Rules, taken: Taken, rows: &[Row]) -> Report {
    let mut splits: BTreeMap<Split, SplitSize> = BTreeMap::new();
    for split in [Split::Train, Split::Development, Split::Held] {
        let of = || rows.iter().filter(|r| r.split == split);
        let conversations: HashSet<_> = of().map(|r| r.conversation).collect();
        splits.insert(
            split,
            SplitSize {
                rows: of().count() as u64,
                conversations: conversations.len() as u64,
                stands_for: of().map(|r| r.stands_for).sum(),
                left: of().filter(|r| r.defers).count() as u64,
            },
        );
    }
    let train = rows.iter().filter(|r| r.split == Split::Train);
    let replies: HashSet<&str> = train.map(|r| if r.defers { "" } else { r.reply.as_str() }).collect();
    Report {
        task: task.id.to_string(),
        name: task.name.clone(),
        exchanges: taken.exchanges,
        elsewhere: taken.elsewhere,
        rows: rows.len() as u64,
        dropped: taken.tally.into_dropped(),
        splits,
        characters: characters(rows),
        replies: replies.len() as u64,
        providers: taken
            .providers
            .into_iter()
            .map(|(name, n)| {
                let permission = rules.permitted.get(&name).cloned();
                (name, (n, permission))
            })
            .collect(),
        frame: task.framing.frame().map(Frame::hash),
        long_turns: true,
        rules: rules.clone(),
        ..Report::default()
    }
}

fn characters(rows: &[Row]) -> Characters {
    let mut found = Characters::default();
    let mut lengths: Vec<u64> = Vec::new();
    for row in rows.iter().filter(|r| r.split != Split::Held) {
        let part: usize = row.messages.iter().map(|m| m.text().chars().count()).sum();
        let (part, reply) = (part as u64, row.reply.chars().count() as u64);
        found.parts += part;
        found.replies += reply;
        lengths.push(part + reply);
    }
    lengths.sort_unstable();
    found.median = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    found.longest = lengths.last().copied().unwrap_or(0);
    found
}

fn class_counts(before: HashMap<String, u64>, after: &HashMap<String, u64>) -> Vec<ClassCount> {
    let mut all: Vec<ClassCount> = before
        .into_iter()
        .map(|(class, before)| ClassCount { after: after.get(&class).copied().unwrap_or(0), class, before })
        .collect();
    all.sort_by(|a, b| b.before.cmp(&a.before).then_with(|| a.class.cmp(&b.class)));
    if all.len() > CLASSES {
        let rest = all.split_off(CLASSES);
        all.push(ClassCount {
            class: format!("({} more)", rest.len()),
            before: rest.iter().map(|c| c.before).sum(),
            after: rest.iter().map(|c| c.after).sum(),
        });
    }
    all
}
