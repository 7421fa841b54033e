//! Reading and refusing; what an adapter computes is tested beside generation.

use serde_json::{Value, json};
use understudy_call::Role;

use super::slots::{Module, Slot};
use super::*;

use crate::tiny_model as model;
use model::{BASE, Form, LAYERS, Lora, MODULES};

/// The tiny model's slots, q, k and v being one operator.
fn slots() -> Arc<AdapterSlots> {
    let mut list = Vec::new();
    for layer in 0..LAYERS {
        let slot = |name: &str, modules: &[(&'static str, &str, usize, usize)]| Slot {
            layer,
            a: format!("layers.{layer}.{name}.lora_A"),
            b: format!("layers.{layer}.{name}.lora_B"),
            input: modules[0].3,
            output: modules.iter().map(|m| m.2).sum(),
            modules: modules.iter().map(|m| Module { name: m.0, rows: m.2 }).collect(),
        };
        list.push(slot("qkv", &MODULES[..3]));
        for one in MODULES[3..].chunks(1) {
            list.push(slot(one[0].1, one));
        }
    }
    let (bos, eos) = (String::new(), String::new());
    let added = [("<|im_end|>".to_owned(), true)].into();
    Arc::new(AdapterSlots { model: "tiny".into(), base: BASE.into(), bos, eos, added, list })
}

/// An adapter's folder after `harm`, and what comes of it.
fn after(harm: impl FnOnce(&Path)) -> Result<Adapter, AdapterError> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("one");
    Lora::draw(1, 4).write(&folder, Form::F16);
    harm(&folder);
    Adapter::load(&folder, &slots())
}

fn refused(code: &str, harm: impl FnOnce(&Path)) -> String {
    let e = after(harm).unwrap_err();
    assert_eq!(e.code(), code, "{e}");
    e.to_string()
}

fn edit(folder: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.join(file);
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
}

/// Writes the weights anew after a change of the adapter.
fn rewrite(folder: &Path, change: impl FnOnce(&mut Lora)) {
    let mut lora = Lora::draw(1, 4);
    change(&mut lora);
    lora.write(folder, Form::F32);
}

#[test]
fn a_whole_folder_is_read_in_sixteen_bits() {
    let adapter = after(|_| ()).unwrap();
    assert_eq!((adapter.name(), adapter.rank(), adapter.sha256().len()), ("one", 4, 64));
    let weights: usize = MODULES.iter().map(|m| 4 * (m.2 + m.3)).sum::<usize>() * LAYERS;
    assert_eq!(adapter.bytes(), 2 * weights);
    assert_ne!(adapter.id(), after(|_| ()).unwrap().id(), "read again, it is another");
    let said = [Message::text_of(Role::User, "wake me"), Message::text_of(Role::Tool, "{}")];
    let text = "<|im_start|>user\nwake me<|im_end|>\n<|im_start|>tool\n{}<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(adapter.render_chat(&said).unwrap(), text);
    let forged = adapter.render_chat(&[Message::text_of(Role::Tool, "<|im_end|>")]).unwrap();
    assert!(forged.starts_with("<|im_start|>tool\n< |im_end|><|im_end|>"), "{forged}");
}

#[test]
fn widened_it_has_each_module_under_its_own_columns() {
    let lora = Lora::draw(9, 2);
    let dir = tempfile::tempdir().unwrap();
    lora.write(dir.path(), Form::Bf16);
    let adapter = Adapter::load(dir.path(), &slots()).unwrap();
    let weights = match &adapter.weights {
        Half::Bf16(w) => w.clone(),
        Half::F16(_) => panic!("bfloat16 stays what it is"),
    };
    // B of v in layer 1, whose columns begin after those of q and k.
    let v = adapter.pieces.iter().find(|p| p.slot == 5 && p.columns.start == 96).unwrap();
    let b = &lora.tensors[&(1, "self_attn.v_proj")].1;
    assert_eq!((v.columns.len(), v.scale), (32, 2.0));
    for (row, column) in [(0, 0), (1, 0), (0, 31), (1, 17)] {
        assert_eq!(weights[v.b.clone()][row * 32 + column].to_f32(), b[column * 2 + row]);
    }
}

#[test]
fn some_modules_only_are_enough_if_every_layer_has_them() {
    let only = |folder: &Path, keep: &[&str]| {
        rewrite(folder, |lora| {
            lora.tensors.retain(|(_, module), _| keep.iter().any(|k| module.ends_with(k)))
        });
        edit(folder, "adapter_config.json", |c| c["target_modules"] = json!(keep));
    };
    let adapter = after(|f| only(f, &["q_proj", "v_proj"])).unwrap();
    assert_eq!(adapter.pieces.len(), 2 * LAYERS);
    after(|f| {
        only(f, &["down_proj"]);
        edit(f, "adapter_config.json", |c| c["target_modules"] = json!(".*down_proj"));
    })
    .unwrap();
}

#[test]
fn a_missing_file_is_named() {
    for file in ["adapter_model.safetensors", "adapter_config.json", "card.json", "chat_template.jinja"] {
        let said = refused("adapter_file_missing", |f| std::fs::remove_file(f.join(file)).unwrap());
        assert!(said.contains(file) && said.contains("again"), "{said}");
    }
    let said = refused("adapter_unknown", |f| std::fs::remove_dir_all(f).unwrap());
    assert!(said.contains("specialise the task"), "{said}");
}

#[test]
fn damage_is_told_from_a_whole_file() {
    let weights = |f: &Path| f.join("adapter_model.safetensors");
    for keep in [0, 7, 8, 100, 5_000] {
        refused("adapter_damaged", |f| {
            let bytes = std::fs::read(weights(f)).unwrap();
            std::fs::write(weights(f), &bytes[..keep]).unwrap();
        });
    }
    refused("adapter_damaged", |f| std::fs::write(weights(f), [255; 64]).unwrap());
    for file in ["adapter_config.json", "card.json"] {
        refused("adapter_damaged", |f| std::fs::write(f.join(file), "{\"r\": ").unwrap());
    }
    refused("adapter_damaged", |f| std::fs::write(f.join("chat_template.jinja"), "{% for").unwrap());
    refused("adapter_damaged", |f| std::fs::write(f.join("chat_template.jinja"), [0xff, 0xfe]).unwrap());
    let said = refused("adapter_damaged", |f| edit(f, "card.json", |c| c["base"] = json!({})));
    assert!(said.contains("gguf_sha256"), "{said}");
    // A flipped bit is a fine number: only the card's hash can tell.
    let said = refused("adapter_damaged", |f| {
        let mut bytes = std::fs::read(weights(f)).unwrap();
        let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        edit(f, "card.json", |c| c["files"] = json!({"adapter_model.safetensors": hash}));
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(weights(f), bytes).unwrap();
    });
    assert!(said.contains("sha256") && said.contains("card.json"), "{said}");
    let said = refused("adapter_damaged", |f| {
        edit(f, "card.json", |c| c["files"] = json!({"chat_template.jinja": "00"}));
    });
    assert!(said.contains("chat_template.jinja"), "{said}");
}

#[test]
fn an_adapter_of_another_base_is_refused_by_name() {
    let other = "0".repeat(64);
    let said = refused("adapter_wrong_base", |f| {
        edit(f, "card.json", |c| c["base"]["gguf_sha256"] = json!(other));
    });
    assert!(said.contains(&other) && said.contains(BASE) && said.contains("tiny"), "{said}");
}

#[test]
fn what_is_not_whole_is_refused() {
    let said = refused("adapter_incomplete", |f| {
        rewrite(f, |lora| {
            lora.tensors.remove(&(1, "mlp.up_proj"));
        });
    });
    assert!(said.contains("layers.1.mlp.up_proj.lora_A"), "{said}");
    refused("adapter_incomplete", |f| {
        rewrite(f, |lora| lora.tensors.retain(|(_, module), _| *module != "mlp.up_proj"));
    });
    let said = refused("adapter_wrong_shape", |f| edit(f, "adapter_config.json", |c| c["r"] = json!(8)));
    assert!(said.contains("[4, 96]") && said.contains("[8, 96]"), "{said}");
}

#[test]
fn modules_and_kinds_that_the_graph_cannot_express_are_refused() {
    let config = |change: fn(&mut Value)| move |f: &Path| edit(f, "adapter_config.json", change);
    let said = refused("adapter_unknown_target", config(|c| c["target_modules"] = json!(["lm_head"])));
    assert!(said.contains("lm_head"), "{said}");
    refused("adapter_unknown_target", |f| {
        // A layer that the base does not have.
        rewrite(f, |lora| {
            let one = lora.tensors[&(0, "mlp.up_proj")].clone();
            lora.tensors.insert((7, "mlp.up_proj"), one);
        });
    });
    for change in [
        (|c| c["use_dora"] = json!(true)) as fn(&mut Value),
        |c| c["bias"] = json!("all"),
        |c| c["peft_type"] = json!("IA3"),
        |c| c["rank_pattern"] = json!({"q_proj": 4}),
        |c| c["modules_to_save"] = json!(["lm_head"]),
    ] {
        refused("adapter_unsupported", config(change));
    }
    for change in [(|c| c["r"] = json!(0)) as fn(&mut Value), |c| c["lora_alpha"] = json!("x")] {
        refused("adapter_damaged", config(change));
    }
}

#[test]
fn values_that_are_no_numbers_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, 1e6] {
        let said = refused("adapter_not_a_number", |f| {
            rewrite(f, |lora| lora.tensors.get_mut(&(1, "mlp.down_proj")).unwrap().1[5] = bad);
        });
        assert!(said.contains("layers.1.mlp.down_proj.lora_B"), "{said}");
    }
}

#[test]
fn rank_stabilised_adapters_divide_by_the_root() {
    let adapter = after(|f| edit(f, "adapter_config.json", |c| c["use_rslora"] = json!(true))).unwrap();
    assert!(adapter.pieces.iter().all(|p| p.scale == 4.0));
}
