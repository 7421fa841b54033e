use super::*;
use crate::config;
use crate::state::{Claim, Serves};

/// A configuration whose state folder, key and journal are below this folder.
fn config(home: &Path, more: &str) -> Config {
    fs::create_dir_all(home.join("state/journal")).unwrap();
    fs::write(home.join("state/key"), "secret").unwrap();
    let text = format!("[state]\ndir = {:?}\n{more}", home.join("state").display().to_string());
    config::parse(&text, None, []).unwrap()
}

/// A rehearsal's folder, as it leaves it.
fn rehearsed(dir: &Path) {
    fs::create_dir_all(dir.join("journal/volumes")).unwrap();
    for name in ["given.json", "journal/head"] {
        fs::write(dir.join(name), "{}").unwrap();
    }
}

#[test]
fn what_a_rehearsal_made_goes_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let config = config(home.path(), "");
    let dir = home.path().join("work");
    rehearsed(&dir);
    fs::write(dir.join("calls.jsonl"), "{}").unwrap();
    clear(&dir, &config).unwrap();
    let mut left: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["calls.jsonl"]);
    // Nor is there anything to do where nothing was made.
    clear(&dir, &config).unwrap();
    clear(&home.path().join("not there"), &config).unwrap();
    // Its own folder is known by its name.
    let own = rehearsals(&config).join("0123456789ab");
    rehearsed(&own);
    fs::remove_file(own.join("given.json")).unwrap();
    clear(&own, &config).unwrap();
    assert!(!own.join("journal").exists());
}

#[test]
fn a_folder_with_state_key_or_journal_is_not_cleared() {
    let home = tempfile::tempdir().unwrap();
    let kept = home.path().join("kept");
    rehearsed(&kept.join("live"));
    let text = format!("[capture]\ndir = {:?}\n", kept.join("live/journal").display().to_string());
    let config = config(home.path(), &text);
    rehearsed(home.path());
    rehearsed(&config.state);
    let said = |dir: &Path| clear(dir, &config).unwrap_err().to_string();
    for (dir, what) in [
        (config.state.clone(), "the state folder"),
        (config.state.join("../state"), "the state folder"),
        (home.path().to_path_buf(), "the state folder"),
        (kept.join("live"), "the configured journal"),
    ] {
        let said = said(&dir);
        assert!(said.contains(what) && said.contains("--journal FOLDER"), "{said}");
        assert!(dir.join("journal").exists());
    }
    let by_link = home.path().join("link");
    std::os::unix::fs::symlink(&config.state, &by_link).unwrap();
    assert!(said(&by_link).contains("the state folder"));
    assert_eq!(fs::read_to_string(config.state.join("key")).unwrap(), "secret");
}

#[test]
fn a_folder_that_is_another_ones_is_not_cleared() {
    let home = tempfile::tempdir().unwrap();
    let config = config(home.path(), "");
    let said = |dir: &Path| clear(dir, &config).unwrap_err().to_string();
    // The state folder of another configuration, whose proxy has ended.
    let other = home.path().join("other");
    rehearsed(&other);
    drop(Claim::try_take(&other, Serves::All).unwrap());
    assert!(said(&other).contains("state folder of a proxy"));
    // A journal of which nothing is known.
    let unknown = home.path().join("unknown");
    fs::create_dir_all(unknown.join("journal")).unwrap();
    assert!(said(&unknown).contains("given.json is not there"));
    // A rehearsal that is under way.
    let busy = home.path().join("busy");
    rehearsed(&busy);
    let lock = fs::File::create(busy.join("journal/lock")).unwrap();
    lock.lock().unwrap();
    assert!(said(&busy).contains("has") && said(&busy).contains("open"));
    drop(lock);
    clear(&busy, &config).unwrap();
    for dir in [&other, &unknown] {
        assert!(dir.join("journal").exists());
    }
}
