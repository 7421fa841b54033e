//! What a remote spends, by the day.
//!
//! A budget of a day is one, however often the process is started within it: what
//! was spent is written down ahead, a sixty-fourth of the budget at a time, so that
//! few calls wait for a disk and none is forgotten. A start takes what was written
//! for spent, at most a sixty-fourth too much.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use understudy_call::Usage;

/// Parts of a budget that are written down at once.
const PARTS: u32 = 64;

/// What a remote may spend in a day. `None` is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Budget {
    /// Tokens, both ways.
    pub tokens_per_day: Option<u64>,
    /// Money, in the currency of the prices.
    pub money_per_day: Option<f64>,
    /// Price of a million tokens of prompt.
    pub input_price: f64,
    /// Price of a million tokens of reply.
    pub output_price: f64,
}

/// Counts what a remote spends; passed in, as time is.
pub trait Meter: Send + Sync {
    /// Charges what a call is expected to take; `None` where nothing is left.
    fn try_charge(&self, expected: Usage) -> Option<Charge>;
    /// Puts what the call took in the place of what was charged for it. A charge
    /// that is never settled stays.
    fn settle(&self, charge: Charge, took: Usage);
}

/// What was charged for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// The day whose budget it is on.
    pub day: u64,
    /// What the call is expected to take.
    pub expected: Usage,
}

/// What was spent on a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// The day's number.
    pub day: u64,
    /// Tokens, both ways.
    pub tokens: u64,
    /// Money, in the currency of the prices.
    pub money: f64,
}

/// Which day it is, and what was written down of it. A function that numbers the
/// days is one that writes nothing down.
pub trait Books: Send + Sync {
    /// The day's number.
    fn today(&self) -> u64;
    /// What was written down last of a remote.
    fn read(&self, _remote: &str) -> Option<Spent> {
        None
    }
    /// Writes down what was spent; false where it cannot, and then nothing more is spent.
    fn write(&self, _remote: &str, _spent: Spent) -> bool {
        true
    }
}

impl<F: Fn() -> u64 + Send + Sync> Books for F {
    fn today(&self) -> u64 {
        self()
    }
}

/// A [`Meter`] over the days of some [`Books`].
pub struct DailyMeter {
    remote: String,
    budget: Budget,
    books: Arc<dyn Books>,
    account: Mutex<Account>,
}

struct Account {
    spent: Spent,
    /// What is written down, which is not less.
    written: Spent,
}

impl fmt::Debug for DailyMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { remote, budget, .. } = self;
        f.debug_struct("DailyMeter").field("remote", remote).field("budget", budget).finish_non_exhaustive()
    }
}

impl DailyMeter {
    /// A remote's meter, which goes on from what was written down.
    pub fn new(remote: &str, budget: Budget, books: Arc<dyn Books>) -> Self {
        let written = books.read(remote).unwrap_or_default();
        let account = Mutex::new(Account { spent: written, written });
        Self { remote: remote.to_owned(), budget, books, account }
    }

    /// Reads or changes today's account.
    fn of_today<T>(&self, see: impl FnOnce(&mut Account) -> T) -> T {
        let day = self.books.today();
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        if account.spent.day != day {
            let nothing = Spent { day, ..Spent::default() };
            *account = Account { spent: nothing, written: nothing };
        }
        see(&mut account)
    }

    /// Tokens and money.
    fn cost(&self, usage: Usage) -> (u64, f64) {
        let money = usage.input_tokens as f64 * self.budget.input_price
            + usage.output_tokens as f64 * self.budget.output_price;
        (usage.input_tokens.saturating_add(usage.output_tokens), money / 1e6)
    }

    fn is_left(&self, spent: &Spent) -> bool {
        self.budget.tokens_per_day.is_none_or(|most| spent.tokens < most)
            && self.budget.money_per_day.is_none_or(|most| spent.money < most)
    }

    /// Sees to it that what is spent is written down, where there is a limit to keep.
    fn write_down(&self, account: &mut Account) -> bool {
        let Account { spent, written } = *account;
        let is_over = (self.budget.tokens_per_day.is_some() && spent.tokens > written.tokens)
            || (self.budget.money_per_day.is_some() && spent.money > written.money);
        if !is_over {
            return true;
        }
        let tokens = self.budget.tokens_per_day.unwrap_or_default() / u64::from(PARTS);
        let money = self.budget.money_per_day.unwrap_or_default() / f64::from(PARTS);
        let next =
            Spent { day: spent.day, tokens: spent.tokens.saturating_add(tokens), money: spent.money + money };
        let is_kept = self.books.write(&self.remote, next);
        if is_kept {
            account.written = next;
        }
        is_kept
    }
}

impl Meter for DailyMeter {
    fn try_charge(&self, expected: Usage) -> Option<Charge> {
        let (tokens, money) = self.cost(expected);
        self.of_today(|account| {
            if !self.is_left(&account.spent) {
                return None;
            }
            let before = account.spent;
            account.spent.tokens = before.tokens.saturating_add(tokens);
            account.spent.money += money;
            if self.write_down(account) {
                return Some(Charge { day: before.day, expected });
            }
            account.spent = before;
            None
        })
    }

    fn settle(&self, charge: Charge, took: Usage) {
        let ((tokens, money), (took_tokens, took_money)) = (self.cost(charge.expected), self.cost(took));
        self.of_today(|account| {
            // The account of another day is closed.
            if account.spent.day == charge.day {
                let spent = &mut account.spent;
                spent.tokens = spent.tokens.saturating_sub(tokens).saturating_add(took_tokens);
                spent.money = (spent.money - money + took_money).max(0.0);
                // Where it cannot, the next charge will say so.
                let _ = self.write_down(account);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, ..Usage::default() }
    }

    /// Books of which a test turns the pages.
    #[derive(Default)]
    struct Paper {
        day: AtomicU64,
        written: Mutex<Vec<Spent>>,
        is_full: AtomicBool,
    }

    impl Books for Paper {
        fn today(&self) -> u64 {
            self.day.load(Ordering::Relaxed)
        }

        fn read(&self, _: &str) -> Option<Spent> {
            self.written.lock().unwrap().last().copied()
        }

        fn write(&self, _: &str, spent: Spent) -> bool {
            let is_full = self.is_full.load(Ordering::Relaxed);
            if !is_full {
                self.written.lock().unwrap().push(spent);
            }
            !is_full
        }
    }

    fn meter(budget: Budget, paper: &Arc<Paper>) -> DailyMeter {
        DailyMeter::new("small", budget, Arc::<Paper>::clone(paper))
    }

    #[test]
    fn a_budget_is_spent_and_comes_back_the_next_day() {
        let paper = Arc::new(Paper::default());
        let budget =
            Budget { money_per_day: Some(1.0), input_price: 1.0, output_price: 4.0, ..Budget::default() };
        let meter = meter(budget, &paper);
        let charge = meter.try_charge(usage(200_000, 200_000)).unwrap();
        assert!(meter.try_charge(usage(1, 1)).is_none());
        paper.day.store(8, Ordering::Relaxed);
        // What was charged yesterday is settled with yesterday.
        meter.settle(charge, usage(1_000_000, 1_000_000));
        assert!(meter.try_charge(usage(1, 1)).is_some());
    }

    #[test]
    fn a_call_in_flight_is_spent_until_it_is_settled() {
        let budget = Budget { tokens_per_day: Some(1_000), ..Budget::default() };
        let meter = DailyMeter::new("small", budget, Arc::new(|| 7));
        let charge = meter.try_charge(usage(100, 900)).unwrap();
        assert!(meter.try_charge(usage(1, 1)).is_none(), "the other call may take all of it");
        meter.settle(charge, usage(100, 10));
        let more = meter.try_charge(usage(100, 900)).unwrap();
        assert!(meter.try_charge(usage(1, 1)).is_none());
        meter.settle(more, Usage::default());
        assert!(meter.try_charge(usage(1, 1)).is_some());
    }

    #[test]
    fn a_restart_does_not_make_a_budget_anew() {
        let paper = Arc::new(Paper::default());
        let budget = Budget { tokens_per_day: Some(64_000), ..Budget::default() };
        let mut spent = 0;
        // A process that ends after every hundredth call.
        'day: loop {
            let meter = meter(budget, &paper);
            for _ in 0..100 {
                let Some(charge) = meter.try_charge(usage(10, 100)) else { break 'day };
                meter.settle(charge, usage(10, 10));
                spent += 20;
            }
        }
        assert!((32_000..=64_000).contains(&spent), "{spent}");
        let writes = paper.written.lock().unwrap().len();
        assert!(writes <= 70, "{writes} writes for {} calls", spent / 20);
        paper.day.store(1, Ordering::Relaxed);
        assert!(meter(budget, &paper).try_charge(usage(10, 100)).is_some(), "a new day");
    }

    #[test]
    fn what_cannot_be_written_down_is_not_spent() {
        let paper = Arc::new(Paper::default());
        paper.is_full.store(true, Ordering::Relaxed);
        let limited = meter(Budget { tokens_per_day: Some(1_000), ..Budget::default() }, &paper);
        assert!(limited.try_charge(usage(1, 1)).is_none());
        let unlimited = meter(Budget::default(), &paper);
        assert!(unlimited.try_charge(usage(1, 1)).is_some());
        paper.is_full.store(false, Ordering::Relaxed);
        let charge = limited.try_charge(usage(1, 1)).unwrap();
        assert_eq!(charge.expected, usage(1, 1));
    }
}
