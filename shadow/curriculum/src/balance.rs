//! A cap on the classes of the training rows.

use std::collections::HashMap;

use crate::Rules;

/// Most rows that a class may keep; `None` where there is no cap.
pub(crate) fn most<'a>(classes: impl IntoIterator<Item = &'a str>, rules: &Rules) -> Option<usize> {
    let cap = rules.class_cap?;
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for class in classes {
        *counts.entry(class).or_default() += 1;
    }
    let mut sizes: Vec<usize> = counts.into_values().collect();
    sizes.sort_unstable();
    let median = *sizes.get(sizes.len() / 2)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of rows")]
    let most = (cap.max(0.0) * median as f64).ceil() as usize;
    Some(most.max(rules.class_floor))
}
