//! A second implementation of the tiny model, in plain float32, over the base's
//! weights plus `B·A · α/r`: no packed weights, no fused operators, no cache.

use super::model::{
    EPSILON, FFN, HEAD_SIZE, HEADS, HIDDEN, KV_HEADS, LAYERS, Lora, MODULES, ROPE_BASE, Tiny, VOCABULARY,
};

/// The logits after each token, `[tokens][VOCABULARY]`.
pub(crate) fn logits(tiny: &Tiny, lora: Option<&Lora>, tokens: &[u32]) -> Vec<Vec<f32>> {
    let table = &tiny.weights["token_embd"];
    let mut stream: Vec<Vec<f32>> =
        tokens.iter().map(|t| table[*t as usize * HIDDEN..][..HIDDEN].to_vec()).collect();
    for layer in 0..LAYERS {
        let of = |module: &str| merged(tiny, lora, layer, module);
        let normed = norms(&stream, &tiny.weights[&format!("blk.{layer}.attn_norm")]);
        let mut q = apply(&of("self_attn.q_proj"), &normed);
        let mut k = apply(&of("self_attn.k_proj"), &normed);
        let v = apply(&of("self_attn.v_proj"), &normed);
        q.iter_mut().enumerate().for_each(|(at, row)| rotate(row, at));
        k.iter_mut().enumerate().for_each(|(at, row)| rotate(row, at));
        add(&mut stream, &apply(&of("self_attn.o_proj"), &attend(&q, &k, &v)));
        let normed = norms(&stream, &tiny.weights[&format!("blk.{layer}.ffn_norm")]);
        let mut gate = apply(&of("mlp.gate_proj"), &normed);
        let up = apply(&of("mlp.up_proj"), &normed);
        for (g, u) in gate.iter_mut().zip(&up) {
            assert_eq!(g.len(), FFN);
            g.iter_mut().zip(u).for_each(|(g, u)| *g = *g / (1.0 + (-*g).exp()) * u);
        }
        add(&mut stream, &apply(&of("mlp.down_proj"), &gate));
    }
    let out = apply(table, &norms(&stream, &tiny.weights["output_norm"]));
    assert!(out.iter().all(|row| row.len() == VOCABULARY));
    out
}

fn merged(tiny: &Tiny, lora: Option<&Lora>, layer: usize, module: &str) -> Vec<f32> {
    let (_, name, rows, columns) = *MODULES.iter().find(|m| m.0 == module).unwrap();
    let mut w = tiny.weights[&format!("blk.{layer}.{name}")].clone();
    let Some(lora) = lora else { return w };
    let found = lora.tensors.iter().find(|((l, m), _)| *l == layer && *m == module);
    let Some((_, (a, b))) = found else { return w };
    let scale = lora.alpha / lora.rank as f32;
    for row in 0..rows {
        for column in 0..columns {
            let sum: f32 = (0..lora.rank).map(|r| b[row * lora.rank + r] * a[r * columns + column]).sum();
            w[row * columns + column] += scale * sum;
        }
    }
    w
}

fn apply(weights: &[f32], rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let dot = |w: &[f32], x: &[f32]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
    rows.iter().map(|x| weights.chunks_exact(x.len()).map(|w| dot(w, x)).collect()).collect()
}

fn norms(rows: &[Vec<f32>], gamma: &[f32]) -> Vec<Vec<f32>> {
    let one = |row: &Vec<f32>| {
        let mean = row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32;
        let by = 1.0 / (mean + EPSILON).sqrt();
        row.iter().zip(gamma).map(|(x, g)| x * by * g).collect()
    };
    rows.iter().map(one).collect()
}

fn add(stream: &mut [Vec<f32>], branch: &[Vec<f32>]) {
    for (s, b) in stream.iter_mut().zip(branch) {
        s.iter_mut().zip(b).for_each(|(s, b)| *s += b);
    }
}

/// First halves with second halves, as the checkpoint has them.
fn rotate(row: &mut [f32], position: usize) {
    for head in row.chunks_mut(HEAD_SIZE) {
        for i in 0..HEAD_SIZE / 2 {
            let angle = position as f32 * ROPE_BASE.powf(-2.0 * i as f32 / HEAD_SIZE as f32);
            let (a, b) = (head[i], head[i + HEAD_SIZE / 2]);
            head[i] = a * angle.cos() - b * angle.sin();
            head[i + HEAD_SIZE / 2] = b * angle.cos() + a * angle.sin();
        }
    }
}

fn attend(q: &[Vec<f32>], k: &[Vec<f32>], v: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut out = vec![vec![0.0; HEADS * HEAD_SIZE]; q.len()];
    for (at, q) in q.iter().enumerate() {
        for head in 0..HEADS {
            let shared = head / (HEADS / KV_HEADS) * HEAD_SIZE;
            let q = &q[head * HEAD_SIZE..][..HEAD_SIZE];
            let score = |k: &Vec<f32>| {
                let dot: f32 = k[shared..][..HEAD_SIZE].iter().zip(q).map(|(k, q)| k * q).sum();
                dot / (HEAD_SIZE as f32).sqrt()
            };
            let scores: Vec<f32> = k[..=at].iter().map(score).collect();
            let top = scores.iter().copied().fold(f32::MIN, f32::max);
            let weights: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
            let sum: f32 = weights.iter().sum();
            for (w, v) in weights.iter().zip(v) {
                let to = &mut out[at][head * HEAD_SIZE..][..HEAD_SIZE];
                to.iter_mut().zip(&v[shared..][..HEAD_SIZE]).for_each(|(o, v)| *o += w / sum * v);
            }
        }
    }
    out
}
