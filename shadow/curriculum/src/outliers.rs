//! Rows unlike the task's own: far longer, in another script, or in another language.

use std::collections::BTreeMap;

use unicode_script::{Script, UnicodeScript};
use whatlang::Lang;

use crate::part_alone::Turn;

/// Under this many rows there is no telling what is usual.
const LEAST: usize = 50;

/// The least median absolute deviation of ln(length): where all rows are about
/// equally long, one that is a tenth longer is no outlier.
const LEAST_MAD: f64 = 0.1;

/// What makes the median absolute deviation a standard deviation where the
/// values are normal.
const TO_SIGMA: f64 = 1.4826;

/// Letters under which a part says nothing of its script.
const LEAST_LETTERS: usize = 10;

/// Letters under which a part says nothing of its language: in a short one the
/// names of people and places decide.
const LEAST_LETTERS_OF_LANGUAGE: usize = 60;

/// Bytes of a part that its language is told by.
const READ: usize = 1_000;

/// A task of which less is in one script is written in several.
const MAIN: f64 = 0.9;

/// The same of languages. A few in a hundred who write in their own are customers,
/// whose calls will come again; one in a hundred is an accident.
const MAIN_LANGUAGE: f64 = 0.98;

/// The length over which a row is an outlier; `None` where too few rows tell.
pub(crate) fn length_limit(lengths: impl IntoIterator<Item = usize>, deviations: f64) -> Option<f64> {
    let mut logs: Vec<f64> = lengths.into_iter().map(|n| (n.max(1) as f64).ln()).collect();
    if logs.len() < LEAST {
        return None;
    }
    let middle = median(&mut logs)?;
    let mut off: Vec<f64> = logs.iter().map(|x| (x - middle).abs()).collect();
    let mad = median(&mut off)?.max(LEAST_MAD);
    Some((middle + deviations * TO_SIGMA * mad).exp())
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Letters by script.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letters(BTreeMap<&'static str, usize>);

impl Letters {
    /// Of what is said in a part; a tool's result speaks its own language.
    pub(crate) fn of(turns: &[Turn]) -> Self {
        let mut found = Self::default();
        for (role, text) in turns {
            if *role != understudy_call::Role::User {
                continue;
            }
            // Most text is ASCII, which needs no table.
            let latin = text.bytes().filter(u8::is_ascii_alphabetic).count();
            if latin > 0 {
                *found.0.entry("Latin").or_default() += latin;
            }
            for script in text.chars().filter(|c| !c.is_ascii() && c.is_alphabetic()).filter_map(script) {
                *found.0.entry(script).or_default() += 1;
            }
        }
        found
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (script, n) in &other.0 {
            *self.0.entry(script).or_default() += n;
        }
    }

    fn all(&self) -> usize {
        self.0.values().sum()
    }

    /// The script of most letters, and its share.
    pub(crate) fn main(&self) -> Option<(&'static str, f64)> {
        let (script, n) = self.0.iter().max_by_key(|(_, n)| **n)?;
        Some((script, *n as f64 / self.all() as f64))
    }

    /// Whether the task has one script to be unlike.
    pub(crate) fn is_of_one_script(&self) -> bool {
        self.main().is_some_and(|(_, share)| share >= MAIN)
    }

    /// Whether a part of these letters is unlike a task whose script this is.
    pub(crate) fn is_unlike(&self, main: &str, least_share: f64) -> bool {
        let all = self.all();
        let own = self.0.get(main).copied().unwrap_or(0);
        all >= LEAST_LETTERS && (own as f64) < least_share * all as f64
    }
}

/// The script of a letter, by its Unicode property; `None` of those that several
/// share.
fn script(c: char) -> Option<&'static str> {
    match c.script() {
        Script::Common | Script::Inherited | Script::Unknown => None,
        // A Japanese sentence mixes them.
        Script::Han | Script::Hiragana | Script::Katakana => Some("Han and kana"),
        other => Some(other.full_name()),
    }
}

/// The language of what is said in a part, where it is long enough and there is
/// no doubt.
pub(crate) fn language(turns: &[Turn]) -> Option<Lang> {
    let mut said = String::new();
    for (_, text) in turns.iter().filter(|(role, _)| *role == understudy_call::Role::User) {
        let end = text.floor_char_boundary(READ.saturating_sub(said.len()));
        said.push_str(text.get(..end).unwrap_or_default());
        said.push('\n');
        if said.len() >= READ {
            break;
        }
    }
    let found = whatlang::detect(&said).filter(whatlang::Info::is_reliable)?;
    let letters = said.chars().filter(|c| c.is_alphabetic()).count();
    (letters >= LEAST_LETTERS_OF_LANGUAGE).then(|| found.lang())
}

/// The language of most rows that tell theirs, and its share; `None` where too
/// few do.
pub(crate) fn main_language(languages: impl IntoIterator<Item = Lang>) -> Option<(Lang, f64)> {
    let mut found: BTreeMap<&str, (Lang, usize)> = BTreeMap::new();
    for lang in languages {
        found.entry(lang.code()).or_insert((lang, 0)).1 += 1;
    }
    let all: usize = found.values().map(|(_, n)| n).sum();
    let (lang, n) = found.into_values().max_by_key(|(_, n)| *n).filter(|_| all >= LEAST)?;
    Some((lang, n as f64 / all as f64))
}

/// Whether a task of which this share is in one language has one to be unlike.
pub(crate) fn is_of_one_language(share: f64) -> bool {
    share >= MAIN_LANGUAGE
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_call::Role;

    #[test]
    fn a_length_is_far_out_only_by_the_measure_of_its_task() {
        let even: Vec<usize> = (0..100).map(|i| 100 + i % 3).collect();
        let limit = length_limit(even, 6.0).unwrap_or(0.0);
        assert!((200.0..300.0).contains(&limit), "{limit}");
        let wide: Vec<usize> = (0..100).map(|i| 10 << (i % 10)).collect();
        assert!(length_limit(wide, 6.0).unwrap_or(0.0) > 100_000.0);
        assert_eq!(length_limit([1; 49], 6.0), None);
    }

    #[test]
    fn a_script_is_told_by_its_letters() {
        let of = |text: &str| Letters::of(&[(Role::User, text.to_owned())]);
        assert_eq!(of("Spiel etwas Jazz, möglichst älter").main().map(|m| m.0), Some("Latin"));
        assert!(of("Поставь что-нибудь из джаза").is_unlike("Latin", 0.5));
        assert!(of("ジャズを再生してください").is_unlike("Latin", 0.5));
        assert_eq!(of("コーヒーメーカーのスイッチ").main(), Some(("Han and kana", 1.0)));
        assert!(!of("play Дорога by Кино on the kitchen speaker").is_unlike("Latin", 0.5));
        assert!(!of("да").is_unlike("Latin", 0.5), "two letters say nothing");
        assert_eq!(of("한국 음악을 들려주세요").main().map(|m| m.0), Some("Hangul"));
    }

    #[test]
    fn a_language_is_told_only_where_there_is_no_doubt() {
        let of = |text: &str| language(&[(Role::User, text.to_owned())]);
        let german =
            "Bitte sagen Sie mir, wann meine neue Karte endlich ankommt, ich warte schon zwei Wochen";
        assert_eq!(of(german), Some(Lang::Deu));
        let english = "Please tell me whether the payment to my landlord has arrived, I have been waiting for two weeks";
        assert_eq!(of(english), Some(Lang::Eng));
        assert_eq!(of("play Ohne dich by Rammstein"), None, "a title says nothing of the sentence");
        assert_eq!(of("\u{1F600} 12:30 {\"a\": [1, 2]}"), None);
        let tool = [(Role::Tool, german.to_owned()), (Role::User, "go on".to_owned())];
        assert_eq!(language(&tool), None, "a tool's result speaks its own language");
        let long = "ich warte schon zwei Wochen auf meine neue Karte, ä. ".repeat(100);
        assert_eq!(of(&long), Some(Lang::Deu), "cut between two characters");
    }

    #[test]
    fn a_main_language_needs_rows_that_tell_theirs() {
        assert!(main_language([Lang::Eng; 49]).is_none());
        let told = [Lang::Eng; 99].into_iter().chain([Lang::Deu]);
        let (lang, share) = main_language(told).unwrap();
        assert!(lang == Lang::Eng && is_of_one_language(share) && share < 1.0);
        assert!(!is_of_one_language(0.95));
    }
}
