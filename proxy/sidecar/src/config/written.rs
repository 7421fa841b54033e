//! What was written: the file's values and the environment's, before anyone
//! asks what they mean.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use toml::Value;
use understudy_rehearsal::worker::alike;

use super::kinds::Kind;
use super::nearest::{did_you_mean, nearest};

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The key, as `section.key`, or the variable it came from.
    pub(crate) key: String,
    /// The offending value, or empty.
    pub(crate) value: String,
    /// What it should be.
    pub(crate) rule: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}: {}", self.key, self.rule)
        } else {
            write!(f, "{} = {}: {}", self.key, self.value, self.rule)
        }
    }
}

/// Every key, as the document lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyText {
    /// `gateway`, `providers.NAME`, …
    pub(crate) section: String,
    /// The key's own name.
    pub(crate) key: String,
    /// What may be written.
    pub(crate) kind: String,
    /// As it would be written, or `-`.
    pub(crate) default: String,
    /// What it does, and why the default is what it is.
    pub(crate) text: String,
}

/// The file and the environment, and what reading them brought to light.
#[derive(Debug, Default)]
pub(crate) struct Written {
    table: toml::Table,
    env: BTreeMap<String, String>,
    taken: RefCell<BTreeSet<Vec<String>>>,
    env_taken: RefCell<BTreeSet<String>>,
    mistakes: RefCell<Vec<Mistake>>,
    keys: RefCell<Vec<KeyText>>,
}

impl Written {
    /// Reads the text of a file, and the environment's `UNDERSTUDY_…`.
    pub(crate) fn new(
        text: &str,
        origin: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut written = Self {
            env: env.into_iter().filter(|(name, _)| name.starts_with("UNDERSTUDY_")).collect(),
            ..Self::default()
        };
        match text.parse::<toml::Table>() {
            Ok(table) => written.table = table,
            Err(error) => {
                let line = error
                    .span()
                    .map_or(0, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
                let file = origin.map_or_else(|| "the configuration".to_owned(), |p| p.display().to_string());
                written.blame(format!("{file}, line {line}"), String::new(), error.message().to_owned());
            }
        }
        written
    }

    /// Notes a mistake.
    pub(crate) fn blame(&self, key: impl Into<String>, value: impl Into<String>, rule: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake { key: key.into(), value: value.into(), rule: rule.into() });
    }

    /// A section with a fixed name.
    pub(crate) fn section(&self, name: &str) -> Section<'_> {
        Section { written: self, path: vec![name.to_owned()], pattern: name.to_owned() }
    }

    /// The names written under a section whose names are free, from the file
    /// and from variables that end in one of `keys`.
    pub(crate) fn names(&self, section: &str, keys: &[&str]) -> BTreeSet<String> {
        self.names_at(&[section.to_owned()], keys)
    }

    /// The same, wherever the section is. A variable of a name that is in the file means
    /// that one.
    fn names_at(&self, path: &[String], keys: &[&str]) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        match self.find(path) {
            Some(Value::Table(table)) if !table.is_empty() => names.extend(table.keys().cloned()),
            Some(other) => {
                self.taken.borrow_mut().insert(path.to_vec());
                if !other.is_table() {
                    let section = dotted(path);
                    self.blame(&section, show(other), format!("is a section: write [{section}.NAME]"));
                }
            }
            None => {}
        }
        let prefix = format!("{}_", variable(path));
        for name in self.env.keys() {
            let Some(rest) = name.strip_prefix(&prefix) else { continue };
            let own = |key: &&str| rest.strip_suffix(&format!("_{}", key.to_uppercase()));
            let found: Vec<String> =
                keys.iter().filter_map(own).map(str::to_lowercase).filter(|n| !n.is_empty()).collect();
            if names.iter().any(|n| found.contains(&alike(n))) {
                continue;
            }
            // `…_MULTI_TURN_MAX_STAGE` ends in two keys: the longer one is meant.
            names.extend(found.into_iter().min_by_key(String::len));
        }
        names
    }

    /// A section below a free name, such as `providers.openai`.
    pub(crate) fn named(&self, section: &str, name: &str) -> Section<'_> {
        Section {
            written: self,
            path: vec![section.to_owned(), name.to_owned()],
            pattern: format!("{section}.NAME"),
        }
    }

    fn find(&self, path: &[String]) -> Option<&Value> {
        let (last, sections) = path.split_last()?;
        let mut table = &self.table;
        for section in sections {
            table = table.get(section)?.as_table()?;
        }
        table.get(last)
    }

    /// The keys in the order in which they were asked for.
    pub(crate) fn keys(&self) -> Vec<KeyText> {
        self.keys.borrow().clone()
    }

    /// Ends the reading: what nobody asked for is a mistake.
    pub(crate) fn finish(&self) -> Vec<Mistake> {
        self.refuse_unknown_keys();
        self.refuse_unknown_variables();
        self.mistakes.borrow().clone()
    }

    fn refuse_unknown_keys(&self) {
        let taken = self.taken.borrow();
        let keys = self.keys.borrow();
        let sections: BTreeSet<String> =
            keys.iter().filter_map(|k| k.section.split('.').next()).map(str::to_owned).collect();
        let mut leaves = Vec::new();
        walk(&self.table, &mut Vec::new(), &taken, &mut leaves);
        for (path, value) in leaves {
            let Some(first) = path.first() else { continue };
            let shown = dotted(&path);
            if !sections.contains(first) {
                let hint = nearest(first, sections.iter().map(String::as_str));
                self.blame(shown, "", format!("no such section{}", did_you_mean(hint)));
                continue;
            }
            let last = path.last().map_or("", String::as_str);
            let same =
                keys.iter().filter(|k| k.section.split('.').next() == Some(first)).map(|k| k.key.as_str());
            self.blame(shown, show(value), format!("no such key{}", did_you_mean(nearest(last, same))));
        }
    }

    fn refuse_unknown_variables(&self) {
        let taken = self.env_taken.borrow();
        let keys = self.keys.borrow();
        for name in self.env.keys().filter(|n| !taken.contains(*n) && !is_service_link(n)) {
            let of_section = |k: &&KeyText| name.starts_with(&section_variable(k));
            let Some(prefix) = keys.iter().find(of_section).map(section_variable) else {
                // It may be a program's of ours that is no configuration, but a section
                // that is nearly right is a slip.
                let own = name.strip_prefix("UNDERSTUDY_").and_then(|own| own.split_once('_'));
                let (first, rest) = own.unwrap_or_default();
                let sections = keys.iter().filter_map(|k| k.section.split('.').next());
                if let Some(section) = nearest(&first.to_lowercase(), sections) {
                    let meant = format!("UNDERSTUDY_{}_{rest}", section.to_uppercase());
                    self.blame(name, "", format!("no key has this variable{}", did_you_mean(Some(&meant))));
                }
                continue;
            };
            let rest = name.strip_prefix(&prefix).unwrap_or_default().to_lowercase();
            let own = keys.iter().filter(of_section).map(|k| k.key.as_str());
            let hint = nearest(&rest, own).map(|key| format!("{prefix}{}", key.to_uppercase()));
            self.blame(name, "", format!("no key has this variable{}", did_you_mean(hint.as_deref())));
        }
    }

    /// A variable that a key names, whatever it is called.
    pub(crate) fn names_variable(&self, name: &str) {
        self.env_taken.borrow_mut().insert(name.to_owned());
    }

    /// Whether a mistake with this key was noted already.
    pub(crate) fn is_blamed(&self, key: &str) -> bool {
        self.mistakes.borrow().iter().any(|m| m.key == key)
    }
}

/// `UNDERSTUDY_SECTION_`, which all variables of a key's section begin with.
fn section_variable(key: &KeyText) -> String {
    format!("{}_", variable(&key.section.split('.').take(1).map(str::to_owned).collect::<Vec<_>>()))
}

/// Kubernetes puts such variables into every pod for a service that happens
/// to be called `understudy-…`; they are no mistake of the user.
fn is_service_link(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| name.ends_with(end))
        || name.contains("_SERVICE_PORT_")
        || name.split("_PORT_").nth(1).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// One section being read.
pub(crate) struct Section<'a> {
    written: &'a Written,
    path: Vec<String>,
    pattern: String,
}

impl<'a> Section<'a> {
    /// Where it is read from.
    pub(crate) fn written(&self) -> &'a Written {
        self.written
    }

    /// The sections below this one with free names, such as a provider's prices, from the
    /// file and from variables that end in one of `keys`.
    pub(crate) fn below(&self, key: &str, keys: &[&str]) -> Vec<(String, Section<'a>)> {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        let names = self.written.names_at(&path, keys);
        names.into_iter().map(|name| (name.clone(), self.inner(key, &name))).collect()
    }

    /// One such section.
    pub(crate) fn inner(&self, key: &str, name: &str) -> Section<'a> {
        let mut path = self.path.clone();
        path.extend([key.to_owned(), name.to_owned()]);
        Section { written: self.written, path, pattern: format!("{}.{key}.NAME", self.pattern) }
    }

    /// The key's value, or the default (written as in TOML).
    pub(crate) fn get<T: Default>(&self, key: &str, kind: Kind<T>, default: &str, text: &str) -> T {
        self.explain(key, &kind.words, default, text);
        if let Some(found) = self.read(key, &kind) {
            return found;
        }
        let fallback = format!("x = {default}")
            .parse::<toml::Table>()
            .ok()
            .and_then(|t| t.get("x").and_then(&*kind.parse));
        match fallback {
            Some(value) => value,
            None => {
                self.blame(key, default, "the default itself is wrong: please report this");
                T::default()
            }
        }
    }

    /// The key's value where one is written.
    pub(crate) fn optional<T>(&self, key: &str, kind: Kind<T>, text: &str) -> Option<T> {
        self.explain(key, &kind.words, "-", text);
        self.read(key, &kind)
    }

    /// A key that has to be written.
    pub(crate) fn required<T: Default>(&self, key: &str, kind: Kind<T>, text: &str) -> T {
        self.explain(key, &kind.words, "(required)", text);
        let before = self.written.mistakes.borrow().len();
        match self.read(key, &kind) {
            Some(value) => value,
            None => {
                if self.written.mistakes.borrow().len() == before {
                    self.blame(key, "", format!("is required: {}", kind.words));
                }
                T::default()
            }
        }
    }

    /// The value as it was written, whatever it is, with the raw reading of a variable.
    pub(crate) fn raw(&self, key: &str) -> Option<(Vec<Value>, String)> {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        self.written.taken.borrow_mut().insert(path.clone());
        let name = variable(&path);
        if let Some(text) = self.written.env.get(&name) {
            self.written.env_taken.borrow_mut().insert(name.clone());
            return Some((readings(text), name));
        }
        self.written.find(&path).map(|value| (vec![value.clone()], dotted(&path)))
    }

    /// Notes a mistake of this section's key.
    pub(crate) fn blame(&self, key: &str, value: impl Into<String>, rule: impl Into<String>) {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        self.written.blame(dotted(&path), value, rule);
    }

    /// Lists a key in the document.
    pub(crate) fn explain(&self, key: &str, kind: &str, default: &str, text: &str) {
        let entry = KeyText {
            section: self.pattern.clone(),
            key: key.to_owned(),
            kind: kind.to_owned(),
            default: default.to_owned(),
            text: text.to_owned(),
        };
        let mut keys = self.written.keys.borrow_mut();
        if !keys.iter().any(|k| k.section == entry.section && k.key == entry.key) {
            keys.push(entry);
        }
    }

    fn read<T>(&self, key: &str, kind: &Kind<T>) -> Option<T> {
        let (values, origin) = self.raw(key)?;
        if let Some(found) = values.iter().find_map(&*kind.parse) {
            return Some(found);
        }
        let shown = values.last().map(show).unwrap_or_default();
        self.written.blame(origin, shown, format!("must be {}", kind.words));
        None
    }
}

/// The ways in which a variable's text may be meant, the likeliest last in messages.
fn readings(text: &str) -> Vec<Value> {
    let mut readings = Vec::new();
    let toml = |text: String| text.parse::<toml::Table>().ok().and_then(|mut t| t.remove("x"));
    // `0.5` may be a number or a list of one.
    readings.extend([toml(format!("x = {text}")), toml(format!("x = [{text}]"))].into_iter().flatten());
    readings.push(Value::Array(text.split(',').map(|s| Value::String(s.trim().to_owned())).collect()));
    readings.push(Value::String(text.to_owned()));
    readings
}

fn walk<'v>(
    table: &'v toml::Table,
    path: &mut Vec<String>,
    taken: &BTreeSet<Vec<String>>,
    leaves: &mut Vec<(Vec<String>, &'v Value)>,
) {
    for (key, value) in table {
        path.push(key.clone());
        if !taken.contains(path) {
            match value {
                Value::Table(inner) if !inner.is_empty() => walk(inner, path, taken, leaves),
                // A section of which nothing is written: its keys were asked for all the same.
                Value::Table(_) if path.len() == 1 || taken.iter().any(|t| t.starts_with(path)) => {}
                other => leaves.push((path.clone(), other)),
            }
        }
        path.pop();
    }
}

/// `UNDERSTUDY_SECTION_KEY`.
pub(crate) fn variable(path: &[String]) -> String {
    let joined: Vec<String> = path.iter().map(|p| alike(p).to_uppercase()).collect();
    format!("UNDERSTUDY_{}", joined.join("_"))
}

fn dotted(path: &[String]) -> String {
    let quoted: Vec<String> =
        path.iter().map(|p| if p.contains('.') { format!("{p:?}") } else { p.clone() }).collect();
    quoted.join(".")
}

/// A value as it would be written, cut short.
pub(crate) fn show(value: &Value) -> String {
    let text = value.to_string();
    let text = text.trim();
    if text.chars().count() > 80 {
        text.chars().take(77).collect::<String>() + "…"
    } else {
        text.to_owned()
    }
}
