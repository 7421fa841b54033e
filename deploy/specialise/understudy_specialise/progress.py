"""Progress as JSON lines on stdout; sentences for people go to stderr."""

import json
import sys
import time

from .refusals import Interrupted


class Progress:
    """Writes events. A line at most every `every` seconds for one phase."""

    def __init__(self, out=None, every: float = 2.0):
        self._out = out or sys.stdout
        self._every = every
        self._last = ("", 0.0)

    def event(self, kind: str, **fields):
        try:
            self._out.write(json.dumps({"event": kind, **fields}, ensure_ascii=False) + "\n")
            self._out.flush()
        except BrokenPipeError:
            raise Interrupted("nobody reads the progress any more") from None

    def progress(self, phase: str, done: int, of: int, seconds_left: float, **fields):
        """`seconds_left` is to the end of the whole run, not of the phase."""
        now = time.monotonic()
        if (phase, done < of) == (self._last[0], True) and now - self._last[1] < self._every:
            return
        self._last = (phase, now)
        left = max(0, round(seconds_left))
        self.event("progress", phase=phase, done=done, of=of, seconds_left=left, **fields)


def say(text: str):
    print(text, file=sys.stderr, flush=True)
