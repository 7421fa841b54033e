"""Loads the base: weights from a GGUF file or a folder of safetensors.

The tokenizer of a GGUF file is built from its own vocabulary and merges, with
the pre-tokeniser that the file names: transformers builds one that splits
digits and spaces in another way, and the engine would then see other ids than
training did.
"""

import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import torch

from . import attention, prompt
from .refusals import Refusal, bad_base, from_failure, not_chatml

# Words of licences that do not let a business use what is made from the base.
FORBIDDING = {"nc", "noncommercial", "research"}


@dataclass
class Base:
    name: str
    sha256: str
    licence: str
    context: int
    model: torch.nn.Module = None
    tokenizer: object = None
    stop: int = 0
    kind: str = "gguf"


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(path: str, device: str, dtype, licence: str | None, accepted: str | None, quantise: bool = False) -> Base:
    where = Path(path)
    if where.is_dir():
        base = _describe_folder(where)
    elif where.is_file():
        base = _describe_gguf(where)
    else:
        raise bad_base(f"there is no base at {where}")
    base.licence = licence or base.licence
    _check_licence(base, accepted)
    try:
        if base.kind == "gguf":
            if quantise:
                raise Refusal("bad_option", "a GGUF base cannot be loaded in 4 bits", "name a folder of safetensors with --base")
            _load_gguf(where, base, dtype)
        else:
            _load_folder(where, base, dtype, quantise)
    except (Refusal, MemoryError):
        raise
    except Exception as failure:  # the loaders raise whatever they meet
        named = from_failure(failure)
        raise named or bad_base(f"{where} could not be loaded: {type(failure).__name__}") from failure
    # A tokenizer.json may say to cut and to fill up; rows are read whole.
    base.tokenizer.no_truncation()
    base.tokenizer.no_padding()
    if not quantise:
        base.model.to(device)
    attention.install(base.model)
    base.model.requires_grad_(False)
    base.model.config.use_cache = False
    return base


def forbids_commerce(licence: str) -> bool:
    """By the words of its name, however they are joined: "CC BY-NC 4.0",
    "cc-by-nc-4.0", "gemma-non-commercial", "Non Commercial"."""
    words = re.sub(r"[^a-z0-9]+", " ", licence.lower()).replace("non commercial", "noncommercial").split()
    return not FORBIDDING.isdisjoint(words)


def _check_licence(base: Base, accepted: str | None):
    if accepted is not None and accepted.lower() == base.licence.lower():
        return
    if forbids_commerce(base.licence):
        raise Refusal(
            "licence",
            f"the base {base.name} is under {base.licence}, which forbids commercial use",
            f"choose another base, or say --accept-licence {shlex.quote(base.licence)} if your use is allowed",
        )


def _describe_folder(where: Path) -> Base:
    files = sorted(where.glob("*.safetensors"))
    if not files or not (where / "config.json").is_file() or not (where / "tokenizer.json").is_file():
        raise bad_base(f"{where} lacks one of config.json, tokenizer.json, *.safetensors")
    try:
        config = json.loads((where / "config.json").read_text())
    except ValueError:
        raise bad_base(f"{where}/config.json is not JSON") from None
    digest = hashlib.sha256("".join(file_sha256(f) for f in files).encode()).hexdigest()
    return Base(where.name, digest, config.get("license", "unknown"), config.get("max_position_embeddings", 2048), kind="folder")


def _load_folder(where: Path, base: Base, dtype, quantise: bool):
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    extra = {}
    if quantise:
        from transformers import BitsAndBytesConfig

        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    base.tokenizer = Tokenizer.from_file(str(where / "tokenizer.json"))
    base.stop = _stop(base)
    base.model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, local_files_only=True, **extra)


def _reader(where: Path):
    import gguf

    with open(where, "rb") as file:
        if file.read(4) != b"GGUF":
            raise bad_base(f"{where} is not a GGUF file")
    try:
        reader = gguf.GGUFReader(str(where))
    except Exception as failure:
        raise bad_base(f"{where} is damaged: {type(failure).__name__}") from failure
    end = max((int(t.data_offset) + int(t.n_bytes) for t in reader.tensors), default=0)
    if end == 0 or end > where.stat().st_size:
        raise bad_base(f"{where} is cut short: {end} bytes are announced")
    return reader


def _field(reader, key: str, default=None):
    field = reader.get_field(key)
    return default if field is None else field.contents()


def _describe_gguf(where: Path) -> Base:
    reader = _reader(where)
    family = _field(reader, "general.architecture", "")
    return Base(
        _field(reader, "general.name", where.stem) if _field(reader, "general.license") is None else where.stem.split(".")[0],
        file_sha256(where),
        str(_field(reader, "general.license", "unknown")),
        int(_field(reader, f"{family}.context_length", 2048)),
    )


def _load_gguf(where: Path, base: Base, dtype):
    from transformers import AutoModelForCausalLM

    # Before the weights, which not every loader knows of a base that could not be trained.
    base.tokenizer = _gguf_tokenizer(where, base.name)
    base.stop = _stop(base)
    base.model = AutoModelForCausalLM.from_pretrained(
        where.parent, gguf_file=where.name, dtype=dtype, local_files_only=True
    )


def _gguf_tokenizer(where: Path, name: str):
    reader = _reader(where)
    vocabulary = _field(reader, "tokenizer.ggml.tokens")
    if vocabulary and prompt.STOP not in vocabulary:
        raise not_chatml(name)
    if _field(reader, "tokenizer.ggml.model") != "gpt2":
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(where.parent, gguf_file=where.name).backend_tokenizer
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    merges = [tuple(m.split(" ", 1)) for m in _field(reader, "tokenizer.ggml.merges")]
    kinds = _field(reader, "tokenizer.ggml.token_type", [1] * len(vocabulary))
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, merges, fuse_unk=False))
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if _field(reader, "tokenizer.ggml.pre") == "smollm":
        bytes_of = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_of])
    tokenizer.pre_tokenizer = bytes_of
    tokenizer.decoder = decoders.ByteLevel()
    # Control tokens are special, a user's own are not: as the engine's exporter has them.
    added = lambda kind, special: [
        AddedToken(t, special=special, normalized=False) for t, k in zip(vocabulary, kinds) if k == kind
    ]
    tokenizer.add_special_tokens(added(3, True))
    tokenizer.add_tokens(added(4, False))
    return tokenizer


def _stop(base: Base) -> int:
    stop = base.tokenizer.token_to_id(prompt.STOP)
    if stop is None:
        raise not_chatml(base.name)
    return stop
