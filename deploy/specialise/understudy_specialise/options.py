"""The command line, and the part of it that is the recipe."""

import argparse

FLOAT32_MOST = 3.4e38


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="understudy_specialise",
        description="Specialises a base model on rows from stdin; see the package's README.",
    )
    p.add_argument("--base", required=True, help="a GGUF file, or a folder of safetensors with tokenizer.json")
    p.add_argument("--out", required=True, help="the adapter's folder")
    p.add_argument("--minutes", type=float, required=True, help="the wall-clock budget for all of it")
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--alpha", type=int, default=32)
    p.add_argument("--rate", type=float, default=5e-4, help="the peak rate of A")
    p.add_argument("--rate-ratio", type=float, default=8.0, help="how many times faster B learns than A (LoRA+)")
    p.add_argument("--distil", type=float, default=0.5, help="the weight of the provider's own log-probabilities, where rows have them; 0 leaves them out")
    p.add_argument("--vary", type=float, default=0.5, help="the share of a row's values that other rows' take the place of, from the second epoch on; 0 leaves them")
    p.add_argument("--batch", type=int, help="rows a step; without it 8, or fewer where the time is too short for so large steps")
    p.add_argument("--epochs", type=float, default=3.0, help="at most")
    p.add_argument("--steps", type=int, help="exactly so many, where time allows: a run that can be repeated")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=0, help="0: one a core")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    p.add_argument("--checkpoint-seconds", type=float, default=180.0)
    p.add_argument("--micro-tokens", type=int, default=1024, help="tokens that pass through the model at once")
    p.add_argument("--min-rows", type=int, default=32)
    p.add_argument("--min-development", type=int, default=8)
    p.add_argument("--drop-long", action="store_true", help="leave out rows past the context")
    p.add_argument("--context", type=int, help="tokens a row may have; the base's own at most")
    p.add_argument("--licence", help="the base's licence, where its file does not say it")
    p.add_argument("--accept-licence", help="a licence that would be refused")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument(
        "--precision",
        choices=("auto", "bfloat16", "float32"),
        default="auto",
        help="of the products; auto: bfloat16 on a GPU, on a CPU whichever it is faster in",
    )
    p.add_argument("--qlora", action="store_true", help="the base in 4 bits; needs a GPU and bitsandbytes")
    return p


def settle(options, before: dict | None = None):
    """Decides what was left open. `before`: the recipe of the run that this one goes on
    from. What was decided there stays: another budget, or a precision that is timed
    anew where both are about as fast, would make it another run."""
    before = before or {}
    if options.batch is None:
        options.batch = before.get("batch")  # else by the rows' lengths and the machine: see `Trainer.fitting_batch`
    if options.precision == "auto":
        options.precision = before.get("precision") or "auto"


def recipe(options) -> dict:
    """What a resumed run must share with the one before."""
    names = ("rank", "alpha", "rate", "rate_ratio", "distil", "vary", "batch", "epochs", "steps", "seed", "context", "drop_long", "precision", "qlora")
    return {name: getattr(options, name) for name in names}


def mistakes(options) -> list[str]:
    """All that is out of range, at once."""
    out = []
    if not 1 <= options.rank <= 256:
        out.append(f"--rank {options.rank}: from 1 to 256")
    for name in ("minutes", "alpha", "rate", "rate_ratio", "batch", "epochs", "micro_tokens", "checkpoint_seconds"):
        value = getattr(options, name)
        if value is not None and not value > 0:  # no batch: still to be settled
            out.append(f"--{name.replace('_', '-')} {getattr(options, name)}: more than 0")
    for name in ("distil", "vary"):
        if not 0 <= getattr(options, name) <= 1:
            out.append(f"--{name} {getattr(options, name)}: from 0 to 1")
    if options.rate * options.rate_ratio > FLOAT32_MOST:
        out.append(f"--rate {options.rate} times --rate-ratio {options.rate_ratio}: more than a float32 holds")
    if options.steps is not None and options.steps < 1:
        out.append(f"--steps {options.steps}: 1 or more")
    return out
