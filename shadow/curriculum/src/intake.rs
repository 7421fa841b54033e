//! Exchange by exchange: is it the provider's own whole answer, and may it be
//! learnt? What is kept is the part and the reply, equal ones once.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use understudy_call::{
    AnsweredBy, Choice, ConversationKey, Exchange, ExchangeId, Finish, Ineligible, Lane, Reply, Request,
    Truncation,
};
use understudy_cast::example;
use understudy_tasks::Task;

use crate::part_alone::{self, Turn};
use crate::question::{self, Key};
use crate::report::{Reason, Sample, Tally};
use crate::written::{self, Unwritable};
use crate::{Rules, Split, Told, split, told};

/// A label that is longer names no class.
const CLASS_CHARS: usize = 64;

/// An exchange that asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) seq: u64,
    pub(crate) exchange: ExchangeId,
    pub(crate) conversation: ConversationKey,
    /// Whether an understudy that serves was to answer, and left the call.
    left_over: bool,
}

/// A part with a reply, and every exchange that had them.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) turns: Vec<Turn>,
    pub(crate) reply: String,
    pub(crate) tokens: Vec<Told>,
    /// The member that the tokens are of.
    pub(crate) told_by: u64,
    /// What it asks: see [`question::asked`].
    pub(crate) question: Key,
    /// What the reply means: see [`example::label`].
    pub(crate) label: Key,
    /// The same with case aside, as in a question: a name that a reply repeats is
    /// written as it was asked.
    pub(crate) said: Key,
    pub(crate) class: String,
    pub(crate) multi_turn: bool,
    pub(crate) members: Vec<Member>,
}

impl Group {
    /// Characters of part and reply.
    pub(crate) fn chars(&self) -> usize {
        self.turns.iter().map(|(_, t)| t.chars().count()).sum::<usize>() + self.reply.chars().count()
    }

    fn bytes(&self) -> usize {
        let text = self.turns.iter().map(|(_, t)| t.len() + 32).sum::<usize>() + self.reply.len();
        // The group itself and its place in the map.
        text + told::bytes(&self.tokens) + 256
    }

    pub(crate) fn sample(&self, member: &Member) -> Sample {
        let asked = self.turns.last().map_or("", |(_, t)| t.as_str());
        Sample::new(member.exchange, member.seq, asked, &self.reply)
    }
}

/// What has been taken in so far.
pub(crate) struct Intake<'a> {
    task: &'a Task,
    rules: &'a Rules,
    groups: HashMap<Key, Group>,
    /// Where in the journal an understudy first answered a conversation.
    served: HashMap<ConversationKey, u64>,
    /// Conversations in which one was asked, whether or not it answered.
    asked: HashSet<ConversationKey>,
    bytes: usize,
    pub(crate) tally: Tally,
    pub(crate) exchanges: u64,
    pub(crate) elsewhere: u64,
    pub(crate) providers: HashMap<String, u64>,
}

impl<'a> Intake<'a> {
    pub(crate) fn new(task: &'a Task, rules: &'a Rules) -> Self {
        Self {
            task,
            rules,
            groups: HashMap::new(),
            served: HashMap::new(),
            asked: HashSet::new(),
            bytes: 0,
            tally: Tally::default(),
            exchanges: 0,
            elsewhere: 0,
            providers: HashMap::new(),
        }
    }

    /// Takes an exchange, of whatever task.
    pub(crate) fn take(&mut self, seq: u64, exchange: Exchange) {
        let meta = &exchange.meta;
        let by_understudy =
            matches!(meta.answered_by, AnsweredBy::Understudy(_)) || exchange.understudy_reply.is_some();
        if by_understudy && let Some(conversation) = meta.conversation {
            let first = self.served.entry(conversation).or_insert(seq);
            *first = (*first).min(seq);
        }
        if meta.asked.is_some() {
            self.asked.extend(meta.conversation);
        }
        let whose = self.task.credential.is_none_or(|c| c == meta.credential);
        if meta.form != Some(self.task.form.hash) || !whose {
            self.elsewhere += 1;
            return;
        }
        self.exchanges += 1;
        *self.providers.entry(meta.provider.clone()).or_default() += 1;
        // One without a conversation is a conversation of its own.
        let member = Member {
            seq,
            exchange: exchange.id,
            conversation: meta.conversation.unwrap_or(ConversationKey(exchange.id.0)),
            // What was drawn for an audit counts, whatever came of it.
            left_over: meta.lane == Lane::Provider && meta.asked.as_ref().is_some_and(|a| !a.audit),
        };
        match self.learnable(&exchange) {
            Ok(group) => self.keep(group, member),
            Err(reason) => {
                let held = split::of(member.conversation, self.rules) == Split::Held;
                self.tally.drop(reason, seq, || (!held).then(|| sample(&exchange, &member)));
            }
        }
    }

    fn learnable(&self, exchange: &Exchange) -> Result<Group, Reason> {
        let (request, choice) = self.reference(exchange)?;
        if request.ineligible.contains(&Ineligible::Media) {
            return Err(Reason::NotText);
        }
        let part = understudy_tasks::part(request, exchange.meta.opening);
        let part = match self.task.framing.frame() {
            Some(frame) => frame.part(&part).ok_or(Reason::OutsideFrame)?,
            None => part,
        };
        if exchange.understudy_reply.is_some() && part.is_multi_turn() {
            return Err(Reason::AfterUnderstudy);
        }
        let reply = written::reply(&self.task.form, choice).map_err(|why| match why {
            Unwritable::NotText => Reason::NotText,
            Unwritable::OffGrammar => Reason::OffGrammar,
        })?;
        let turns = part_alone::turns(&part);
        if turns.iter().all(|(_, t)| t.trim().is_empty()) {
            return Err(Reason::EmptyPart);
        }
        let label = example::label(choice);
        let mut group = Group {
            question: question::asked(&turns),
            label: question::label(&label),
            said: question::label(&label.to_lowercase()),
            class: class(request, choice, &label),
            multi_turn: part.is_multi_turn(),
            turns,
            reply,
            tokens: told::told(choice),
            told_by: 0,
            members: Vec::new(),
        };
        if group.chars() > self.rules.longest {
            return Err(Reason::TooLong);
        }
        group.reply.shrink_to_fit();
        Ok(group)
    }

    /// The provider's own whole answer, if it is one and may be learnt.
    fn reference<'e>(&self, exchange: &'e Exchange) -> Result<(&'e Request, &'e Choice), Reason> {
        let meta = &exchange.meta;
        match &meta.answered_by {
            AnsweredBy::Nobody => return Err(Reason::Failed),
            // Of an audited call the reply is the provider's.
            AnsweredBy::Understudy(_) if exchange.understudy_reply.is_none() => {
                return Err(Reason::Understudy);
            }
            _ => {}
        }
        if !self.rules.permitted.contains_key(&meta.provider) {
            return Err(Reason::NotPermitted);
        }
        if self.rules.flagged.contains(&exchange.id) {
            return Err(Reason::Flagged);
        }
        let error = |r: &Reply| r.error.is_some();
        if !(200..300).contains(&meta.status) || exchange.reply.as_ref().is_some_and(error) {
            return Err(Reason::Failed);
        }
        if meta.truncation != Truncation::Whole {
            return Err(Reason::Truncated);
        }
        let (Some(request), Some(reply)) = (&exchange.request, &exchange.reply) else {
            return Err(Reason::Undecoded);
        };
        let [choice] = reply.choices.as_slice() else {
            return Err(Reason::ManyChoices);
        };
        if !matches!(choice.finish, Some(Finish::Stop | Finish::ToolCalls)) {
            return Err(Reason::Unfinished);
        }
        if !exchange.reply_is_known() {
            return Err(Reason::StandIn);
        }
        Ok((request, choice))
    }

    fn keep(&mut self, mut group: Group, member: Member) {
        self.bytes += size_of::<Member>();
        group.told_by = member.seq;
        match self.groups.entry(question::exact(&group.turns, &group.reply)) {
            Entry::Occupied(mut there) => {
                let there = there.get_mut();
                there.members.push(member);
                // Log-probabilities may have been asked for only later.
                if there.tokens.is_empty() {
                    self.bytes += told::bytes(&group.tokens);
                    there.tokens = group.tokens;
                    there.told_by = group.told_by;
                }
            }
            Entry::Vacant(place) => {
                self.bytes += group.bytes();
                place.insert(group).members.push(member);
            }
        }
        if self.bytes > self.rules.memory {
            self.make_room();
        }
    }

    /// Lets the oldest go until nine tenths of the memory are taken.
    fn make_room(&mut self) {
        let last = |g: &Group| g.members.iter().map(|m| m.seq).max().unwrap_or(0);
        let mut oldest: Vec<(u64, Key)> = self.groups.iter().map(|(k, g)| (last(g), *k)).collect();
        oldest.sort_unstable();
        for (_, key) in oldest {
            if self.bytes <= self.rules.memory / 10 * 9 {
                break;
            }
            let Some(group) = self.groups.remove(&key) else { continue };
            self.bytes = self.bytes.saturating_sub(group.bytes() + group.members.len() * size_of::<Member>());
            for m in &group.members {
                self.tally.drop(Reason::OverMemory, m.seq, || None);
            }
        }
    }

    /// The groups by the place where each was first asked, without later turns of
    /// conversations in which an understudy answered, and without what is no fair
    /// draw of the task's calls where a bar is chosen or a figure measured.
    pub(crate) fn finish(mut self) -> (Vec<Group>, Taken) {
        let mut groups: Vec<Group> = self.groups.drain().map(|(_, group)| group).collect();
        for group in &mut groups {
            group.members.sort_unstable_by_key(|m| m.seq);
            let members = std::mem::take(&mut group.members);
            for m in members {
                match self.too_late(group, &m) {
                    None => group.members.push(m),
                    Some(reason) => {
                        let shown = split::of(m.conversation, self.rules) != Split::Held;
                        self.tally.drop(reason, m.seq, || shown.then(|| group.sample(&m)));
                    }
                }
            }
        }
        groups.retain(|g| !g.members.is_empty());
        groups.sort_unstable_by_key(|g| g.members.first().map(|m| m.seq));
        let taken = Taken {
            tally: self.tally,
            exchanges: self.exchanges,
            elsewhere: self.elsewhere,
            providers: self.providers,
        };
        (groups, taken)
    }

    /// Why a member may not stay where an understudy was at work.
    ///
    /// Of a task that is served the provider answers the calls that its understudy
    /// declined: the hard ones, from which there is most to learn and by which
    /// nobody may be judged. So they are training rows, and no others. It is the
    /// ledger's rule for evidence, and the second round's version would else be
    /// measured on harder calls than the first's was.
    fn too_late(&self, group: &Group, m: &Member) -> Option<Reason> {
        if group.multi_turn && self.served.get(&m.conversation).is_some_and(|first| m.seq > *first) {
            return Some(Reason::AfterUnderstudy);
        }
        let left_over = m.left_over || (group.multi_turn && self.asked.contains(&m.conversation));
        (left_over && split::of(m.conversation, self.rules) != Split::Train).then_some(Reason::LeftOver)
    }
}

/// Counts of what was taken in.
pub(crate) struct Taken {
    pub(crate) tally: Tally,
    pub(crate) exchanges: u64,
    pub(crate) elsewhere: u64,
    pub(crate) providers: HashMap<String, u64>,
}

/// The class of a reply: the tools that it calls or the values that its schema
/// chooses from a list; else its label where that is short.
fn class(request: &Request, choice: &Choice, label: &str) -> String {
    let stratum = example::stratum_in(request, choice);
    if matches!(stratum.as_str(), "json" | "text") && label.chars().count() <= CLASS_CHARS {
        return example::stratum(choice, label);
    }
    stratum
}

fn sample(exchange: &Exchange, member: &Member) -> Sample {
    let asked = exchange
        .request
        .as_ref()
        .and_then(|r| r.turns().last().map(understudy_call::Message::text))
        .unwrap_or_default();
    let reply = exchange.reply.as_ref();
    let answered = match reply.and_then(Reply::first) {
        Some(choice) => example::label(choice),
        None => reply.and_then(|r| r.error.as_ref()).map_or_else(
            || format!("status {}", exchange.meta.status),
            |e| format!("status {}: {}", exchange.meta.status, e.message),
        ),
    };
    Sample::new(member.exchange, member.seq, &asked, &answered)
}
