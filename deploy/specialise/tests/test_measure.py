"""What the card compares, and the held rows."""

import json
import random
import time
from types import SimpleNamespace

import pytest
from conftest import row, rows, stdin, train
from understudy_specialise import evaluate as evaluation, measure
from understudy_specialise.evaluate import Agreement, evaluate
from understudy_specialise.interval import clopper_pearson
from understudy_specialise.rows import read
from understudy_specialise.tokens import Example


def examples(n: int, conversation=lambda i: "") -> list:
    """The longest first."""
    return [Example(str(i), (1,) * (n - i), (2, 3), f"reply {i}", conversation(i)) for i in range(n)]


def answered(*agree: bool) -> Agreement:
    return Agreement([(a, True) for a in agree], 1.0)


def test_intervals_are_the_known_ones():
    assert clopper_pearson(3, 4) == pytest.approx((0.1941204, 0.9936905), abs=1e-6)
    assert clopper_pearson(20, 20) == pytest.approx((0.025 ** (1 / 20), 1.0), abs=1e-9)
    assert clopper_pearson(0, 20) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)), abs=1e-9)
    low, high = clopper_pearson(9.5, 12)
    assert low < 9.5 / 12 < high


def test_base_and_adapter_are_compared_on_the_same_rows():
    base, adapter = answered(False, True, False, False), answered(True, True, True, False, True, True)
    metrics = measure.compared(base, adapter, examples(9))
    assert metrics["compared"] == {"split": "development", "rows": 4, "exchanges": ["0", "1", "2", "3"]}
    assert (metrics["base"]["agreed"], metrics["specialised"]["agreed"]) == (1, 3)
    assert metrics["base"]["rows"] == metrics["specialised"]["rows"] == 4
    assert metrics["development"]["rows"] == 6 and metrics["development"]["agreed"] == 5
    # Where time ended before the adapter had answered as many.
    metrics = measure.compared(base, adapter.first(2), examples(9))
    assert (metrics["base"]["rows"], metrics["base"]["agreed"], metrics["specialised"]["rows"]) == (2, 1, 2)
    assert measure.compared(None, adapter, examples(9))["base"] is None


def test_rows_that_are_left_to_the_provider_are_told_apart():
    left = lambda i: Example(f"left {i}", (1,), (3,), "", "", (), True)
    metrics = measure.compared(answered(False, False), answered(True, True), [left(0), *examples(1)])
    assert (metrics["specialised"]["agreed"], metrics["specialised"]["left"]) == (2, 1)
    held = measure.held(answered(True, False), [left(0), left(1)], 2, 0)
    assert held["left"] == 2
    said = measure.sentences({**metrics, "held": held})
    assert "1 of them are to be left" in said[0] and "2 of them are to be left" in said[1], said


def test_white_space_is_no_call_that_is_left(monkeypatch):
    monkeypatch.setattr(evaluation, "_parted", lambda _m, _b, batch: [None, (7,)])
    monkeypatch.setattr(evaluation, "_continue", lambda *_: (["\n"], True))
    model = SimpleNamespace(eval=lambda: None, train=lambda: None)
    rows = [Example(str(i), (1,), (3,), "", "", (), True) for i in range(2)]
    result = evaluate(model, None, rows, time.monotonic() + 60, lambda: False)
    assert result.judged == [(True, True), (False, False)]


def test_rows_of_one_conversation_count_as_one():
    result = answered(True, True, True, False, True, False)
    held = measure.held(result, examples(8, lambda i: "long" if i < 4 else ""), 50, 1)
    assert (held["rows"], held["agreed"], held["of"], held["left_out_past_context"]) == (6, 4, 50, 1)
    assert held["exchanges"] == ["0", "1", "2", "3", "4", "5"]
    each = held["by_conversation"]
    assert (each["conversations"], each["agreement"]) == (3, round(1.75 / 3, 4))
    assert each["interval"] == [round(bound, 4) for bound in clopper_pearson(1.75, 3)]
    assert measure.held(Agreement(), examples(8), 50, 0) is None


def test_the_held_rows_that_are_measured_depend_on_nothing_but_themselves():
    held = read(stdin(rows(1, 0, 300)).encode().splitlines(keepends=True)).held
    drawn = [row.id for row in measure.drawn(held[:290])]
    assert len(drawn) == measure.HELD_ROWS == len(set(drawn))
    assert drawn != [row.id for row in held[:100]]
    more = held[:]
    random.Random(1).shuffle(more)
    again = [row.id for row in measure.drawn(more)]
    assert again == [row.id for row in measure.drawn(held)], "in whatever order they come"
    assert len(set(drawn) - set(again)) <= 10, "ten more take ten places at most"


def test_time_is_kept_by_the_speed_that_was_seen():
    assert measure.reserve(1000, None, 40) == measure.HELD_SHARE * 1000
    assert measure.reserve(1000, 0.1, 40) == pytest.approx(measure.MARGIN * 4)
    assert measure.reserve(1000, 0.1, 4000) == pytest.approx(measure.MARGIN * 10), "no more than are asked"
    assert measure.reserve(1000, 9.0, 40) == measure.HELD_SHARE * 1000
    assert measure.reserve(1000, None, 0) == measure.reserve(1000, 0.1, 0) == 0
    assert measure.batch(60, 0.1) == measure.WIDE and measure.batch(3, 0.1) == measure.NARROW


@pytest.fixture
def scripted(monkeypatch):
    """A model that is right about the rows named; `late`, it does not come to an end with others."""
    model = SimpleNamespace(eval=lambda: None, train=lambda: None)

    def run(right, n, deadline, late=False, **more):
        monkeypatch.setattr(evaluation, "_parted", lambda _m, _b, batch: [None if e.id in right else (9,) for e in batch])
        monkeypatch.setattr(evaluation, "_continue", lambda _m, _b, missed, *_: ([""] * len(missed), not (late and missed)))
        return evaluate(model, None, examples(n), deadline, lambda: False, **more)

    return run


def test_rows_are_judged_in_their_order(scripted):
    result = scripted({"0", "3"}, 5, time.monotonic() + 60, size=4)
    assert [agrees for agrees, _ in result.judged] == [True, False, False, True, False]
    assert (result.rows, result.agreed) == (5, 2)


def test_long_rows_are_few_at_a_time(scripted):
    rows = [Example(str(i), (1,) * n, (2,), "x") for i, n in enumerate([9, 9, 49, 9, 9, 9, 199, 9])]
    got = [[e.id for e in batch] for batch in evaluation._batches(rows, 3, 100)]
    assert got == [["0", "1"], ["2", "3"], ["4", "5"], ["6"], ["7"]]
    assert [e.id for b in evaluation._batches(rows, 32, 10_000) for e in b] == [e.id for e in rows], "in their order"
    over = time.monotonic() - 1
    assert scripted(set(), 6, over, limit=17).rows == 2, "the first batch, which is smaller"
    assert scripted({"0", "4"}, 6, time.monotonic() + 60, limit=17).agreed == 2
    assert scripted(set(), 6, time.monotonic() + 60, limit=1).rows == 6, "one row at least"


def test_what_must_not_be_late_is_left_out_instead_of_judged(scripted):
    over, far = time.monotonic() - 1, time.monotonic() + 60
    assert scripted(set(), 5, over, size=4).rows == 4, "a look judges its first rows"
    assert scripted(set(), 5, over, late=True, size=4).rows == 4
    assert scripted(set(), 5, over, size=4, pace=0.0).rows == 0
    assert scripted(set(), 5, far, size=4, pace=100.0).rows == 0, "it would end late"
    assert scripted(set(), 5, far, late=True, size=4, pace=0.0).rows == 0, "it did"
    assert scripted({"0", "1", "2", "3"}, 5, far, late=True, size=4).rows == 4, "the second did"
    assert scripted(set(), 5, far, size=4, pace=0.001).rows == 5


def test_held_rows_are_measured_at_the_end_and_change_nothing(base, tmp_path):
    sums = {}
    for held in (0, 12):
        out = tmp_path / str(held)
        run = train(base, out, stdin(rows(40, 8, held)), "--steps", "5", "--precision", "float32")
        assert run.code == 0, run.stderr
        sums[held] = run.of("done")[0]["adapter_sha256"]
        metrics = json.loads((out / "card.json").read_text())["metrics"]
        if not held:
            assert metrics["held"] is None and "no held row was measured" in run.stderr
    assert sums[0] == sums[12]
    assert (metrics["held"]["rows"], metrics["held"]["of"]) == (12, 12)
    assert set(metrics["held"]["exchanges"]) == {row(20_000 + i)["id"] for i in range(12)}
    assert metrics["held"]["by_conversation"]["conversations"] == 12
    assert metrics["compared"]["rows"] == metrics["base"]["rows"] == metrics["specialised"]["rows"] == 8
    assert set(metrics["compared"]["exchanges"]) == {row(10_000 + i)["id"] for i in range(8)}
    assert "on the same 8 development rows" in run.stderr and "which nothing had looked at" in run.stderr
    phases = [e["phase"] for e in run.of("progress")]
    assert "train" not in phases[phases.index("held") :], "after the last step"


def test_a_held_row_past_the_context_refuses_nothing(base, tmp_path):
    long = row(20_000, "held", messages=[{"role": "user", "content": "play the jazz " * 30}])
    run = train(base, tmp_path, stdin([*rows(40, 8, 0), long, row(20_001, "held")]), "--steps", "2")
    assert run.code == 0, run.stderr
    held = json.loads((tmp_path / "card.json").read_text())["metrics"]["held"]
    assert (held["rows"], held["of"], held["left_out_past_context"]) == (1, 2, 1)
