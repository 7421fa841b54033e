//! Keys of JSON that say what their value is.

/// Words that announce a telephone number. Each holds a piece that the telephone
/// numbers' quick look at a text asks for.
const PHONES: [&str; 12] = [
    "phone",
    "phones",
    "telephone",
    "telephones",
    "cellphone",
    "homephone",
    "workphone",
    "mobilephone",
    "tel",
    "fax",
    "whatsapp",
    "telefon",
];
/// Words that may announce one, and are as often a place in a table or a kind of device,
/// of which the value is a count.
const MAYBE_PHONES: [&str; 3] = ["mobile", "cell", "handy"];
/// Those that announce one with "number" after them.
const WITH_NUMBER: [&str; 5] = ["contact", "mobil", "mobile", "cell", "handy"];
const NUMBER: [&str; 6] = ["number", "numbers", "nummer", "num", "no", "nr"];

/// Whether the last word of a key announces a telephone number: `phone`, `homePhone`,
/// `mobile_number`, `fax2`.
pub(super) fn names_a_number(key: &str) -> bool {
    let key = without_count(key);
    let before_number = NUMBER.iter().find_map(|word| without(key, word)).map(without_count);
    ends_in(key, &PHONES)
        || before_number.is_some_and(|key| ends_in(key, &PHONES) || ends_in(key, &WITH_NUMBER))
}

/// Whether the last word of a key announces one if its value looks like one.
pub(super) fn may_name_a_number(key: &str) -> bool {
    ends_in(without_count(key), &MAYBE_PHONES)
}

fn ends_in(key: &str, words: &[&str]) -> bool {
    words.iter().any(|word| without(key, word).is_some_and(|before| is_border(before, key)))
}

/// What stands before this word at the end of a key, in capitals or not.
fn without<'k>(key: &'k str, word: &str) -> Option<&'k str> {
    let (before, end) = key.split_at_checked(key.len().checked_sub(word.len())?)?;
    end.eq_ignore_ascii_case(word).then_some(before)
}

fn without_count(key: &str) -> &str {
    key.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '_' | '-' | ' ' | '.'))
}

/// Whether a word begins after this: `hotel` ends in no `tel`, `homeTel` does. An `iPhone`
/// is one word, for a thing that has a price and a serial number.
fn is_border(before: &str, key: &str) -> bool {
    let first = key.get(before.len()..).and_then(|word| word.chars().next());
    let mut back = before.chars().rev();
    let Some(last) = back.next().filter(|c| c.is_alphabetic()) else { return true };
    let is_lone_i = last == 'i' && back.next().is_none_or(|c| !c.is_alphabetic());
    last.is_lowercase() && !is_lone_i && first.is_some_and(char::is_uppercase)
}
