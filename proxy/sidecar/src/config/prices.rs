//! What models cost, so that savings can be shown in money. List prices are
//! dated and meant to be edited; a model without a price shows tokens only.

use std::collections::BTreeMap;

use serde::Serialize;
use understudy_rehearsal::worker::alike;

use super::kinds;
use super::written::Section;

/// US dollars for a million tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Price {
    /// Of the request.
    pub(crate) input: f64,
    /// Of the request, where the provider had them cached.
    pub(crate) cached: f64,
    /// Of the reply.
    pub(crate) output: f64,
    /// When the price was looked up.
    pub(crate) dated: String,
}

impl Price {
    /// What one call costs.
    pub(crate) fn of(&self, input: u64, cached: u64, output: u64) -> f64 {
        let cached = cached.min(input);
        ((input - cached) as f64 * self.input + cached as f64 * self.cached + output as f64 * self.output)
            / 1e6
    }

    /// What one more token costs: in, of those cached, out. Cached ones are
    /// counted among those in, so their share is what they cost less.
    pub(crate) fn a_token(&self) -> [f64; 3] {
        [self.input, self.cached - self.input, self.output].map(|million| million / 1e6)
    }
}

/// Prices by provider and model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prices(BTreeMap<(String, String), Price>);

/// The providers' public price lists, standard tier, as of the date given.
const LISTED: &[(&str, &str, f64, f64, f64)] = &[
    ("openai", "gpt-5", 1.25, 0.125, 10.0),
    ("openai", "gpt-5-mini", 0.25, 0.025, 2.0),
    ("openai", "gpt-5-nano", 0.05, 0.005, 0.4),
    ("openai", "gpt-4.1", 2.0, 0.5, 8.0),
    ("openai", "gpt-4.1-mini", 0.4, 0.1, 1.6),
    ("openai", "gpt-4.1-nano", 0.1, 0.025, 0.4),
    ("openai", "gpt-4o", 2.5, 1.25, 10.0),
    ("openai", "gpt-4o-mini", 0.15, 0.075, 0.6),
    ("openai", "o3", 2.0, 0.5, 8.0),
    ("openai", "o4-mini", 1.1, 0.275, 4.4),
    ("anthropic", "claude-opus-4", 15.0, 1.5, 75.0),
    ("anthropic", "claude-sonnet-4", 3.0, 0.3, 15.0),
    ("anthropic", "claude-haiku-4-5", 1.0, 0.1, 5.0),
];
const LISTED_ON: &str = "2025-10";

/// The keys of `[providers.NAME.prices.MODEL]`.
const KEYS: &[&str] = &["input", "cached", "output", "dated"];

/// The built-in providers: they make what they serve, so theirs is the list price.
const MAKERS: [&str; 3] = ["openai", "anthropic", "google"];

impl Prices {
    /// The built-in list.
    pub(crate) fn listed() -> Self {
        Self(
            LISTED
                .iter()
                .map(|(provider, model, input, cached, output)| {
                    let price = Price {
                        input: *input,
                        cached: *cached,
                        output: *output,
                        dated: LISTED_ON.to_owned(),
                    };
                    (((*provider).to_owned(), (*model).to_owned()), price)
                })
                .collect(),
        )
    }

    /// The price of a model: its own, or that of the longest listed name of
    /// which it is a dated version (`gpt-4o-2024-08-06` is `gpt-4o`). At a
    /// provider that lists none for it, its maker's, and never another's: what
    /// others take for a model of that name says nothing.
    pub(crate) fn find(&self, provider: &str, model: &str) -> Option<&Price> {
        self.of(model)
            .filter(|((p, _), _)| p == provider || MAKERS.contains(&p.as_str()))
            .max_by_key(|((p, m), _)| (p == provider, m.len(), model.starts_with(m.as_str())))
            .map(|(_, price)| price)
    }

    /// For a limit in money: where the provider is not known by its name, the
    /// dearest that anybody takes for the model.
    pub(crate) fn at_most(&self, provider: &str, model: &str) -> Option<&Price> {
        self.find(provider, model).or_else(|| {
            let all = self.of(model).map(|(_, price)| price);
            all.max_by(|a, b| (a.input + a.output).total_cmp(&(b.input + b.output)))
        })
    }

    fn of(&self, model: &str) -> impl Iterator<Item = (&(String, String), &Price)> {
        self.0.iter().filter(move |((_, m), _)| is_version_of(model, m))
    }

    /// Reads a provider's `prices` into the list. A variable's `gpt_4_1` is the `gpt-4.1`
    /// that is listed.
    pub(super) fn read(&mut self, provider: &str, section: &Section<'_>) {
        for (model, prices) in section.below("prices", KEYS) {
            let price = one(&prices);
            let listed = self.0.keys().find(|(p, m)| p == provider && alike(m) == model);
            let model = listed.map_or(model, |(_, m)| m.clone());
            self.0.insert((provider.to_owned(), model), price);
        }
    }
}

/// Reads one `[providers.NAME.prices.MODEL]`.
pub(super) fn one(section: &Section<'_>) -> Price {
    let dollars = || kinds::number(0.0..=100_000.0);
    let input = section.required("input", dollars(), "US dollars for a million request tokens.");
    let cached = section.optional(
        "cached",
        dollars(),
        "The same for tokens that the provider had cached; without it, the price of `input`.",
    );
    let output = section.required("output", dollars(), "US dollars for a million reply tokens.");
    let dated = section.get(
        "dated",
        kinds::text(),
        "\"unknown\"",
        "When you looked the price up; shown beside savings.",
    );
    Price { input, cached: cached.unwrap_or(input), output, dated }
}

/// Whether a model is the listed one or a dated version of it. What was listed by a
/// variable has `_` for each `-` and `.` of the model's name.
fn is_version_of(model: &str, listed: &str) -> bool {
    match model.split_at_checked(listed.len()) {
        Some((own, rest)) if own == listed || alike(own) == listed => {
            let dated = |r: &str| r == "latest" || r.starts_with(|c: char| c.is_ascii_digit());
            rest.is_empty() || rest.strip_prefix('-').is_some_and(dated)
        }
        _ => false,
    }
}
