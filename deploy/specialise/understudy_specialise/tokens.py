"""From rows to token ids, and from ids to batches of like length."""

import random
from dataclasses import dataclass

from . import prompt
from .refusals import Refusal

# Batches are sorted by length within pools of this many, so that a batch has
# little padding and its rows still change from epoch to epoch.
POOL = 16


@dataclass(frozen=True)
class Example:
    id: str
    prompt: tuple  # ids of the rendered messages
    reply: tuple  # ids of the reply and of the stop token
    text: str  # the reply as it is, to compare with

    def __len__(self):
        return len(self.prompt) + len(self.reply)


def encode(rows, tokenizer, stop: int) -> list[Example]:
    """Encodes prompt and reply apart, as the engine does: it never sees a token
    that joins the end of the one to the start of the other."""
    prompts = tokenizer.encode_batch([prompt.render(r.messages) for r in rows], add_special_tokens=False)
    replies = tokenizer.encode_batch([r.reply for r in rows], add_special_tokens=False)
    return [
        Example(row.id, tuple(p.ids), (*r.ids, stop), row.reply)
        for row, p, r in zip(rows, prompts, replies)
    ]


def within(examples: list, context: int, drop: bool) -> tuple[list, list]:
    """What fits the context, and the ids of what does not (refused unless `drop`)."""
    long = [e for e in examples if len(e) > context]
    if long and not drop:
        raise Refusal(
            "too_long",
            f"{len(long)} of {len(examples)} rows are past the context of {context} tokens, "
            f"the longest with {max(map(len, long))}",
            "leave them out with --drop-long, or choose a base with a longer context",
        )
    return [e for e in examples if len(e) <= context], [e.id for e in long]


def batches(examples: list, size: int, seed: int, epoch: int) -> list[list[Example]]:
    """The batches of an epoch: the same for the same seed and epoch, so that a
    resumed run needs to know only where it was."""
    chance = random.Random(f"{seed}:{epoch}")
    order = list(examples)
    chance.shuffle(order)
    out = []
    for at in range(0, len(order), size * POOL):
        pool = sorted(order[at : at + size * POOL], key=len)
        out += [pool[i : i + size] for i in range(0, len(pool), size)]
    chance.shuffle(out)
    return out


def micro(batch: list[Example], limit: int) -> list[list[Example]]:
    """Splits a batch so that each piece, padded, has at most `limit` tokens
    (one row at least)."""
    out = []
    for example in sorted(batch, key=len):
        if out and (len(out[-1]) + 1) * len(example) <= limit:
            out[-1].append(example)
        else:
            out.append([example])
    return out
