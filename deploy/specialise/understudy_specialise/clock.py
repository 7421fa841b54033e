"""The wall-clock budget, of which everything is a part: loading, evaluation and
writing too, and what earlier runs of a resumed one took."""

import time


class Clock:
    def __init__(self, minutes: float, began: float):
        self.total = minutes * 60
        self.began = began  # monotonic seconds at the start of the process
        self.before = 0.0  # seconds that the runs before this one took
        self.reserve = 0.0  # seconds kept for what follows training

    def spent(self) -> float:
        return time.monotonic() - self.began + self.before

    def left(self) -> float:
        return self.total - self.spent()

    def training_left(self) -> float:
        return self.left() - self.reserve

    def end(self, share: float = 1.0) -> float:
        """The monotonic moment at which this share of the budget is spent."""
        return self.began - self.before + self.total * share
