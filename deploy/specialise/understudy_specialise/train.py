"""The training loop: batches by length, loss on the reply, a clock that rules.

Logits are computed at the reply's positions only: the head of a small model
with a large vocabulary is a fifth of its work.
"""

import time

import torch

from . import checkpoint, lora, measure, tokens
from .evaluate import Agreement, backbone, evaluate, head
from .loss import Vocabulary
from .progress import say
from .refusals import Interrupted, nan_loss
from .schedule import MOST_ROWS, Schedule, rows_a_step

CLIP = 1.0  # largest norm of the gradient of a step
LOOKS = 6  # evaluations over a run
LOOK_SHARE = 0.01  # of the budget, for one of them
LAST_SHARE = 0.04  # of the budget, kept for the last evaluation
LAST_ROWS = 400
LAST_END = 0.99  # of the budget: where evaluation ends and writing begins
PATIENCE = 2  # looks after which the run cools down, the first at which every row agrees included
SURE_ROWS = 32  # fewer rows may all agree by chance
BAD_STEPS = 3  # steps in a row without a finite gradient
WRITE_SECONDS = 2.0
LOOK_TOKENS = 4  # times --micro-tokens, at once: a look keeps nothing for gradients


def _groups(tensors: dict, options) -> list[dict]:
    """B starts at zero and moves the output by itself, so it bears, and wants, a
    faster rate than A (LoRA+, arXiv 2402.12354)."""
    peaks = {"lora_A": options.rate, "lora_B": options.rate * options.rate_ratio}
    return [
        {"params": [t for n, t in tensors.items() if part in n], "lr": peak, "peak": peak}
        for part, peak in peaks.items()
    ]


def optimiser(tensors: dict, options):
    """AdamW, on a CPU in one pass over each tensor instead of a dozen. A torch
    without a kernel for that says so at the first step, so one number tries it."""
    fused = None
    if next(iter(tensors.values())).device.type == "cpu":
        probe = torch.zeros(1, requires_grad=True)
        probe.grad = torch.zeros(1)
        try:
            torch.optim.AdamW([probe], fused=True).step()
            fused = True
        except RuntimeError:
            say("this torch has no fused AdamW for a CPU: training goes on with the slower one")
    return torch.optim.AdamW(_groups(tensors, options), betas=(0.9, 0.99), weight_decay=0.0, fused=fused)


def worse(last: float, best: float, rows: int) -> bool:
    """Whether an agreement lies more than two standard errors under another."""
    mean = (last + best) / 2
    return best - last > 2 * (2 * mean * (1 - mean) / rows) ** 0.5


class Trainer:
    """`varied`: the sequences of an epoch after the first; as many as `train` has.
    `held`: how many held rows there are, for which time is kept."""

    def __init__(
        self, options, base, wrapped, train, development, clock, progress, folder, stopped, varied=None, held=0
    ):
        self.options, self.base, self.model = options, base, wrapped
        self.train, self.development, self.varied = train, development, varied
        self.clock, self.progress, self.folder = clock, progress, folder
        self.stopped = stopped
        self.at_once = LOOK_TOKENS * options.micro_tokens
        self.tensors = lora.tensors(wrapped)
        self.vocabulary = Vocabulary(head(wrapped), train, base.stop, options.seed, options.distil)
        self.optimiser = optimiser(self.tensors, options)
        self.best = {"agreement": -1.0, "step": 0}
        self.best_tensors: dict = {}
        self.looks = self.without_better = self.bad = 0
        self.looked_at = 0.0
        self.loss = float("nan")
        self.tokens = self.cpu_seconds = self.train_seconds = 0.0
        self.look_rows = min(32, len(development))
        self.saved_at = time.monotonic()
        self.bare: Agreement | None = None  # the base's, before the first step
        self.held = held
        self.pace: float | None = None  # seconds that a row of an evaluation takes
        self._keep_time()

    def _keep_time(self, measured: Agreement | None = None):
        """Keeps what follows training its time: by the speed last measured."""
        self.pace = (measured.pace if measured else None) or self.pace
        self.held_seconds = measure.reserve(self.clock.total, self.pace, self.held)
        self.clock.reserve = LAST_SHARE * self.clock.total + self.held_seconds + WRITE_SECONDS

    def measure_bare(self):
        """The base's agreement, for the card. Before the first step."""
        self.bare = measure.bare(self.model, self.base, self.development, self.clock, self.stopped, self.at_once)
        self._keep_time(self.bare)

    def fitting_batch(self) -> int:
        """Rows a step for these rows in this time on this machine. A step's worth of middle
        length is passed through twice, once to warm up; its gradient is dropped. Fixed
        steps are to be repeatable, whatever the machine: they take the most."""
        if self.options.steps is not None:
            return MOST_ROWS
        at_most = tokens.a_step(self.train, MOST_ROWS)
        middle = (len(self.train) - at_most) // 2
        batch = sorted(self.train, key=len)[max(middle, 0) :][:at_most]
        piece = tokens.micro(batch, self.options.micro_tokens)[-1]
        took = min(self._seconds(piece) for _ in range(2))
        self.optimiser.zero_grad(set_to_none=True)
        length, rows = sum(map(len, self.train)), sum(len(s.replies) for s in self.train)
        epochs = self.clock.training_left() / (took / sum(map(len, piece)) * length)
        return rows_a_step(rows * min(epochs, self.options.epochs))

    def _seconds(self, piece) -> float:
        """What a piece of a step takes."""
        self.vocabulary.begin_step()
        began = time.monotonic()
        self._loss(piece).backward()
        # A GPU is asked for something, which it has when it is done.
        next(t.grad for t in self.tensors.values() if t.grad is not None).sum().item()
        return time.monotonic() - began

    def plan(self, made_for: dict):
        """`made_for`: what a run that goes on from this one must share with it."""
        self.made_for = made_for
        self.a_step = tokens.a_step(self.train, self.options.batch)
        self.per_epoch = -(-len(self.train) // self.a_step)
        say(f"{self.a_step} sequences a step, {self.per_epoch} steps an epoch")
        fixed = self.options.steps is not None
        limit = self.options.steps if fixed else int(self.per_epoch * self.options.epochs)
        self.schedule = Schedule(limit, fixed)

    # -- state ---------------------------------------------------------------

    def save(self):
        state = {
            "made_for": self.made_for,
            "step": self.schedule.steps,
            "at": self.schedule.at,
            "limit": self.schedule.limit,
            "seconds": self.clock.spent(),
            "best": self.best,
            "looks": self.looks,
            "looked_at": self.looked_at,
            "look_rows": self.look_rows,
            "without_better": self.without_better,
            "loss": self.known_loss(),
            "tokens": self.tokens,
            "cpu_seconds": self.cpu_seconds,
            "train_seconds": self.train_seconds,
            "bare": self.bare.judged if self.bare else None,
            "pace": self.pace,
        }
        groups = {"adapter": self.tensors, "best": self.best_tensors}
        groups.update(checkpoint.moments(self.optimiser, self.tensors))
        checkpoint.save(self.folder, state, groups)
        self.saved_at = time.monotonic()

    def resume(self, state: dict, groups: dict):
        lora.restore(self.model, groups["adapter"])
        checkpoint.put_moments(self.optimiser, self.tensors, groups, state["step"])
        self.schedule = Schedule(state["limit"], self.schedule.fixed, state["step"], state["at"])
        self.clock.before = state["seconds"]
        self.best, self.best_tensors = state["best"], groups.get("best", {})
        for name in ("looks", "looked_at", "without_better", "tokens", "cpu_seconds", "train_seconds"):
            setattr(self, name, state[name])
        # An older checkpoint has none of these.
        self.look_rows = state.get("look_rows", self.look_rows)
        self.pace = state.get("pace")
        self.bare = Agreement([tuple(row) for row in state["bare"]]) if state.get("bare") else None
        self._keep_time()
        if state.get("loss") is not None:
            self.loss = state["loss"]
        say(f"resumed at step {state['step']}, after {state['seconds']:.0f} s of the budget")

    def known_loss(self) -> float | None:
        """The smoothed loss; `None` where no step was made, since JSON has no NaN."""
        return None if self.loss != self.loss else round(self.loss, 4)

    # -- the loop ------------------------------------------------------------

    def run(self):
        """Trains until the steps or the time are over. What interrupts it, a reader that
        went away included, finds the last whole step kept."""
        try:
            self._run()
        except Interrupted:
            self.save()
            raise

    def _run(self):
        self.model.train()
        while not self.schedule.over(self.clock.training_left()):
            epoch, first = divmod(self.schedule.steps, self.per_epoch)
            rows = self.varied(epoch) if epoch and self.varied else self.train
            self.vocabulary.meet(rows)
            for batch in tokens.batches(rows, self.a_step, self.options.seed, epoch)[first:]:
                self._step(batch)
                if self.schedule.over(self.clock.training_left()):
                    return
                if self.schedule.at - self.looked_at >= 1 / LOOKS and self.schedule.at < 1 - 0.5 / LOOKS:
                    self._look()
                if time.monotonic() - self.saved_at > self.options.checkpoint_seconds:
                    self.save()

    def _step(self, batch):
        began, cpu = time.monotonic(), time.process_time()
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self.schedule.rate()
        self.vocabulary.begin_step()
        total, replies = 0.0, sum(s.learnt for s in batch)
        for piece in tokens.micro(batch, self.options.micro_tokens):
            if self.stopped():
                raise Interrupted("stopped by a signal")
            loss = self._loss(piece) / replies
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self.tensors.values(), CLIP).item()
        if lora.finite(total) and lora.finite(norm):
            self.optimiser.step()
            self.bad = 0
            self.loss = total if self.loss != self.loss else 0.95 * self.loss + 0.05 * total
        else:
            self.bad += 1
            if self.bad >= BAD_STEPS:
                raise nan_loss(self.schedule.steps)
        self.optimiser.zero_grad(set_to_none=True)
        took = time.monotonic() - began
        self.tokens += sum(map(len, batch))
        self.cpu_seconds += time.process_time() - cpu
        self.train_seconds += took
        left = self.clock.training_left()
        self.schedule.stepped(took, left)
        self.progress.progress(
            "train",
            self.schedule.steps,
            self.schedule.of(left),
            self._seconds_left(took),
            loss=self.known_loss(),
            tokens_per_second=round(self.tokens / max(self.train_seconds, 1e-9)),
        )

    def _seconds_left(self, took: float) -> float:
        return min(self.clock.left(), self.schedule.left(self.clock.training_left()) * took + self.clock.reserve)

    def _loss(self, piece):
        """The summed cross-entropy of the replies' tokens of these sequences."""
        device = next(iter(self.tensors.values())).device
        width = max(map(len, piece))
        ids = torch.full((len(piece), width), self.base.stop, dtype=torch.long)
        rows, places, targets, soft = [], [], [], []
        for i, s in enumerate(piece):
            ids[i, : len(s)] = torch.tensor(s.ids)
            told = dict(s.soft)
            for start, said in s.replies:
                end = start + len(said)
                soft += [(len(targets) + at - start, told[at]) for at in range(start, end) if at in told]
                rows += [i] * len(said)
                places += range(start - 1, end - 1)
                targets += said
        hidden = backbone(self.model)(input_ids=ids.to(device), use_cache=False)[0]
        picked = hidden[torch.tensor(rows, device=device), torch.tensor(places, device=device)]
        return self.vocabulary.loss(picked, torch.tensor(targets, device=device), soft)

    # -- looks ---------------------------------------------------------------

    def _evaluate(self, rows: int, deadline: float):
        def told(done, of):
            self.progress.progress("evaluate", done, of, self.clock.left())

        rows = self.development[:rows]
        return evaluate(self.model, self.base, rows, deadline, self.stopped, told, limit=self.at_once)

    def answer_held(self, examples) -> Agreement:
        """What was chosen, on rows that nothing has looked at. Asked once, after
        `finish`, for nothing may follow from it."""

        def told(done, of):
            self.progress.progress("held", done, of, self.clock.left())

        pace, end = self.pace or 0.0, self.clock.end(LAST_END)
        size = measure.batch(end - time.monotonic(), pace)
        return evaluate(self.model, self.base, examples, end, self.stopped, told, size, pace, self.at_once)

    def _look(self):
        """A glance at agreement, always on the first rows of the same order, so
        that looks compare; how many, the first look's speed says."""
        share = LOOK_SHARE * self.clock.total
        result = self._evaluate(self.look_rows, time.monotonic() + 3 * share)
        if self.stopped():
            raise Interrupted("stopped by a signal")
        self._keep_time(result)
        self.looked_at = self.schedule.at
        self.looks += 1
        self.progress.event(
            "evaluated", step=self.schedule.steps, agreement=round(result.share, 4), rows=result.rows
        )
        if self.looks == 1:  # the first look only sets how large the others are
            self.look_rows = max(8, min(len(self.development), LAST_ROWS // 2, int(result.rows * share / max(result.seconds, 1e-3))))
            return
        self._judge(result)
        answered = sum(not e.defers for e in self.development[: self.best.get("rows", 0)])
        if self.without_better >= PATIENCE and self.best["agreement"] == 1.0 and answered >= SURE_ROWS:
            say("every row agrees, look after look: cooling down")
            self.schedule.cool()
            self.without_better = 0

    def _judge(self, result):
        if result.share > self.best["agreement"]:
            self.without_better = 0
        if result.share >= self.best["agreement"]:  # later wins a tie
            self.best = {"agreement": result.share, "step": self.schedule.steps, "rows": result.rows}
            self.best_tensors = lora.snapshot(self.model)
        self.without_better += 1

    def finish(self):
        """The last evaluation, and back to the best look where that was better
        on the same rows by more than chance: the rate was still high then, and a
        look has few rows. Gives agreement on as many rows as time allows, that of the
        held rows aside."""
        end = self.clock.end(LAST_END) - self.held_seconds
        if self.best["step"]:
            last = self._evaluate(self.best["rows"], end)
            if last.rows == self.best["rows"] and worse(last.share, self.best["agreement"], last.rows):
                say(f"the adapter of step {self.best['step']} was better: back to it")
                lora.restore(self.model, self.best_tensors)
        result = self._evaluate(min(LAST_ROWS, len(self.development)), end)
        self._keep_time(result)
        self.progress.event("evaluated", step=self.schedule.steps, agreement=round(result.share, 4), rows=result.rows)
        return result
