//! Rows of which something is held, as many as there is room for.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Row;

/// Most candidates, most openings and most forms that have one, of all callers together:
/// some 300 KiB when there are as many of each.
pub(super) const REMEMBERED: usize = 1024;

/// What is held of [`REMEMBERED`] rows: the one that was of use longest ago leaves first.
#[derive(Default)]
pub(super) struct Bounded<V> {
    pub(super) held: HashMap<Row, V>,
    pub(super) order: VecDeque<Row>,
}

impl<V: Default> Bounded<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn get(&self, row: &Row) -> Option<&V> {
        self.held.get(row)
    }

    pub(super) fn holds(&self, row: &Row) -> bool {
        self.held.contains_key(row)
    }

    /// What is held of a row, which is taken in if it is new.
    pub(super) fn hold(&mut self, row: Row) -> &mut V {
        if self.holds(&row) {
            self.used(&row);
        } else {
            if self.order.len() >= REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.held.remove(&oldest);
            }
            self.order.push_back(row);
        }
        self.held.entry(row).or_default()
    }

    pub(super) fn used(&mut self, row: &Row) {
        if self.order.back() != Some(row)
            && let Some(at) = self.order.iter().position(|r| r == row)
        {
            self.order.remove(at);
            self.order.push_back(*row);
        }
    }

    pub(super) fn let_go(&mut self, row: &Row) {
        if self.held.remove(row).is_some() {
            self.order.retain(|r| r != row);
        }
    }
}

impl<V: Serialize> Serialize for Bounded<V> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.order.iter().filter_map(|row| Some((row, self.held.get(row)?))))
    }
}

impl<'de, V: Default + Deserialize<'de>> Deserialize<'de> for Bounded<V> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut all = Self { held: HashMap::new(), order: VecDeque::new() };
        for (row, value) in Vec::<(Row, V)>::deserialize(d)? {
            *all.hold(row) = value;
        }
        Ok(all)
    }
}
