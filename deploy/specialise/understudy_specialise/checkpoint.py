"""Where a run was, so that a killed one goes on.

One safetensors file, written beside and moved into place: the adapter and the
optimiser's moments in float32, the best adapter so far, and in its metadata the
hashes that a resumed run must meet again. It holds no row.
"""

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .refusals import Refusal

NAME = "checkpoint.safetensors"


def save(folder: Path, state: dict, groups: dict):
    """`groups`: name -> {tensor name -> tensor}; `state`: JSON."""
    flat = {f"{g}/{n}": t.detach().contiguous().cpu() for g, ts in groups.items() for n, t in ts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / (NAME + ".new")
    save_file(flat, beside, metadata={"state": json.dumps(state)})
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, folder / NAME)


def load(folder: Path) -> tuple[dict, dict] | None:
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            groups: dict = {}
            for key in file.keys():
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except Exception as failure:
        raise Refusal(
            "bad_checkpoint", f"the checkpoint cannot be read: {type(failure).__name__}", "run again without --resume"
        ) from failure
    return state, groups


def match(state: dict, expected: dict):
    """Refuses a checkpoint of other rows, another base or another recipe."""
    different = [k for k, v in expected.items() if state.get("made_for", {}).get(k) != v]
    if different:
        raise Refusal(
            "other_run",
            f"the checkpoint was made for another {', '.join(different)}",
            "give the same rows, base and options, or run again without --resume",
        )


def remove(folder: Path):
    (folder / NAME).unlink(missing_ok=True)


def moments(optimiser, tensors: dict) -> dict:
    """The optimiser's state by tensor name, in two groups."""
    out = {"first": {}, "second": {}}
    for name, tensor in tensors.items():
        held = optimiser.state.get(tensor)
        if held:
            out["first"][name], out["second"][name] = held["exp_avg"], held["exp_avg_sq"]
    return out


def put_moments(optimiser, tensors: dict, groups: dict, step: int):
    for name, tensor in tensors.items():
        if name in groups.get("first", {}):
            optimiser.state[tensor] = {
                "step": torch.tensor(float(step), dtype=torch.float32),  # as the fused kernel wants it
                "exp_avg": groups["first"][name].to(tensor.device),
                "exp_avg_sq": groups["second"][name].to(tensor.device),
            }
