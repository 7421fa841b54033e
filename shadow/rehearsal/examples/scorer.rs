//! Prints each scorer's false accepts and false rejects on the minimal pairs.
use std::collections::BTreeMap;

use understudy_rehearsal::{pairs, score};

#[expect(clippy::print_stdout, reason = "an example prints")]
fn main() {
    let mut table: BTreeMap<&str, [u32; 4]> = BTreeMap::new();
    for pair in pairs::pairs() {
        let got = score::compare(&pair.request, &pair.reference, &pair.answer);
        let [same, false_reject, other, false_accept] = table.entry(pair.scorer).or_default();
        match (pair.should_agree, got.agrees) {
            (true, true) => *same += 1,
            (true, false) => *false_reject += 1,
            (false, false) => *other += 1,
            (false, true) => *false_accept += 1,
        }
        if pair.should_agree != got.agrees {
            println!("  wrong: {} / {}: {:?}", pair.scorer, pair.kind, got.why);
        }
    }
    println!("{:<8} {:>6} {:>14} {:>14}", "scorer", "pairs", "false accepts", "false rejects");
    for (scorer, [same, false_reject, other, false_accept]) in table {
        println!(
            "{scorer:<8} {:>6} {:>14} {:>14}",
            same + false_reject + other + false_accept,
            format!("{false_accept} of {}", other + false_accept),
            format!("{false_reject} of {}", same + false_reject),
        );
    }
}
