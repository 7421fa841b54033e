"""Reads the header and the rows, and refuses what cannot be trained on.

Rows are kept in memory only. The SHA-256 over the lines that are learnt from and
looked at, as they came, tells a resumed run whether it got the same rows; what the
header says of them may change from day to day. Held rows are not among them: they
decide nothing.
"""

import hashlib
import json
from dataclasses import dataclass, field

from . import distil
from .refusals import Refusal, bad_row

ROLES = ("user", "assistant", "tool")
SPLITS = ("train", "development", "held")


@dataclass(frozen=True)
class Row:
    id: str
    conversation: str
    messages: tuple
    reply: str
    tokens: tuple = ()  # the provider's, with their alternatives, where it told them
    defers: bool = False  # a text that nobody could say again: leaving it to the provider is learnt


@dataclass
class Rows:
    task: str
    data_sha256: str
    calls: str  # how the replies write tool calls, for whoever asks the adapter
    curation: dict
    train: list = field(default_factory=list)
    development: list = field(default_factory=list)
    held: list = field(default_factory=list)  # measured once, when nothing is left to choose
    rows_sha256: str = ""


def read(lines) -> Rows:
    """Reads bytes lines. Raises `Refusal` with the line's number."""
    digest = hashlib.sha256()
    rows, seen, split_of = None, set(), {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            raise bad_row(number, "not JSON") from None
        if not isinstance(value, dict):
            raise bad_row(number, "not a JSON object")
        if rows is None:
            rows = _header(number, value)
            continue
        row, split = _row(number, value)
        if split != "held":
            digest.update(line)
        if row.id in seen:
            raise bad_row(number, f"the id {row.id} came before")
        seen.add(row.id)
        if split_of.setdefault(row.conversation, split) != split:
            raise bad_row(number, f"conversation {row.conversation} is in two splits")
        getattr(rows, split).append(row)
    if rows is None:
        raise Refusal("bad_row", "no header: stdin was empty", "pipe the rows in, header first")
    rows.rows_sha256 = digest.hexdigest()
    return rows


def _header(number: int, value: dict) -> Rows:
    for key in ("task", "data_sha256"):
        if not isinstance(value.get(key), str):
            raise bad_row(number, f"the header has no {key}")
    calls = value.get("calls", "json")
    if calls not in ("json", "line"):
        raise bad_row(number, f"the header's calls are {calls!r}, neither json nor line")
    return Rows(value["task"], value["data_sha256"], calls, value.get("curation") or {})


def _row(number: int, value: dict) -> tuple[Row, str]:
    for key in ("id", "conversation", "split", "reply"):
        if not isinstance(value.get(key), str):
            raise bad_row(number, f"{key} is missing or not a text")
    if value["split"] not in SPLITS:
        raise bad_row(number, f"the split is {value['split']!r}, not train, development or held")
    messages = value.get("messages")
    if not isinstance(messages, list):
        raise bad_row(number, "messages is missing or not a list")
    kept = []
    for message in messages:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if role not in ROLES or not isinstance(content, str):
            raise bad_row(number, "a message needs a role (user, assistant or tool) and a text")
        kept.append({"role": role, "content": content})
    if not any(m["content"].strip() for m in kept):
        raise Refusal(
            "empty_part",
            f"row {value['id']} (line {number}) has nothing in its part: what all calls share says it all",
            "serve such a task by exact repeat, or have the form leave a slot",
        )
    if not value["reply"].strip():
        raise bad_row(number, "the reply is empty")
    told = distil.read(value.get("tokens", []))
    if told is None:
        raise bad_row(number, 'tokens is not a list of {"token", "top": [[text, logprob], …]}')
    defers = value.get("defers", False)
    if not isinstance(defers, bool):
        raise bad_row(number, "defers is neither true nor false")
    return Row(value["id"], value["conversation"], tuple(kept), value["reply"], told, defers), value["split"]


def check(rows: Rows, min_rows: int, min_development: int):
    """Refuses data that would not teach anything, or not show that it did."""
    answered = sum(not row.defers for row in rows.train)
    if answered < min_rows or len(rows.development) < min_development:
        raise Refusal(
            "too_few_rows",
            f"{answered} rows to train on and {len(rows.development)} to develop on; "
            f"{min_rows} and {min_development} are needed",
            "record more calls of this task",
        )
    if len({"" if row.defers else row.reply for row in rows.train}) == 1:
        raise Refusal(
            "one_reply",
            "all rows have the same reply, so there is nothing to learn",
            "serve such a task by exact repeat, or check what the task joins",
        )
