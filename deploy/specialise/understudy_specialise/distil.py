"""What the provider nearly said, as this base's tokens.

Where a call asked for log-probabilities, the provider told for each of its
tokens how likely the alternatives were. Its tokens are not the base's: a place
is used only where both begin a token at the same letter, and where the
provider's own choice begins with the token that is to be learnt. An alternative
stands for the first token that the base would write it with.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Alternatives:
    token: str  # the provider's token
    others: tuple  # (text, log-probability) of what it might have been, itself among them


def read(value) -> tuple | None:
    """The row's `tokens`, or None where they are not of that form."""
    if not isinstance(value, list):
        return None
    out = []
    for each in value:
        try:
            others = tuple((str(text), float(logprob)) for text, logprob in each["top"])
            out.append(Alternatives(str(each["token"]), others))
        except (TypeError, KeyError, ValueError):
            return None
    return tuple(out)


def _count(text: str) -> int:
    """Characters that are no white space."""
    return sum(not c.isspace() for c in text)


def _letters(texts) -> list[int]:
    """How many characters that are no white space come before each text."""
    out, seen = [], 0
    for text in texts:
        out.append(seen)
        seen += _count(text)
    return out


def _once(places: list[int]) -> dict:
    """place -> index, of places that only one text begins at."""
    found: dict = {}
    for index, place in enumerate(places):
        found[place] = None if place in found else index
    return {place: index for place, index in found.items() if index is not None}


def align(told: tuple, reply: str, ids, offsets, first) -> tuple:
    """((index among the reply's ids, ((id, share), …)), …); shares sum to 1.

    `offsets`: (start, end) in the reply of each id; `first`: the first id that the
    base writes a text with, or None. Empty where the provider's tokens are not
    the reply's text."""
    bare = lambda text: "".join(text.split())
    if not told or bare("".join(a.token for a in told)) != bare(reply):
        return ()
    # A character of several tokens has one place, which is then nobody's.
    mine = _once([_count(reply[:start]) for start, _ in offsets])
    out = []
    for place, index in _once(_letters(a.token for a in told)).items():
        at = mine.get(place)
        if at is None or first(told[index].token) != ids[at]:
            continue
        shares: dict = {}
        for text, logprob in told[index].others:
            id_ = first(text)
            if id_ is not None:
                shares[id_] = shares.get(id_, 0.0) + math.exp(min(logprob, 0.0))
        whole = sum(shares.values())
        if whole > 0 and ids[at] in shares and len(shares) > 1:
            out.append((at, tuple((i, s / whole) for i, s in sorted(shares.items()))))
    return tuple(sorted(out))
