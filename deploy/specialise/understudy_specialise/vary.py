"""Other values in the same sentences, from the second epoch on.

What a call's argument says often stands in the question word for word, and most
values that will come were never seen: a row read a second time teaches its names
by heart, not where a name begins and ends. So from the second epoch on some values
change places with values of other rows for the same argument of the same tool, in
the question and in the reply alike. Only a value that stands once in each is
changed, so the changed row is as true as the first.

Only of arguments that are open, such as names, cities and titles. Where the values are
a closed set, such as intents, queues and units, none will come that was not seen, and
another one of them is another answer: "I want a refund" is no "I want a card_arrival".
How likely a value that was never seen is, the share of values that were seen once
says (Good and Turing: Good 1953, doi:10.1093/biomet/40.3-4.237).
"""

import json
import random
import re
from collections import Counter
from dataclasses import replace

from .evaluate import calls

LEAST = 10  # different values of an argument that is open; of fewer that share says little
NEW = 0.1  # the least chance that its next value was never seen


def is_open(seen: Counter) -> bool:
    """Whether the values that were seen of an argument, and how often, leave others to come."""
    once = sum(count == 1 for count in seen.values())
    return len(seen) >= LEAST and once >= NEW * seen.total()


def _leaves(value, path=()):
    """(path, text) of every text in a JSON value; places in a list have one path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, (*path, "[]"))
    elif isinstance(value, str):
        yield path, value


def values(reply: str) -> list:
    """(tool and path, text) of every text in a reply that is calls or JSON."""
    called = calls(reply)
    if called is not None:
        return [((name, *path), text) for name, arguments in called for path, text in _leaves(arguments)]
    try:
        value = json.loads(reply)
    except ValueError:
        return []
    return list(_leaves(value)) if isinstance(value, (dict, list)) else []


def _written(text: str, like: str) -> str:
    """A text as the reply's JSON writes it, its escapes as the reply has them."""
    return json.dumps(text, ensure_ascii="\\u" in like)


def _alone(text: str) -> re.Pattern:
    """The text, where no longer word goes on before or after it."""
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")


class Values:
    """The rows of an epoch. The same seed and epoch give the same rows, so that a
    resumed run needs to know only where it was."""

    def __init__(self, rows, share: float, seed: int):
        self.rows, self.share, self.seed = rows, share, seed
        together: dict = {}
        for row in rows:
            together[row.conversation] = together.get(row.conversation, 0) + 1
        seen: dict = {}  # tool and path -> the values seen there, in order, and how often
        self.places = []  # of each row, what may be changed
        for row in rows:
            found = values(row.reply)
            for place, text in found:
                seen.setdefault(place, Counter())[text] += 1
            # What a conversation says again in its next row must stay.
            self.places.append(self._free(row, found) if together[row.conversation] == 1 else [])
        self.known = {place: list(texts) for place, texts in seen.items() if is_open(texts)}
        self.places = [[(p, t) for p, t in free if p in self.known] for free in self.places]

    @staticmethod
    def _free(row, found) -> list:
        def once(text):
            said = sum(len(_alone(text).findall(m["content"])) for m in row.messages)
            # A value within another one would be changed with it.
            same = sum(text in other or other in text for _, other in found)
            return said == 1 and same == 1 and row.reply.count(_written(text, row.reply)) == 1

        return [(place, text) for place, text in found if text.strip() and once(text)]

    def of(self, epoch: int) -> list:
        """The rows in their order; each is a new row, or as it was."""
        if epoch == 0:
            return self.rows
        chance = random.Random(f"values:{self.seed}:{epoch}")
        return [self._other(row, free, chance) for row, free in zip(self.rows, self.places)]

    def _other(self, row, free, chance):
        swaps = [(text, chance.choice(self.known[place])) for place, text in free if chance.random() < self.share]
        swaps = [(old, new) for old, new in swaps if old != new]
        if not swaps:
            return row
        # All at once: a new value may hold an old one.
        say = dict(swaps)
        asked = re.compile("|".join(_alone(old).pattern for old in sorted(say, key=len, reverse=True)))
        messages = tuple({**m, "content": asked.sub(lambda m: say[m[0]], m["content"])} for m in row.messages)
        written = {_written(old, row.reply): _written(new, row.reply) for old, new in swaps}
        reply = re.compile("|".join(map(re.escape, written))).sub(lambda m: written[m[0]], row.reply)
        # What the provider nearly said was said of the other values.
        return replace(row, messages=messages, reply=reply, tokens=())
