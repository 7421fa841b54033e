"""A second implementation of the exporter's models, to compare logits with.

It shares nothing with the Rust exporter: the `gguf` package reads and
dequantises the file, numpy computes in float32 over the weights as llama.cpp
lays them out (rotary pairs side by side for llama), without a cache, all
positions at once. It is slow and plain on purpose.

    logits.py MODEL.gguf PROMPTS.json OUT.f32

PROMPTS.json holds a list of lists of token ids; OUT.f32 receives, for each
prompt, the logits after its last token as little-endian floats.
"""

import json
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


class Model:
    def __init__(self, path):
        self.reader = GGUFReader(path)
        self.tensors = {t.name: t for t in self.reader.tensors}
        self.arch = self.key("general.architecture")
        self.layers = self.own("block_count")
        self.hidden = self.own("embedding_length")
        self.heads = self.own("attention.head_count")
        self.kv_heads = self.own("attention.head_count_kv", self.heads)
        self.size = self.own("attention.key_length", self.hidden // self.heads)
        self.eps = self.own("attention.layer_norm_rms_epsilon")
        self.base = self.own("rope.freq_base", 10000.0)
        self.window = self.own("attention.sliding_window", 0)
        self.gemma = self.arch == "gemma3"
        self.kept = {}  # one layer's weights at a time

    def key(self, name, default=None):
        field = self.reader.fields.get(name)
        if field is None:
            if default is None:
                raise SystemExit(f"no key {name}")
            return default
        return field.contents()

    def own(self, name, default=None):
        return self.key(f"{self.arch}.{name}", default)

    def weights(self, name):
        if name not in self.kept:
            t = self.tensors[name]
            shape = [int(n) for n in reversed(t.shape)]
            floats = dequantize(t.data, t.tensor_type).astype(np.float32)
            self.kept[name] = floats.reshape(shape)
        return self.kept[name]

    def norm(self, x, name):
        scale = 1.0 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.eps)
        return x * scale * self.weights(name)

    def rotate(self, x, base):
        """x: [positions, heads, size]."""
        positions, _, size = x.shape
        angle = np.arange(positions)[:, None] * base ** (-np.arange(0, size, 2) / size)
        cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        out = np.empty_like(x)
        if self.gemma:  # halves
            a, b = x[..., : size // 2], x[..., size // 2 :]
            out[..., : size // 2] = a * cos - b * sin
            out[..., size // 2 :] = b * cos + a * sin
        else:  # pairs side by side
            a, b = x[..., 0::2], x[..., 1::2]
            out[..., 0::2] = a * cos - b * sin
            out[..., 1::2] = b * cos + a * sin
        return out

    def attention(self, layer, x):
        w = lambda part: self.weights(f"blk.{layer}.{part}.weight")
        n = len(x)
        q = (x @ w("attn_q").T).reshape(n, self.heads, self.size)
        k = (x @ w("attn_k").T).reshape(n, self.kv_heads, self.size)
        v = (x @ w("attn_v").T).reshape(n, self.kv_heads, self.size)
        local = self.gemma and (layer + 1) % 6 != 0
        if self.gemma:
            q = self.norm(q, f"blk.{layer}.attn_q_norm.weight")
            k = self.norm(k, f"blk.{layer}.attn_k_norm.weight")
        base = 10000.0 if local else self.base
        q, k = self.rotate(q, base), self.rotate(k, base)
        k = k.repeat(self.heads // self.kv_heads, axis=1)
        v = v.repeat(self.heads // self.kv_heads, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(self.size)
        distance = np.arange(n)[:, None] - np.arange(n)[None, :]
        hidden = distance < 0
        if local and self.window:
            hidden |= distance >= self.window
        scores[:, hidden] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        out = np.einsum("hqk,khd->qhd", scores, v).reshape(n, self.heads * self.size)
        return out @ w("attn_output").T

    def feed_forward(self, layer, x):
        w = lambda part: self.weights(f"blk.{layer}.{part}.weight")
        gate, up = x @ w("ffn_gate").T, x @ w("ffn_up").T
        if self.gemma:
            cubic = np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)
            gate = 0.5 * gate * (1 + np.tanh(cubic))
        else:
            gate = gate / (1 + np.exp(-gate))
        return (gate * up) @ w("ffn_down").T

    def forward(self, prompts):
        """Logits after the last token of each; one pass over the weights."""
        table = self.weights("token_embd.weight")
        streams = [table[np.array(p)].copy() for p in prompts]
        if self.gemma:
            streams = [s * np.float32(np.sqrt(self.hidden)) for s in streams]
        for layer in range(self.layers):
            name = lambda part: f"blk.{layer}.{part}.weight"
            self.kept.clear()
            for i, x in enumerate(streams):
                branch = self.attention(layer, self.norm(x, name("attn_norm")))
                if self.gemma:
                    branch = self.norm(branch, name("post_attention_norm"))
                x = x + branch
                branch = self.feed_forward(layer, self.norm(x, name("ffn_norm")))
                if self.gemma:
                    branch = self.norm(branch, name("post_ffw_norm"))
                streams[i] = x + branch
        last = np.stack([s[-1] for s in streams])
        head = self.weights("output.weight") if "output.weight" in self.tensors else table
        return self.norm(last, "output_norm.weight") @ head.T


def main():
    path, prompts, out = sys.argv[1:]
    with open(prompts) as f:
        prompts = json.load(f)
    Model(path).forward(prompts).astype("<f4").tofile(out)


if __name__ == "__main__":
    main()
