"""Fits a cosine to a clock.

The rate follows a cosine over the run's progress from 0 to 1. How many steps
that is depends on a machine that may be shared, so each step moves progress on
by its share of what is left: (1 - progress) / steps left. Whatever the speed
does, the rate stays continuous and reaches its end when the time does.
"""

import math

WARM = 0.03  # share of the run over which the rate rises
FLOOR = 0.02  # of the rate, so that the last steps still count
MOST_ROWS, LEAST_ROWS = 8, 2  # a step
LEAST_STEPS = 200  # of fewer not even the form of a reply is learnt


def rows_a_step(rows: float) -> int:
    """How many rows a step takes where there is time for so many: large steps are
    smoother, but a run has to have some."""
    fitting = MOST_ROWS
    while fitting > LEAST_ROWS and rows < fitting * LEAST_STEPS:
        fitting //= 2
    return fitting


class Schedule:
    """`limit`: the steps after which the epochs asked for are done."""

    def __init__(self, limit: int, fixed: bool = False, steps: int = 0, at: float = 0.0):
        self.limit = max(1, limit)
        self.fixed = fixed
        self.steps = steps
        self.at = at  # progress, 0 to 1
        self._pace = None  # seconds a step, smoothed

    def rate(self) -> float:
        """The factor on the peak rate for the next step."""
        if self.at < WARM:
            return max(0.1, self.at / WARM)
        turn = (self.at - WARM) / (1 - WARM)
        return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, turn)))

    def left(self, seconds: float) -> int:
        """Steps that the time and the epochs still allow."""
        most = self.limit - self.steps
        if self.fixed or self._pace is None:
            return max(0, most)
        return max(0, min(most, int(seconds / self._pace)))

    def stepped(self, took: float, seconds: float):
        """A step took so long, and training has so many seconds left."""
        self._pace = took if self._pace is None else 0.9 * self._pace + 0.1 * took
        self.steps += 1
        self.at += (1 - self.at) / (self.left(seconds) + 1)

    def of(self, seconds: float) -> int:
        return self.steps + self.left(seconds)

    def cool(self):
        """Brings the end forward: the rate comes down over the next part of the
        run instead of stopping where it is high. Not where the steps are fixed."""
        if self.fixed:
            return
        self.limit = min(self.limit, self.steps + max(1, self.steps // 6))

    def over(self, seconds: float) -> bool:
        return self.left(seconds) == 0 or self.at >= 1.0 or seconds <= (self._pace or 0.0)
