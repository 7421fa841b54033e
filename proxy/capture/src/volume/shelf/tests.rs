use super::*;
use crate::FileKey;

#[test]
fn a_folder_that_is_away_for_a_while_costs_no_volume() {
    let dir = tempfile::tempdir().unwrap();
    let (root, elsewhere) = (dir.path().join("journal"), dir.path().join("elsewhere"));
    let vault = Arc::new(FileKey::from_bytes(&[4; 32]).unwrap());
    let shelf = Shelf::open(&root, 0, vault, Arc::default()).unwrap();
    drop(shelf.begin(1).unwrap());
    drop(shelf.begin(9).unwrap());
    fs::rename(&root, &elsewhere).unwrap();
    for seq in [1, 9] {
        assert!(matches!(shelf.find(seq), Err(JournalError::Io { .. })));
    }
    assert_eq!(shelf.firsts(), [9, 1]);
    fs::rename(&elsewhere, &root).unwrap();
    for seq in [1, 9] {
        assert!(matches!(shelf.find(seq), Ok(Place::In { .. })));
    }
}

#[test]
fn who_asks_for_the_size_does_not_wait_for_who_works_on_the_row() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Arc::new(FileKey::from_bytes(&[4; 32]).unwrap());
    let shelf = Shelf::open(dir.path(), 0, vault, Arc::default()).unwrap();
    let _volume = shelf.begin(1).unwrap();
    let seen = shelf.size();
    assert_eq!(seen.0, 1);
    let row = lock(&shelf.row);
    assert_eq!(shelf.size(), seen);
    drop(row);
    assert_eq!(shelf.size().0, 1);
}

/// What is on the disk of volumes that begin at these numbers, with `DB` for a database.
fn laid_out(root: &Path, firsts: &[u64]) {
    fs::create_dir_all(root.join("keys")).unwrap();
    for first in firsts {
        let name = VolumeName::new(*first).unwrap();
        let volume = root.join("volumes").join(name.as_str());
        fs::create_dir_all(&volume).unwrap();
        fs::write(volume.join("db"), DB).unwrap();
        fs::write(root.join("keys").join(name.as_str()), "keys").unwrap();
    }
}

const DB: &str = "a database";

fn opened(root: &Path, floor: u64) -> Shelf {
    let vault = Arc::new(FileKey::from_bytes(&[4; 32]).unwrap());
    Shelf::open(root, floor, vault, Arc::default()).unwrap()
}

/// Where the volumes in this folder begin.
fn firsts_in(root: &Path, folder: &str) -> Vec<u64> {
    names_in(&root.join(folder)).unwrap().iter().map(|name| name.first).collect()
}

#[test]
fn the_new_floor_is_promised_before_anything_goes() {
    let dir = tempfile::tempdir().unwrap();
    laid_out(dir.path(), &[1, 5, 9]);
    let shelf = opened(dir.path(), 0);
    let on_disk = || (firsts_in(dir.path(), "volumes"), firsts_in(dir.path(), "keys"));
    let all = vec![1, 5, 9];
    let keep = 2 * DB.len() as u64;
    assert!(shelf.retire(keep, |_| Err(JournalError::Closed)).is_err());
    assert_eq!((on_disk(), shelf.firsts()), ((all.clone(), all.clone()), vec![9, 5, 1]));
    let promise = |floor: u64| {
        assert_eq!((floor, on_disk()), (5, (all.clone(), all.clone())));
        Ok(())
    };
    assert_eq!(shelf.retire(keep, promise).unwrap(), 5);
    assert_eq!((on_disk(), shelf.firsts()), ((vec![5, 9], vec![5, 9]), vec![9, 5]));
    // Nothing is promised where nothing goes, and the newest never does.
    assert_eq!(shelf.retire(keep, |_| Err(JournalError::Closed)).unwrap(), 5);
    assert_eq!(shelf.retire(0, |_| Ok(())).unwrap(), 9);
    assert_eq!(shelf.firsts(), [9]);
}

#[test]
fn a_retirement_that_was_cut_short_is_ended_when_the_shelf_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    laid_out(root, &[1, 5, 9, 13]);
    // The floor was 9: of the first the keys are gone, of the second all but the keys.
    let names = names_in(&root.join("volumes")).unwrap();
    fs::remove_file(root.join("keys").join(names[0].as_str())).unwrap();
    fs::remove_dir_all(root.join("volumes").join(names[1].as_str())).unwrap();
    let shelf = opened(root, 9);
    assert_eq!(shelf.firsts(), [13, 9]);
    for folder in ["volumes", "keys"] {
        assert_eq!(firsts_in(root, folder), [9, 13]);
    }
    assert!(matches!(shelf.find(2), Ok(Place::Nowhere { until: Some(9), why: GapWhy::Retired })));
    // The newest stays, whatever the floor says.
    assert_eq!(opened(root, 99).firsts(), [13]);
}
