"""From rows to token ids, and from ids to batches of like length.

Rows of a conversation tell its beginning again and again. Where a row's prompt
goes on from the row before, token by token, both are one sequence with two
replies to learn: what they share is read once, and each reply is still learnt
after exactly the tokens that come before it when it is asked for.
"""

import random
from dataclasses import dataclass

from . import distil, prompt
from .refusals import Refusal

# Batches are sorted by length within pools of this many, so that a batch has
# little padding and its rows still change from epoch to epoch.
POOL = 16
# Sequences of a conversation that a row may go on from: the latest begun. One whose rows
# do not go on from each other has as many as rows.
OPEN = 64


@dataclass(frozen=True)
class Example:
    id: str
    prompt: tuple  # ids of the rendered messages
    reply: tuple  # ids of the reply and of the stop token; of one that is left to the provider the stop token alone
    text: str  # the reply as it is, to compare with; empty where it is left to the provider
    conversation: str = ""
    soft: tuple = ()  # (index in the reply, ((id, share), …)): what the provider nearly said
    defers: bool = False  # the reply is left to the provider

    def __len__(self):
        return len(self.prompt) + len(self.reply)


@dataclass(frozen=True)
class Sequence:
    """What passes through the model at once: one row, or several that go on from
    each other."""

    ids: tuple
    replies: tuple  # (place, ids) of each: what is learnt from that place on, the stop token included
    soft: tuple = ()  # (index in ids, ((id, share), …))

    def __len__(self):
        return len(self.ids)

    @property
    def learnt(self) -> int:
        """Tokens that the loss is on."""
        return sum(len(said) for _, said in self.replies)


def sequences(examples: list) -> list[Sequence]:
    """The rows as sequences, in the order of each one's first row."""
    order = {e.id: at for at, e in enumerate(examples)}
    by_conversation: dict = {}
    for e in examples:
        by_conversation.setdefault(e.conversation or e.id, []).append(e)
    out = []  # (place of the first row, the sequence)
    for rows in by_conversation.values():
        # A long conversation is several, since its window moves, and by length their
        # rows come in turns.
        open_ = []
        for e in sorted(rows, key=lambda e: (len(e.prompt), order[e.id])):
            latest = open_[-OPEN:]
            before = max((s for s in latest if _goes_on(e, s[1])), key=lambda s: len(s[1]), default=None)
            if before:
                before[1] = _after(before[1], e)
            else:
                open_.append([order[e.id], _after(Sequence((), ()), e)])
        out += open_
    return [sequence for _, sequence in sorted(out, key=lambda s: s[0])]


def _goes_on(e: Example, before: Sequence) -> bool:
    end = len(before)
    # The last token alone says no to most.
    return end <= len(e.prompt) and e.prompt[end - 1] == before.ids[-1] and e.prompt[:end] == before.ids


def _after(before: Sequence, e: Example) -> Sequence:
    """What came before, up to and with this row. A reply that is left to the provider
    is learnt and not read: the conversation goes on with what the provider said."""
    soft = tuple((len(e.prompt) + at, shares) for at, shares in e.soft)
    ids = e.prompt if e.defers else e.prompt + e.reply
    return Sequence(ids, (*before.replies, (len(e.prompt), e.reply)), before.soft + soft)


def a_step(sequences: list, rows: int) -> int:
    """How many sequences a step takes for about so many rows."""
    mean = sum(len(s.replies) for s in sequences) / max(len(sequences), 1)
    return max(1, round(rows / max(mean, 1)))


def encode(rows, tokenizer, stop: int) -> list[Example]:
    """Encodes prompt and reply apart, as the engine does: it never sees a token
    that joins the end of the one to the start of the other."""
    plain = prompt.breaker(tokenizer)
    said = ["" if r.defers else plain(r.reply) for r in rows]
    prompts = tokenizer.encode_batch([prompt.render(r.messages, plain) for r in rows], add_special_tokens=False)
    replies = tokenizer.encode_batch(said, add_special_tokens=False)
    known: dict = {}

    def first(text):
        if text not in known:
            known[text] = next(iter(tokenizer.encode(plain(text), add_special_tokens=False).ids), None)
        return known[text]

    return [
        Example(
            row.id, tuple(p.ids), (*r.ids, stop), "" if row.defers else row.reply, row.conversation,
            () if row.defers else distil.align(row.tokens, reply, r.ids, r.offsets, first), row.defers,
        )
        for row, reply, p, r in zip(rows, said, prompts, replies)
    ]  # fmt: skip


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


def batches(sequences: list, size: int, seed: int, epoch: int) -> list[list[Sequence]]:
    """The batches of an epoch: the same for the same seed and epoch, so that a
    resumed run needs to know only where it was."""
    chance = random.Random(f"{seed}:{epoch}")
    order = list(sequences)
    chance.shuffle(order)
    out = []
    for at in range(0, len(order), size * POOL):
        pool = sorted(order[at : at + size * POOL], key=len)
        out += [pool[i : i + size] for i in range(0, len(pool), size)]
    chance.shuffle(out)
    return out


def micro(batch: list[Sequence], limit: int) -> list[list[Sequence]]:
    """Splits a batch so that each piece, padded, has at most `limit` tokens
    (one sequence at least)."""
    out = []
    for sequence in sorted(batch, key=len):
        if out and (len(out[-1]) + 1) * len(sequence) <= limit:
            out[-1].append(sequence)
        else:
            out.append([sequence])
    return out
