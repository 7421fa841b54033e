//! Which texts have to be the same to the letter.

use serde_json::Value;

/// Words in a key that say its value is an id, a path, an amount or an expression.
const EXACT_KEYS: &[&str] = &[
    "id",
    "ids",
    "uuid",
    "key",
    "token",
    "code",
    "path",
    "file",
    "filename",
    "dir",
    "directory",
    "url",
    "uri",
    "email",
    "phone",
    "amount",
    "price",
    "cost",
    "total",
    "number",
    "date",
    "time",
    "iban",
    "account",
    "sku",
    "hash",
    "version",
    "query",
    "sql",
    "regex",
    "command",
    "op",
    "operator",
    "expr",
    "expression",
    "formula",
    "equation",
    "separator",
    "delimiter",
];

/// Whether a string must be the same to the letter: its schema limits it, its
/// key says that it is an id, a path, an amount or an expression, or it looks like one (a
/// digit, a slash, an underscore, an at sign, a leading minus).
pub(super) fn is_exact(key: Option<&str>, schema: Option<&Value>, value: &str) -> bool {
    let limited =
        schema.is_some_and(|s| ["enum", "const", "format", "pattern"].iter().any(|k| s.get(*k).is_some()));
    let key_says = key.is_some_and(|k| {
        let mut word = String::new();
        let mut words = Vec::new();
        for c in k.chars() {
            if c.is_uppercase() || !c.is_alphanumeric() {
                words.push(std::mem::take(&mut word));
            }
            if c.is_alphanumeric() {
                word.extend(c.to_lowercase());
            }
        }
        words.push(word);
        words.iter().any(|w| EXACT_KEYS.contains(&w.as_str()))
    });
    let looks_exact = value.starts_with('-')
        || value
            .chars()
            .any(|c| c.is_ascii_digit() || matches!(c, '/' | '\\' | '_' | '@' | '$' | '€' | '£' | '%'));
    limited || key_says || looks_exact
}
