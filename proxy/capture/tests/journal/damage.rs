//! Damage to the files of a journal: nothing panics, no record is served under
//! another's number or changed, and every loss is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use understudy_capture::{GapWhy, Record};

use super::{call, files_under, noise, open};

/// Drawn from a fixed seed, so that a failure comes again.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

fn copy(from: &Path, to: &Path) {
    for file in files_under(from) {
        let at = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::copy(&file, at).unwrap();
    }
}

fn mutate(dir: &Path, draw: &mut Draw) -> String {
    let of = |part: &str| -> Vec<PathBuf> {
        let mut all: Vec<_> =
            files_under(&dir.join(part)).into_iter().filter(|f| fs::metadata(f).unwrap().len() > 0).collect();
        all.sort();
        all
    };
    let dbs: Vec<_> = of("volumes").into_iter().filter(|f| f.ends_with("db")).collect();
    let any = if draw.below(5) == 0 { [of("volumes"), of("keys")].concat() } else { dbs.clone() };
    let file = &any[draw.below(any.len() as u64) as usize];
    let mut bytes = fs::read(file).unwrap();
    let len = bytes.len() as u64;
    let at = draw.below(len) as usize;
    let what = match draw.below(7) {
        0 | 1 => {
            bytes[at] ^= 1 << draw.below(8);
            "a flipped bit"
        }
        2 => {
            bytes.truncate(at);
            "a cut"
        }
        3 => {
            let end = (at + 4096).min(bytes.len());
            bytes[at..end].fill(0);
            "a zeroed page"
        }
        4 => {
            let end = (at + 64).min(bytes.len());
            bytes[at..end].iter_mut().for_each(|b| *b = draw.below(256) as u8);
            "noise"
        }
        5 => {
            bytes = fs::read(&dbs[draw.below(dbs.len() as u64) as usize]).unwrap();
            "another volume's database"
        }
        _ => {
            fs::remove_file(file).unwrap();
            return format!("{} removed", file.display());
        }
    };
    fs::write(file, bytes).unwrap();
    format!("{what} at {at} of {len} in {}", file.display())
}

#[test]
fn damage_is_no_panic_no_wrong_record_and_every_loss_is_told() {
    const MUTATIONS: u64 = 120;
    let dir = tempfile::tempdir().unwrap();
    let sound = dir.path().join("sound");
    let mut expected = BTreeMap::new();
    {
        let j = open(&sound);
        for n in 0..150 {
            let _ = j.offer(call(n, &noise(n, [300, 3_000, 30_000][(n % 3) as usize])));
            if n % 10 == 9 {
                j.append(vec![]).unwrap();
            }
        }
        j.append(vec![Record::Note { kind: "last".into(), json: 1.into() }]).unwrap();
        let mut c = j.cursor(1);
        while let Some((seq, r)) = c.next().unwrap() {
            expected.insert(seq, r);
        }
        assert!(j.stats().volumes > 2);
        j.close();
    }
    // sled's panics are caught; that they are not printed a hundred times is for the reader.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut found = Vec::new();
    let mut draw = Draw(42);
    let mut lossy = 0;
    for round in 0..MUTATIONS {
        let hurt = dir.path().join(format!("hurt-{round}"));
        copy(&sound, &hurt);
        let what = mutate(&hurt, &mut draw);
        if let Err(problem) = check(&hurt, &expected, &mut lossy) {
            found.push(format!("round {round}, {what}: {problem}"));
        }
        fs::remove_dir_all(&hurt).unwrap();
    }
    std::panic::set_hook(usual);
    assert!(found.is_empty(), "{found:#?}");
    assert!(lossy > 10, "the mutations hurt: {lossy}");
}

fn check(dir: &Path, expected: &BTreeMap<u64, Record>, lossy: &mut u32) -> Result<(), String> {
    let last = *expected.keys().last().unwrap();
    let j = std::panic::catch_unwind(|| open(dir)).map_err(|_| "open panicked")?;
    j.append(vec![Record::Note { kind: "after".into(), json: 2.into() }])
        .map_err(|e| format!("append: {e}"))?;
    let mut cursor = j.cursor(1);
    let mut served = 0;
    let mut after = false;
    loop {
        match cursor.next() {
            Ok(None) => break,
            Ok(Some((seq, record))) if seq <= last => {
                served += 1;
                if expected.get(&seq) != Some(&record) {
                    return Err(format!("a wrong record at {seq}"));
                }
            }
            Ok(Some((_, Record::Note { kind, .. }))) => after |= kind == "after",
            Ok(Some(_)) => {}
            Err(e) => return Err(format!("cursor: {e}")),
        }
    }
    let told: u64 = cursor
        .gaps()
        .iter()
        .filter(|g| g.why != GapWhy::Retired && g.from <= last)
        .map(|g| g.to.min(last) - g.from + 1)
        .sum();
    let missing = expected.len() as u64 - served;
    *lossy += u32::from(missing > 0);
    if told != missing {
        return Err(format!("{missing} missing, {told} told: {:?}", cursor.gaps()));
    }
    if j.stats().lost < missing {
        return Err(format!("{missing} missing, {} counted", j.stats().lost));
    }
    if !after {
        return Err("what was written after the damage is not there".into());
    }
    Ok(())
}
