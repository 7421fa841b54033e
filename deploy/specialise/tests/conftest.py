"""A tiny base made on the fly, so that the tests fetch nothing."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent
WORDS = "play add book rate find the a song movie table cafe jazz rock blues soul park lake hill".split()


def row(i: int, split: str = "train", **changes) -> dict:
    """One row: the reply's tool and argument follow from the words."""
    chance = random.Random(i)
    verb, thing = chance.choice(WORDS[:5]), chance.choice(WORDS[10:])
    reply = f">{verb} {json.dumps({'what': thing})}"
    out = {"id": f"{i:016x}", "conversation": f"c{i}", "split": split, "reply": reply}
    out["messages"] = [{"role": "user", "content": f"{verb} the {thing}"}]
    return {**out, **changes}


def stdin(rows, header=None) -> str:
    head = header or {"task": "tiny", "data_sha256": "ab", "calls": "line", "curation": {"kept": len(rows)}}
    return "\n".join(json.dumps(r) for r in [head, *rows]) + "\n"


def rows(train: int = 96, development: int = 16, held: int = 0) -> list:
    out = [row(i) for i in range(train)]
    out += [row(10_000 + i, "development") for i in range(development)]
    return out + [row(20_000 + i, "held") for i in range(held)]


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|im_start|>", "<|im_end|>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


class Run:
    def __init__(self, process):
        self.code, self.stderr = process.returncode, process.stderr
        self.events = [json.loads(line) for line in process.stdout.splitlines()]

    def of(self, kind: str) -> list:
        return [e for e in self.events if e["event"] == kind]

    @property
    def refused(self):
        return self.of("refused")[0]["code"] if self.of("refused") else None


def command(base, out, *more) -> list:
    given = [sys.executable, "-m", "understudy_specialise", "--base", str(base), "--out", str(out)]
    more = list(more)
    if "--minutes" not in more:
        more += ["--minutes", "3"]
    return given + ["--threads", "1", *more]


def environment() -> dict:
    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}


def train(base, out, text: str, *more) -> Run:
    return Run(
        subprocess.run(command(base, out, *more), input=text, text=True, capture_output=True, env=environment())
    )
