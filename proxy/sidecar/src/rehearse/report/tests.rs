use std::os::unix::fs::symlink;

use super::*;
use crate::failure::Exit;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn no_report_is_written_over_the_calls_or_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("calls.jsonl"), "{}").unwrap();
    fs::hard_link(at("calls.jsonl"), at("same.jsonl")).unwrap();
    symlink(at("calls.jsonl"), at("link.jsonl")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("desk.agent.json"), "{}").unwrap();
    let files = [at("other.jsonl"), at("calls.jsonl"), at("desk.calls.jsonl")];
    for name in [
        "calls.jsonl",
        "folder/../calls.jsonl",
        "same.jsonl",
        "link.jsonl",
        "folder",
        "new/",
        "desk.agent.json",
    ] {
        let why = check(&at(name), &files).unwrap_err();
        assert_eq!(why.exit(), Exit::Usage, "{why}");
        assert!(why.to_string().contains("--report") && why.to_string().contains("name a"), "{why}");
    }
    // Nothing stands for a report that never came, and what is there stays as it is.
    check(&at("verdict.json"), &files).unwrap();
    fs::write(at("older.json"), "older").unwrap();
    check(&at("older.json"), &files).unwrap();
    assert_eq!(fs::read_to_string(at("older.json")).unwrap(), "older");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6);
    let why = check(&at("nowhere/verdict.json"), &files).unwrap_err();
    assert!(why.to_string().contains("nowhere/verdict.json"), "{why}");
    assert_eq!(why.exit(), Exit::Failed);
}

#[test]
fn a_report_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("verdict.json");
    write(&path, "new").unwrap();
    assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("new", 0o600));
    // One that others could read, from before.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    write(&path, "newer").unwrap();
    assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("newer", 0o600));
    // A link goes on leading to its file.
    let link = dir.path().join("latest.json");
    symlink(&path, &link).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    write(&link, "newest").unwrap();
    assert!(link.is_symlink());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap(), "newest");
}
