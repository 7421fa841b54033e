"""One run from stdin to the adapter folder."""

import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

from . import adapter, memory, options as opts, rows as rows_of, tokens, vary
from .clock import Clock
from .progress import Progress, say
from .refusals import Interrupted, Refusal, no_memory, no_space

# An adapter, its checkpoint (weights, two moments, the best) and a second
# checkpoint while it is written, at r 16 on 135M: 10 + 2 x 80 MB; more for
# larger bases, checked again by the system when it is written.
DISK = 256 << 20


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag that the loops ask for."""

    def __init__(self):
        self.came = False
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._note)
        # A terminal that closes; whoever ran this under nohup does not want its end.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._note)

    def _note(self, *_):
        self.came = True

    def __call__(self) -> bool:
        return self.came

    def check(self):
        if self.came:
            raise Interrupted("stopped by a signal")


def run(options, progress: Progress, began: float):
    stopped = Signals()
    wrong = opts.mistakes(options)
    if wrong:
        raise Refusal("bad_option", "; ".join(wrong), "see --help")
    clock = Clock(options.minutes, began)
    folder = Path(options.out)
    _check_disk(folder)
    rows = rows_of.read(sys.stdin.buffer)
    rows_of.check(rows, options.min_rows, options.min_development)
    stopped.check()
    progress.progress("load", 0, 1, clock.left())

    import torch

    from . import base as bases, checkpoint, lora, measure
    from .train import Trainer

    left_off = checkpoint.load(folder) if options.resume else None
    opts.settle(options, left_off[0].get("made_for", {}).get("recipe") if left_off else None)
    device, dtype = _device(options, torch)
    _check_memory(options)
    base = bases.load(
        options.base, device, dtype, options.licence, options.accept_licence, options.qlora
    )
    stopped.check()
    context = min(options.context or base.context, base.context)
    train, long = tokens.within(tokens.encode(rows.train, base.tokenizer, base.stop), context, options.drop_long)
    development, long_too = tokens.within(
        tokens.encode(rows.development, base.tokenizer, base.stop), context, options.drop_long
    )
    random.Random(options.seed).shuffle(development)
    wrapped = lora.attach(base.model, options.rank, options.alpha, options.seed, base.name)
    progress.progress("load", 1, 1, clock.left())
    sequences = tokens.sequences(train)
    if len(sequences) < len(train):
        say(f"{len(train)} rows of conversations in {len(sequences)} sequences")
    deferred = sum(e.defers for e in train)
    if deferred:
        say(f"{deferred} of {len(train)} rows are texts said once: leaving them to the provider is learnt")
    distilled = sum(len(e.soft) for e in train) if options.distil else 0
    if distilled:
        say(f"{distilled} of {sum(len(e.reply) for e in train)} reply tokens are distilled from the provider's log-probabilities")
    varied = _varied(rows.train, train, base, context, options) if options.vary else None
    trainer = Trainer(
        options, base, wrapped, sequences, development, clock, progress, folder, stopped, varied, len(rows.held)
    )
    if options.batch is None:
        options.batch = trainer.fitting_batch()
    made_for = {
        "data": rows.data_sha256,
        "rows": rows.rows_sha256,
        "base": base.sha256,
        "recipe": opts.recipe(options),
        # The place in an epoch is counted in them.
        "sequences": len(sequences),
    }
    trainer.plan(made_for)
    if left_off:
        checkpoint.match(left_off[0], made_for)
        trainer.resume(*left_off)
    else:
        trainer.measure_bare()
    stopped.check()

    trainer.run()
    trainer.save()
    result = trainer.finish()
    stopped.check()
    # From here on nothing is chosen any more.
    unseen, past = tokens.within(tokens.encode(measure.drawn(rows.held), base.tokenizer, base.stop), context, True)
    held = measure.held(trainer.answer_held(unseen), unseen, len(rows.held), len(past))
    stopped.check()
    progress.progress("write", 0, 1, clock.left())
    metrics = {**measure.compared(trainer.bare, result, development), "held": held}
    card = _card(options, rows, base, train, long + long_too, trainer, metrics, clock)
    card["metrics"]["distilled_tokens"] = distilled
    sha256 = adapter.write(folder, wrapped, card)
    checkpoint.remove(folder)
    progress.progress("write", 1, 1, 0)
    progress.event("done", folder=str(folder), adapter_sha256=sha256)
    say(
        f"{trainer.schedule.steps} steps, {trainer.tokens / max(trainer.train_seconds, 1e-9):.0f} tokens a second, "
        f"{trainer.tokens / max(trainer.cpu_seconds, 1e-9):.0f} a CPU second, agreement {result.share:.3f} of {result.rows} development rows, "
        f"{clock.spent():.0f} s, peak {_peak_mib()} MiB"
    )
    for sentence in measure.sentences(metrics):
        say(sentence)


def _varied(rows, train, base, context: int, options):
    """Gives an epoch's sequences with other values; a row that would be past the context
    stays as it is."""
    fits = {e.id for e in train}
    values = vary.Values([r for r in rows if r.id in fits], options.vary, options.seed)

    def sequences(epoch: int) -> list:
        other = tokens.encode(values.of(epoch), base.tokenizer, base.stop)
        return tokens.sequences([new if len(new) <= context else old for old, new in zip(train, other)])

    return sequences


def _card(options, rows, base, train, long, trainer, metrics, clock) -> dict:
    return {
        "task": rows.task,
        "base": {"name": base.name, f"{base.kind}_sha256": base.sha256, "licence": base.licence},
        "data": {
            "sha256": rows.data_sha256,
            "rows": {"train": len(train), "development": len(rows.development)},
            "deferred": {"train": sum(e.defers for e in train), "development": sum(r.defers for r in rows.development)},
            "left_out_past_context": long,
            "exchanges": {"train": [e.id for e in train], "development": [r.id for r in rows.development]},
            "calls": rows.calls,
            "curation": rows.curation,
        },
        "recipe": {**opts.recipe(options), "target_modules": "all linear", "optimiser": "AdamW", "schedule": "cosine by the clock"},
        "metrics": {
            **metrics,
            "loss": trainer.known_loss(),
            "steps": trainer.schedule.steps,
            "epochs": round(trainer.schedule.steps / trainer.per_epoch, 3),
            "tokens": int(trainer.tokens),
            "tokens_per_second": round(trainer.tokens / max(trainer.train_seconds, 1e-9), 1),
            "tokens_per_cpu_second": round(trainer.tokens / max(trainer.cpu_seconds, 1e-9), 1),
            "seconds": round(clock.spent(), 1),
            "peak_mib": _peak_mib(),
        },
    }


def _device(options, torch):
    wanted = options.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if (wanted == "cuda" or options.qlora) and not torch.cuda.is_available():
        raise Refusal("no_gpu", "no GPU can be used here", "leave out --qlora and --device cuda")
    torch.set_num_threads(options.threads or len(os.sched_getaffinity(0)))
    if options.precision == "auto":
        options.precision = "bfloat16" if wanted == "cuda" or _bfloat16_is_faster(torch) else "float32"
        say(f"products in {options.precision}")
    return wanted, getattr(torch, options.precision)


def _bfloat16_is_faster(torch) -> bool:
    """Times a layer's product in both. A CPU without bfloat16 instructions
    emulates them: 5 to 30 times slower than float32, where one that has them
    is up to twice as fast."""

    def fastest(dtype) -> float:
        rows, weight = torch.ones(256, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
        times = []
        for _ in range(4):  # the first one also prepares
            began = time.monotonic()
            (rows @ weight.T) @ weight
            times.append(time.monotonic() - began)
        return min(times)

    return fastest(torch.bfloat16) < fastest(torch.float32)


def _check_disk(folder: Path):
    at = folder.absolute()
    while not at.exists():
        at = at.parent
    free = shutil.disk_usage(at).free
    if free < DISK:
        raise no_space(folder, DISK, free)


def _check_memory(options):
    """Refuses early what would be killed in the middle: the base's file, twice
    in 16 bits, and a gigabyte to work in."""
    path = Path(options.base)
    files = list(path.glob("*.safetensors")) if path.is_dir() else [path]
    size = sum(f.stat().st_size for f in files if f.is_file())
    need = size * (2 if path.is_dir() else 6) + (1 << 30)
    free = memory.available()
    if free is not None and free < need:
        raise no_memory(f"{free >> 20} MiB of memory are free, about {need >> 20} MiB are needed")


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
