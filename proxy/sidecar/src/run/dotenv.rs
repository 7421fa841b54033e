//! The `.env` files that an agent may read into its environment. What is set already
//! wins over them (python-dotenv's `load_dotenv`, Node's dotenv and `--env-file`), so a
//! variable of ours would silently take the place of the user's.

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Their names, the stronger first: Node's tools let the second one speak only where the
/// first says nothing.
const NAMES: [&str; 2] = [".env.local", ".env"];

/// A file of settings has no business being larger.
const MOST_BYTES: u64 = 1 << 20;

/// The files around the working folder, which the command is going to have too.
pub(super) fn here() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    std::env::current_dir().map(|dir| around(&dir, home.as_deref())).unwrap_or_default()
}

/// Those of a folder and of its parents, the nearest first, up to the root of a
/// repository or the home folder. Pipes are left out: to read one may wait for ever.
fn around(dir: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in dir.ancestors() {
        found.extend(NAMES.map(|name| folder.join(name)).into_iter().filter(|file| file.is_file()));
        if folder.join(".git").exists() || Some(folder) == home {
            break;
        }
    }
    found
}

/// What the nearest of the files that sets a variable says, and which one that is. A file
/// that cannot be read sets nothing.
pub(super) fn find(files: &[PathBuf], name: &str) -> Option<(String, PathBuf)> {
    files.iter().find_map(|file| {
        let text = read(file)?;
        // The last one counts, as it does for those who load it.
        let (_, value) = assignments(&text).into_iter().rfind(|(n, v)| *n == name && !v.is_empty())?;
        Some((value.to_owned(), file.clone()))
    })
}

fn read(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(file).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The names and values of a file's `NAME=value` and `export NAME=value`, in their order;
/// every other line says nothing.
fn assignments(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    while let Some((before, begun)) = rest.split_once('=') {
        // Lines before this one have no `=`.
        let name = name(before.rsplit('\n').next().unwrap_or(before));
        rest = match name {
            Some(name) => {
                let (value, after) = value(begun);
                found.push((name, value));
                after
            }
            // A comment, say, in which a quote is none.
            None => next_line(begun),
        };
    }
    found
}

fn name(text: &str) -> Option<&str> {
    let name = match text.trim().split_once(char::is_whitespace) {
        Some(("export", name)) => name.trim_start(),
        Some(_) => return None,
        None => text.trim(),
    };
    let sound = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    sound.then_some(name)
}

/// A value, and the text after its line.
fn value(begun: &str) -> (&str, &str) {
    quoted(begun.trim_start_matches([' ', '\t'])).unwrap_or_else(|| {
        let line = begun.split_once('\n').map_or(begun, |(line, _)| line);
        (bare(line), next_line(begun))
    })
}

/// One in quotes, which may go on over several lines, as keys in PEM do.
fn quoted(begun: &str) -> Option<(&str, &str)> {
    let quote = begun.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let inner = begun.strip_prefix(quote)?;
    let mut escaped = false;
    let end = inner.find(|c: char| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    let (value, after) = inner.split_at_checked(end)?;
    Some((value, next_line(after)))
}

/// One without quotes, which ends where a comment begins.
fn bare(line: &str) -> &str {
    let line = line.trim();
    let begins = |at: usize| line.get(..at).filter(|b| b.is_empty() || b.ends_with(char::is_whitespace));
    line.match_indices('#').find_map(|(at, _)| begins(at)).unwrap_or(line).trim_end()
}

fn next_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, next)| next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path, name: &str, text: &str) -> PathBuf {
        std::fs::create_dir_all(dir).unwrap();
        let file = dir.join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn names_and_values_are_read_as_those_who_load_the_file_read_them() {
        let text = "\u{feff}A=1\r\n\
                    export B = two words # a comment\n\
                    # it's a comment: X=\"\n\
                    no assignment\n\
                    C='single # and ''\n\
                    D=\"say \\\"so\\\"\" # a comment\n\
                    E=\"-----BEGIN\nF=inside\n-----END\"\n\
                    G=https://corp.test/v1#part\n\
                    H=\n\
                    export export I=1\n\
                    J=\"open\n\
                    A=again";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "single # and "),
            ("D", "say \\\"so\\\""),
            ("E", "-----BEGIN\nF=inside\n-----END"),
            ("G", "https://corp.test/v1#part"),
            ("H", ""),
            ("J", "\"open"),
            ("A", "again"),
        ];
        assert_eq!(assignments(text), expected);
    }

    #[test]
    fn the_nearest_file_that_says_something_counts_up_to_the_repositorys_root() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, root) = (dir.path(), dir.path().join("repository"));
        let agent = root.join("agents/one");
        written(outside, ".env", "OUTSIDE=1\n");
        let far = written(&root, ".env", "A=far\nB=far\nC=far\n");
        let near = written(&agent, ".env", "A=near\nB=old\nB=near\nC=\n");
        let local = written(&agent, ".env.local", "A=local\n");
        std::fs::create_dir(root.join(".git")).unwrap();

        let files = around(&agent, None);
        assert_eq!(files, [local.clone(), near.clone(), far.clone()]);
        assert_eq!(find(&files, "A"), Some(("local".to_owned(), local)));
        assert_eq!(find(&files, "B"), Some(("near".to_owned(), near)));
        assert_eq!(find(&files, "C"), Some(("far".to_owned(), far)));
        assert_eq!(find(&files, "OUTSIDE"), None);
    }

    #[test]
    fn the_home_folder_is_the_last_one_that_is_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        written(dir.path(), ".env", "A=1\n");
        let own = written(&home, ".env", "A=2\n");
        std::fs::create_dir(home.join("work")).unwrap();
        assert_eq!(around(&home.join("work"), Some(&home)), [own]);
    }

    #[test]
    fn what_is_no_file_or_cannot_be_read_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(".git")).unwrap();
        // An environment of Python's may have that name.
        std::fs::create_dir(dir.path().join(".env")).unwrap();
        assert_eq!(around(dir.path(), None), Vec::<PathBuf>::new());
        assert_eq!(find(&[dir.path().join("gone")], "A"), None);
        let odd = dir.path().join("odd");
        std::fs::write(&odd, b"\xff\xfe=\xff\nA=1\n").unwrap();
        assert_eq!(find(std::slice::from_ref(&odd), "A"), Some(("1".to_owned(), odd)));
    }
}
