"""How good the adapter is, and on which rows: the card's figures.

*Compared*: the bare base and the adapter on the very same development rows. The
base answers before the first step, when B is zero and the wrapped model is the base.
*Development*: the adapter on as many of those rows as time allows. They chose when
to stop and which look to keep, so they flatter.
*Held*: the adapter once on rows that nothing has looked at, after the last choice.
Nothing follows from it. Which of them depends on their ids alone, so that two
adapters of the same rows are measured on the same ones.
"""

import hashlib
import time

from .evaluate import Agreement, evaluate
from .interval import clopper_pearson

BASE_ROWS = 64  # development rows that the bare base answers, at most
BASE_SHARE = 0.02  # of the budget, for that
HELD_ROWS = 100  # held rows that the adapter answers, at most
HELD_SHARE = 0.03  # of the budget, for that, at most
MARGIN = 1.25  # of the time that they take by the speed last seen
WIDE, NARROW = 32, 8  # rows at a time: many are faster a row, of few less is lost where time ends


def bare(model, base, development, clock, stopped, limit: int) -> Agreement | None:
    """The base as it is, on the part alone, `limit` tokens at once; `None` where no row
    was in time."""
    deadline = time.monotonic() + BASE_SHARE * clock.total
    result = evaluate(model, base, development[:BASE_ROWS], deadline, stopped, size=NARROW, pace=0.0, limit=limit)
    return result if result.rows else None


def drawn(rows: list) -> list:
    """The held rows that are measured."""
    return sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest())[:HELD_ROWS]


def reserve(total: float, pace: float | None, rows: int) -> float:
    """Seconds to keep for so many held rows, of a budget of `total`, where a row
    takes `pace`."""
    most = HELD_SHARE * total if rows else 0.0
    return most if pace is None else min(most, MARGIN * pace * min(rows, HELD_ROWS))


def batch(seconds: float, pace: float) -> int:
    """Rows at a time where so much time is left."""
    return WIDE if 2 * WIDE * pace <= seconds else NARROW


def compared(bare: Agreement | None, specialised: Agreement, development: list) -> dict:
    """Both on the same first rows of `development`, and the adapter on all it answered."""
    rows = min(bare.rows if bare else BASE_ROWS, specialised.rows)
    return {
        "compared": {"split": "development", "rows": rows, "exchanges": [e.id for e in development[:rows]]},
        "base": _figure(bare.first(rows), development) if bare else None,
        "specialised": _figure(specialised.first(rows), development),
        "development": _figure(specialised, development),
    }


def _figure(result: Agreement, examples: list) -> dict:
    """`left`: of its rows those that are the provider's, and agree where they are left."""
    return {**result.as_card(), "left": sum(e.defers for e in examples[: result.rows])}


def held(result: Agreement, examples: list, of: int, past_context: int) -> dict | None:
    """`examples`: what was to be answered, of `of` held rows; `None` where none was."""
    if not result.rows:
        return None
    return {
        **_figure(result, examples),
        "of": of,
        "left_out_past_context": past_context,
        "by_conversation": _by_conversation(result, examples),
        "exchanges": [e.id for e in examples[: result.rows]],
    }


def _by_conversation(result: Agreement, examples: list) -> dict:
    means: dict = {}
    for example, (agrees, _) in zip(examples, result.judged):
        means.setdefault(example.conversation or example.id, []).append(agrees)
    shares = [sum(of) / len(of) for of in means.values()]
    low, high = clopper_pearson(sum(shares), len(shares))
    return {
        "conversations": len(shares),
        "agreement": round(sum(shares) / len(shares), 4),
        "interval": [round(low, 4), round(high, 4)],
    }


def sentences(metrics: dict) -> list[str]:
    """For people."""
    said, share = [], lambda of: f"{100 * of['agreement']:.1f} %"
    left = lambda of: f"; {of['left']} of them are to be left to the provider" if of["left"] else ""
    base, specialised, held = metrics["base"], metrics["specialised"], metrics["held"]
    if base:
        said.append(
            f"on the same {base['rows']} development rows the bare base agrees on {share(base)}, "
            f"the adapter on {share(specialised)}{left(specialised)}"
        )
    if held:
        each = held["by_conversation"]
        low, high = (100 * bound for bound in each["interval"])
        said.append(
            f"held rows, which nothing had looked at: {held['agreed']} of {held['rows']} agree; over their "
            f"{each['conversations']} conversations {share(each)} ({low:.1f} to {high:.1f} % at 95 %){left(held)}"
        )
    else:
        said.append("no held row was measured: there is none, or no time was left")
    return said
