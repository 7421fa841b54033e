"""Writes the adapter folder: PEFT's layout, the template, and the card.

The card is moved into place last: a folder without one is not an adapter.
"""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from . import __version__, lora, prompt

CARD = "card.json"


def code_sha256() -> str:
    """One hash over this package's sources, so that the card says what ran."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def write(folder: Path, wrapped, card: dict) -> str:
    """Writes the files; gives the SHA-256 of the tensors' file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    held = {n: p.detach().to(torch.float16).contiguous().cpu() for n, p in lora.tensors(wrapped).items()}
    beside = folder / "adapter_model.safetensors.new"
    save_file(held, beside, metadata={"format": "pt"})
    os.replace(beside, folder / "adapter_model.safetensors")
    config = wrapped.peft_config["default"].to_dict()
    config["inference_mode"] = True
    for key, value in config.items():
        if isinstance(value, set):
            config[key] = sorted(value)
    _put(folder, "adapter_config.json", json.dumps(config, indent=2, sort_keys=True, default=str))
    _put(folder, "chat_template.jinja", prompt.TEMPLATE)
    tensors = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    card["files"] = {
        "adapter_model.safetensors": tensors,
        "chat_template.jinja": prompt.template_sha256(),
    }
    card["code"] = {"version": __version__, "sha256": code_sha256(), "torch": torch.__version__}
    _put(folder, CARD, json.dumps(card, indent=2, ensure_ascii=False))
    return tensors


def _put(folder: Path, name: str, text: str):
    beside = folder / (name + ".new")
    with open(beside, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, folder / name)
