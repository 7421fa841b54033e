use super::*;

/// A proxy that says it is this very process.
fn running(serves: Serves) -> Running {
    Running {
        pid: std::process::id(),
        gateway: "127.0.0.1:1".parse().unwrap(),
        admin: "127.0.0.1:1".parse().unwrap(),
        metrics: None,
        prefixes: std::collections::BTreeMap::new(),
        serves,
    }
}

#[test]
fn a_process_that_lives_and_holds_no_lock_is_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let left = serde_json::to_vec(&running(Serves::All)).unwrap();
    fs::write(running_file(dir.path()), &left).unwrap();
    assert_eq!(find_running(dir.path()), None);
    fs::write(lock_file(dir.path()), format!("{}\n", std::process::id())).unwrap();
    assert_eq!(find_running(dir.path()), None);
}

#[test]
fn who_has_the_claim_is_found_once_announced_and_keeps_others_out() {
    let dir = tempfile::tempdir().unwrap();
    // What was left is not taken for what comes.
    fs::write(running_file(dir.path()), serde_json::to_vec(&running(Serves::All)).unwrap()).unwrap();
    let claim = Claim::try_take(dir.path(), Serves::OneCommand).unwrap().unwrap();
    assert!(!running_file(dir.path()).exists());
    let announced = claim.announce(&running(Serves::OneCommand));
    assert_eq!(find_running(dir.path()), Some(running(Serves::OneCommand)));
    assert!(Claim::try_take(dir.path(), Serves::All).unwrap().is_none());
    let said = taken(dir.path());
    assert!(matches!(said, Failure::Running { pid, .. } if pid == std::process::id()), "{said}");
    drop(announced);
    assert_eq!(find_running(dir.path()), None);
    assert!(!running_file(dir.path()).exists());
    assert!(Claim::try_take(dir.path(), Serves::All).unwrap().is_some());
}

#[test]
fn a_proxy_that_ends_is_announced_no_longer_and_keeps_its_folder_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let claim = Claim::try_take(dir.path(), Serves::All).unwrap().unwrap();
    let announced = claim.announce(&running(Serves::All));
    announced.withdraw();
    assert!(!running_file(dir.path()).exists());
    assert!(Claim::try_take(dir.path(), Serves::All).unwrap().is_none());
    drop(announced);
    assert!(Claim::try_take(dir.path(), Serves::All).unwrap().is_some());
}

#[test]
fn a_proxy_that_cannot_say_where_it_is_keeps_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let claim = Claim::try_take(dir.path(), Serves::All).unwrap().unwrap();
    // No file can be put in its place.
    fs::create_dir(running_file(dir.path())).unwrap();
    let announced = claim.announce(&running(Serves::All));
    assert!(Claim::try_take(dir.path(), Serves::All).unwrap().is_none());
    drop(announced);
    assert!(Claim::try_take(dir.path(), Serves::All).unwrap().is_some());
}

#[test]
fn what_an_earlier_version_wrote_serves_all() {
    let text =
        r#"{"pid": 1, "gateway": "127.0.0.1:1", "admin": "127.0.0.1:2", "metrics": null, "prefixes": {}}"#;
    assert_eq!(serde_json::from_str::<Running>(text).unwrap().serves, Serves::All);
}
