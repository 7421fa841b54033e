//! The crates' edges against the order that docs/design.md draws.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The order as the design page has it: a block of lines between two marks,
/// from the top down; crates on one line never see each other.
fn written_order() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/design.md");
    let text = std::fs::read_to_string(page).unwrap();
    let block = text
        .split("<!-- order -->")
        .nth(1)
        .expect("docs/design.md has the order between two <!-- order --> marks")
        .to_owned();
    block
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with("```"))
        .map(|l| l.split('│').map(|c| c.trim().to_owned()).collect())
        .collect()
}

fn edges() -> BTreeMap<String, Vec<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let short = |name: &str| match name {
        "understudy" => "sidecar".to_owned(),
        other => other.trim_start_matches("understudy-").to_owned(),
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            let uses = p["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|d| d["kind"].is_null())
                .map(|d| d["name"].as_str().unwrap())
                .filter(|n| n.starts_with("understudy"))
                .map(short)
                .collect();
            (short(p["name"].as_str().unwrap()), uses)
        })
        .collect()
}

#[test]
fn every_crate_uses_only_crates_below_it() {
    let order = written_order();
    let row = |name: &str| order.iter().position(|line| line.iter().any(|c| c == name));
    let mut wrong = Vec::new();
    for (name, uses) in edges() {
        let Some(own) = row(&name) else {
            wrong.push(format!("{name} is not in the order of docs/design.md"));
            continue;
        };
        for other in uses {
            match row(&other) {
                Some(theirs) if theirs > own => {}
                _ => wrong.push(format!("{name} uses {other}, which is not below it")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_folder_is_its_crates_last_word() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let folder = folder.file_name().unwrap().to_str().unwrap();
        let name = package["name"].as_str().unwrap();
        let wanted =
            if folder == "sidecar" { "understudy".to_owned() } else { format!("understudy-{folder}") };
        assert_eq!(name, wanted);
    }
}
