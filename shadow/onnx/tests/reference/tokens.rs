//! Token ids.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bench::bench;

#[test]
fn smollm2_tokens_are_tiktokens() {
    compare_tokens("smollm2-135m-instruct", &[]);
}

#[test]
fn gemma3_tokens_are_sentencepieces() {
    // A literal ▁ beside spaces is where the tokenizers library and
    // SentencePiece part by design: one matches runs of spaces before, the
    // other after spaces have become ▁.
    compare_tokens("gemma3-270m", &["▁"]);
}

fn compare_tokens(name: &str, without: &[&str]) {
    let bench = match bench(name, "gguf, tiktoken, sentencepiece") {
        Ok(bench) => bench,
        Err(why) => return eprintln!("skipped: tokens of {name}: {why}"),
    };
    let texts = texts(2_000, without);
    let out = bench.work.path().join("ids.json");
    bench.run("tokens.py", &serde_json::to_string(&texts).unwrap(), &[&out]);
    let reference: Vec<Vec<u32>> = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    let tokenizer = bench.tokenizer();
    let mut tokens = 0;
    for (text, expected) in texts.iter().zip(&reference) {
        let encoded = tokenizer.encode(text.as_str(), false).unwrap();
        assert_eq!(encoded.get_ids(), expected, "{text:?}");
        assert_eq!(&tokenizer.decode(encoded.get_ids(), false).unwrap(), text);
        tokens += expected.len();
    }
    eprintln!("{name}: {} texts, {tokens} tokens, every id the reference's", texts.len());
}

/// Pieces that tokenizers stumble over, put together by chance.
fn texts(count: usize, without: &[&str]) -> Vec<String> {
    const PIECES: &[&str] = &[
        "hello",
        " world",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "123",
        " 4567",
        "Ünïcödé",
        "日本語",
        "привет",
        "🙂",
        "👩‍👩‍👧",
        "{\"a\":",
        "[1, 2]",
        "}",
        "'s",
        "don't",
        "I'll",
        " a",
        "A",
        "    return x",
        "ǅ",
        "½",
        "²",
        "٣",
        "\u{a0}",
        "\u{3000}",
        "e\u{301}",
        "https://x.y/z?q=1",
        "$9.99",
        "--",
        "...",
        "_",
        "\u{0}",
        "\u{7f}",
        "ﬀ",
        "ß",
        "🇩🇪",
        "\r\n",
        " \n ",
        "   x",
        "x   ",
        "▁",
        "Ⅷ",
        "call_9fA3",
        "name@example.org",
        "+49 30 1234",
        "2024-03-05T10:00:00Z",
        "¿Qué?",
        "ครับ",
    ];
    const RANGES: &[(u32, u32)] =
        &[(32, 126), (160, 0x2ff), (0x370, 0x5ff), (0x4e00, 0x9fff), (0x1f300, 0x1f6ff)];
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    let pieces: Vec<&str> = PIECES.iter().copied().filter(|p| !without.contains(p)).collect();
    let mut text = |i: usize| -> String {
        let length = chance.random_range(1..=if i.is_multiple_of(4) { 30 } else { 12 });
        (0..length)
            .map(|_| match i % 4 {
                0 => {
                    let (low, high) = RANGES.choose(&mut chance).unwrap();
                    char::from_u32(chance.random_range(*low..=*high)).unwrap().to_string()
                }
                _ => (*pieces.choose(&mut chance).unwrap()).to_owned(),
            })
            .collect()
    };
    (0..count).map(&mut text).collect()
}
