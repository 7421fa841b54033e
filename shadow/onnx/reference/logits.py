"""A second implementation of the exporter's models, to compare logits with.

It shares nothing with the Rust exporter: the `gguf` package reads and
dequantises the file, numpy computes in float32 over the weights as llama.cpp
lays them out (rotary pairs side by side for llama), without a cache, all
positions at once. It is slow and plain on purpose.

    logits.py MODEL.gguf PROMPTS.json OUT.f32
    logits.py MODEL.gguf STEPS.json OUT.json ADAPTER

PROMPTS.json holds a list of lists of token ids; OUT.f32 receives, for each
prompt, the logits after its last token as little-endian floats.

With ADAPTER, a folder in PEFT's layout, every weight is W + B A alpha / r in
float32. STEPS.json holds a list of [prompt's ids, reply's ids]; OUT.json receives
for each the list of its steps: [likeliest id, its log-probability, the reply's
id's log-probability, how far the likeliest is above the second].
"""

import json
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


class Adapter:
    """A LoRA adapter, its weights by the names of the GGUF file."""

    NAMES = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }  # fmt: skip

    def __init__(self, folder):
        with open(f"{folder}/adapter_config.json") as f:
            config = json.load(f)
        self.scale = np.float32(config["lora_alpha"] / config["r"])
        with open(f"{folder}/adapter_model.safetensors", "rb") as f:
            header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
            data = f.read()
        self.tensors = {}
        for name, told in header.items():
            if name == "__metadata__":
                continue
            raw = data[slice(*told["data_offsets"])]
            kind = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[told["dtype"]]
            floats = np.frombuffer(raw, kind)
            if told["dtype"] == "BF16":
                floats = (floats.astype("<u4") << 16).view("<f4")
            self.tensors[name] = floats.astype(np.float32).reshape(told["shape"])

    def update(self, name, model):
        """What is added to the weight of that name, or 0."""
        _, layer, part, _ = name.split(".")
        module = next((m for m, p in self.NAMES.items() if p == part), None)
        stem = f"base_model.model.model.layers.{layer}.{module}"
        if f"{stem}.lora_A.weight" not in self.tensors:
            return np.float32(0)
        a, b = self.tensors[f"{stem}.lora_A.weight"], self.tensors[f"{stem}.lora_B.weight"]
        if part in ("attn_q", "attn_k") and not model.gemma:  # rotary pairs side by side, as in the file
            heads = model.heads if part == "attn_q" else model.kv_heads
            b = b.reshape(heads, 2, -1, b.shape[1]).swapaxes(1, 2).reshape(b.shape)
        return self.scale * (b @ a)


class Model:
    def __init__(self, path, adapter=None):
        self.adapter = adapter
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
            if self.adapter and name.startswith("blk.") and len(shape) == 2:
                self.kept[name] = self.kept[name] + self.adapter.update(name, self)
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
        last = np.stack([s[-1] for s in self.streams(prompts)])
        return self.logits(last)

    def logits(self, x):
        table = self.weights("token_embd.weight")
        head = self.weights("output.weight") if "output.weight" in self.tensors else table
        return self.norm(x, "output_norm.weight") @ head.T

    def steps(self, pairs):
        """What each step of the replies would be, given what came before it."""
        out = []
        streams = self.streams([prompt + reply for prompt, reply in pairs])
        for (prompt, reply), stream in zip(pairs, streams):
            logits = self.logits(stream[len(prompt) - 1 : len(prompt) + len(reply) - 1])
            top = logits.max(axis=-1, keepdims=True)
            logits = logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
            second, first = np.sort(logits, axis=-1)[:, -2:].T
            chosen = logits[np.arange(len(reply)), reply]
            columns = logits.argmax(axis=-1), first, chosen, first - second
            out.append([[int(i), *map(float, rest)] for i, *rest in zip(*columns)])
        return out

    def streams(self, prompts):
        """The last hidden states of every position."""
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
        return streams


def main():
    path, given, out, *adapter = sys.argv[1:]
    with open(given) as f:
        given = json.load(f)
    if not adapter:
        Model(path).forward(given).astype("<f4").tofile(out)
        return
    with open(out, "w") as f:
        json.dump(Model(path, Adapter(adapter[0])).steps(given), f)


if __name__ == "__main__":
    main()
