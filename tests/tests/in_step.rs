//! What stands in two places is the same in both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

#[test]
fn the_scripts_have_one_cache_folder() {
    let rule = "${UNDERSTUDY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/understudy}";
    for script in ["scripts/env.sh", "scripts/onnxruntime.sh"] {
        assert!(read(script).contains(rule), "{script} keeps things elsewhere");
    }
}

#[test]
fn the_binaries_that_the_readme_of_the_tests_names_are_there() {
    let text = read("tests/README.md");
    let named: Vec<&str> = text.split("bin `").skip(1).filter_map(|rest| rest.split('`').next()).collect();
    assert!(!named.is_empty());
    for name in named {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin").join(format!("{name}.rs"));
        assert!(file.exists(), "there is no {name}");
    }
}
