//! Folders that keep the contract, and every way not to.
use std::fs;

use super::*;

const GENAI: &str = r#"{"model": {"type": "llama", "context_length": 64, "vocab_size": 32,
  "eos_token_id": [2, 3], "bos_token_id": 1,
  "decoder": {"filename": "model.onnx", "head_size": 8, "num_hidden_layers": 2,
              "num_key_value_heads": 1}}}"#;

fn folder(licence: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files = [("model.onnx", "graph"), ("tokenizer.json", "{}"), ("genai_config.json", GENAI)];
    let mut manifest = format!("name = \"tiny\"\nkind = \"generator\"\n{licence}\n[files]\n");
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
        let hash = sha256_file(&dir.path().join(name)).unwrap();
        manifest += &format!("{name:?} = {hash:?}\n");
    }
    fs::write(dir.path().join(MANIFEST), manifest).unwrap();
    dir
}

const FREE: &str = "[licence]\nname = \"MIT\"\ncommercial = \"allowed\"";

#[test]
fn a_whole_folder_opens_and_checks() {
    let dir = folder(FREE);
    let model = ModelFolder::open(dir.path()).unwrap();
    model.check().unwrap();
    let genai = model.genai().unwrap();
    assert_eq!((genai.layers, genai.eos_tokens.as_slice()), (2, [2, 3].as_slice()));
    assert_eq!(genai.past_keys, "past_key_values.%d.key");
    assert_eq!(model.hash().len(), 64);
    assert_eq!(model.chat_template().unwrap(), None);
}

#[test]
fn a_changed_byte_is_named_with_both_hashes() {
    let dir = folder(FREE);
    fs::write(dir.path().join("model.onnx"), "graph!").unwrap();
    let error = ModelFolder::open(dir.path()).unwrap().check().unwrap_err();
    assert!(matches!(&error, ContractError::WrongHash { path, .. } if path.ends_with("model.onnx")));
    assert!(error.to_string().contains("pull or copy the model again"));
}

#[test]
fn a_missing_file_is_named() {
    let dir = folder(FREE);
    fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    let error = ModelFolder::open(dir.path()).unwrap_err();
    assert!(matches!(&error, ContractError::MissingFile(p) if p.ends_with("tokenizer.json")));
}

#[test]
fn a_hub_folder_says_what_to_write() {
    let dir = folder(FREE);
    fs::remove_file(dir.path().join(MANIFEST)).unwrap();
    let error = ModelFolder::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("has no understudy.toml: write one"), "{error}");
}

#[test]
fn no_licence_is_refused() {
    assert!(matches!(ModelFolder::open(folder("").path()), Err(ContractError::NoLicence(_))));
}

#[test]
fn a_non_commercial_licence_needs_the_users_word() {
    let dir = folder("[licence]\nname = \"CC-BY-NC-4.0\"\ncommercial = \"forbidden\"");
    let error = ModelFolder::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("CC-BY-NC-4.0"), "{error}");
    ModelFolder::open_with(dir.path(), NonCommercial::Allowed).unwrap();
}

#[test]
fn names_cannot_lead_out_of_the_folder() {
    let dir = folder(FREE);
    for name in ["../outside", "/etc/hostname", ""] {
        let path = dir.path().join(MANIFEST);
        let text = format!("{}{name:?} = \"00\"\n", fs::read_to_string(&path).unwrap());
        fs::write(&path, text).unwrap();
        assert!(matches!(ModelFolder::open(dir.path()), Err(ContractError::OutsideName { .. })));
    }
}

#[test]
fn a_graph_without_a_hash_is_refused() {
    let dir = folder(FREE);
    fs::write(dir.path().join("model.onnx.data"), "weights").unwrap();
    let error = ModelFolder::open(dir.path()).unwrap_err();
    assert!(matches!(&error, ContractError::Unpinned { file, .. } if file == "model.onnx.data"));
}

#[test]
fn a_broken_manifest_names_file_and_place() {
    let dir = folder(FREE);
    fs::write(dir.path().join(MANIFEST), "name = \"x\"\nkindness = 3\n").unwrap();
    let error = ModelFolder::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains(MANIFEST) && error.contains("kindness"), "{error}");
}

#[test]
fn an_embedding_that_cannot_be_made_is_refused_by_name() {
    let refused = |pooling: &str, tokens: u32| {
        let dir = folder(&format!(
            "{FREE}\n[embedding]\ndimensions = 8\npooling = {pooling:?}\nnormalise = true\nmax_tokens = {tokens}"
        ));
        ModelFolder::open(dir.path()).err().map(|e| e.to_string())
    };
    assert_eq!(refused("mean", 256), None);
    assert_eq!(refused("first", 512), None);
    let why = refused("max", 256).unwrap();
    assert!(why.contains("max") && why.contains("mean") && why.contains("first"), "{why}");
    for tokens in [0, 7] {
        let why = refused("mean", tokens).unwrap();
        assert!(why.contains(&format!("max_tokens is {tokens}")) && why.contains(MANIFEST), "{why}");
    }
}
