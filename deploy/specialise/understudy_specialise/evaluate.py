"""Agreement on development rows: would the greedy reply be the provider's?

Greedy decoding writes exactly the recorded tokens when each of them is the
most likely one given those before, so one pass over prompt and reply decides
most rows without generating. A row that parts from the recorded tokens can
still agree, by another spelling of the same call or JSON: it is decoded on from
where it parted, in batches with a cache, and compared by value.
"""

import json
import time
from dataclasses import dataclass, field

import torch

# The engine writes no empty reply where that is less probable (shadow/onnx/src/generate.rs).
SURELY_NOTHING = 0.9
SPARE = 16  # tokens that a reply may be longer than the recorded one
# Tokens that pass through the model at once. Nothing looks at the time within a pass, and
# 32 rows of an agent that reads long pages are 44,000: a minute and more.
AT_ONCE = 4096


@dataclass
class Agreement:
    judged: list = field(default_factory=list)  # of each row in order: (agrees, its tool's name or its text is equal)
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        return len(self.judged)

    @property
    def agreed(self) -> int:
        return sum(agrees for agrees, _ in self.judged)

    @property
    def named(self) -> int:
        return sum(equal for _, equal in self.judged)

    @property
    def share(self) -> float:
        return self.agreed / self.rows if self.rows else 0.0

    @property
    def pace(self) -> float | None:
        """Seconds a row took."""
        return self.seconds / self.rows if self.rows else None

    def first(self, rows: int) -> "Agreement":
        """Of the first rows alone."""
        return Agreement(self.judged[:rows])

    def as_card(self) -> dict:
        out = {"rows": self.rows, "agreed": self.agreed, "agreement": round(self.share, 4)}
        return {**out, "name_agreement": round(self.named / self.rows, 4) if self.rows else 0.0}


def calls(text: str):
    """Tool calls as the engine's grammar writes them, one a line: `>name {…}`."""
    out = []
    for line in text.split("\n"):
        name, mark, arguments = line.partition(" {")
        if not mark or not name.startswith(">"):
            return None
        try:
            out.append([name[1:], json.loads("{" + arguments)])
        except ValueError:
            return None
    return out


def normal(text: str):
    """What two replies are compared by: calls and JSON by value, text by its words."""
    value = calls(text)
    if value is None:
        try:
            value = json.loads(text)
        except ValueError:
            pass
    if isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True)
    return " ".join(text.split())


def names(text: str):
    """The tools that a reply calls; of any other, the words."""
    called = calls(text)
    return " ".join(text.split()) if called is None else [name for name, _ in called]


@torch.no_grad()
def evaluate(
    model, base, examples, deadline: float, stopped, on_row=None, size: int = 32, pace: float | None = None,
    limit: int = AT_ONCE,
) -> Agreement:
    """Goes through `examples` until `deadline` (monotonic seconds), in batches of `size`
    rows at most and `limit` tokens. The first batch is judged in any case, and a reply
    that was cut off by then disagrees. Not so with `pace`, the seconds that a row takes
    (0 where nobody knows): then no batch is judged that was cut off, and none begun that
    would end late."""
    began, out, slowest = time.monotonic(), Agreement(), 0.0
    model.eval()
    for batch in _batches(examples, size, limit):
        start = time.monotonic()
        may_be_late = not out.rows and pace is None
        took = max(slowest, (pace or 0.0) * len(batch))
        if start + took > deadline and not may_be_late:
            break
        parted = _parted(model, base, batch)
        missed = [(e, ids) for e, ids in zip(batch, parted) if ids is not None]
        texts, whole = _continue(model, base, missed, deadline, stopped)
        if not whole and not may_be_late:
            break
        for e, ids in zip(batch, parted):
            text = e.text if ids is None else texts.pop(0)
            # White space is no text, and no end either.
            equal = ids is None if e.defers else normal(text) == normal(e.text)
            out.judged.append((equal, equal if e.defers else names(text) == names(e.text)))
        slowest = max(slowest, time.monotonic() - start)
        if on_row:
            on_row(out.rows, len(examples))
        if stopped():
            break
    model.train()
    out.seconds = time.monotonic() - began
    return out


def _batches(examples, size: int, limit: int):
    """The rows in their order, `size` at a time at most, and `limit` tokens with padding
    (one row at least)."""
    batch, longest = [], 0
    for e in examples:
        longest = max(longest, len(e))
        if batch and (len(batch) == size or (len(batch) + 1) * longest > limit):
            yield batch
            batch, longest = [], len(e)
        batch.append(e)
    if batch:
        yield batch


def _parted(model, base, batch) -> list:
    """For each row None when greedy writes it, else the reply's ids up to and
    with the first token that differs."""
    device = next(model.parameters()).device
    width = max(map(len, batch))
    ids = torch.full((len(batch), width), base.stop, dtype=torch.long)
    for i, e in enumerate(batch):
        ids[i, : len(e)] = torch.tensor(e.prompt + e.reply)
    hidden = backbone(model)(input_ids=ids.to(device), use_cache=False)[0]
    out = []
    for i, e in enumerate(batch):
        first, last = len(e.prompt) - 1, len(e) - 1
        logits = head(model)(hidden[i, first:last])
        best = logits.argmax(-1).tolist()
        if best[0] == base.stop and logits[0].float().softmax(-1)[base.stop] < SURELY_NOTHING:
            logits[0, base.stop] = float("-inf")
            best[0] = logits[0].argmax(-1).item()
        at = next((k for k, (x, y) in enumerate(zip(best, e.reply)) if x != y), None)
        out.append(None if at is None else (*e.reply[:at], best[at]))
    return out


def _continue(model, base, missed, deadline, stopped) -> tuple[list[str], bool]:
    """Decodes greedily on from prompt and the reply's start; texts in order, and
    whether they were written to their ends."""
    done = [list(ids) for _, ids in missed]
    live = [
        i
        for i, (e, ids) in enumerate(missed)
        if ids[-1] != base.stop and _hopeful(base, e, ids)
    ]
    if not live:
        return [_text(base, ids) for ids in done], True
    device = next(model.parameters()).device
    starts = [missed[i][0].prompt + missed[i][1] for i in live]
    width = max(map(len, starts))
    ids = torch.full((len(live), width), base.stop, dtype=torch.long)
    mask = torch.zeros((len(live), width), dtype=torch.long)
    for row, start in enumerate(starts):
        ids[row, width - len(start) :] = torch.tensor(start)
        mask[row, width - len(start) :] = 1
    ids, mask, cache = ids.to(device), mask.to(device), None
    limit = {i: len(missed[i][0].reply) + SPARE for i in live}
    while live and not stopped() and time.monotonic() < deadline:
        place = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        seen = backbone(model)(
            input_ids=ids, attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=True
        )
        cache = seen.past_key_values
        best = head(model)(seen.last_hidden_state[:, -1]).argmax(-1).tolist()
        keep = []
        for row, (i, token) in enumerate(zip(live, best)):
            done[i].append(token)
            if token != base.stop and len(done[i]) < limit[i]:
                keep.append(row)
        if len(keep) < len(live):
            live = [live[row] for row in keep]
            if not live:
                break
            chosen = torch.tensor(keep, device=device)
            cache.batch_select_indices(chosen)
            mask = mask[chosen]
            best = [best[row] for row in keep]
        ids = torch.tensor(best, device=device)[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], 1)
    return [_text(base, ids) for ids in done], not live


def _hopeful(base, example, ids) -> bool:
    """A reply that is a call or JSON can only agree when what was written starts
    as one does, and other text when it is equal token by token."""
    start = _text(base, ids).lstrip()
    return example.text[:1] in (">", "{", "[") and start[:1] == example.text[:1]


def _text(base, ids) -> str:
    return base.tokenizer.decode([t for t in ids if t != base.stop], skip_special_tokens=False)


def backbone(model):
    """The model below its head: hidden states, no logits."""
    return model.get_base_model().model


def head(model):
    return model.get_base_model().get_output_embeddings()
