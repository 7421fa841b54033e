use std::collections::VecDeque;

/// What was made of the last `N` things that came. The calls of an agent bring the same
/// tools and the same system text each time, and what was made of them once can be used
/// again. The one that was not of use for longest is the first to be forgotten.
#[derive(Debug)]
pub struct Latest<T, const N: usize>(VecDeque<T>);

impl<T, const N: usize> Latest<T, N> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// The one that fits.
    pub fn find(&mut self, fits: impl FnMut(&T) -> bool) -> Option<&T> {
        let at = self.0.iter().position(fits)?;
        if at > 0 {
            let found = self.0.remove(at)?;
            self.0.push_front(found);
        }
        self.0.front()
    }

    /// How many it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it remembers nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Remembers one.
    pub fn keep(&mut self, one: T) {
        self.0.truncate(N.saturating_sub(1));
        self.0.push_front(one);
    }
}

impl<T, const N: usize> Default for Latest<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_not_of_use_for_longest_is_forgotten() {
        let mut latest: Latest<u32, 3> = Latest::new();
        for n in 1..=3 {
            latest.keep(n);
        }
        assert_eq!(latest.find(|n| *n == 1), Some(&1));
        latest.keep(4);
        assert_eq!(latest.find(|n| *n == 2), None);
        assert_eq!((latest.len(), latest.is_empty()), (3, false));
        for n in [1, 3, 4] {
            assert_eq!(latest.find(|known| *known == n), Some(&n));
        }
    }
}
