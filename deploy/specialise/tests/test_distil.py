"""Distillation on the provider's log-probabilities."""

import json
import math

import pytest
import torch
from conftest import row, stdin, train
from understudy_specialise import distil, tokens
from understudy_specialise.loss import SLICE, Soft, _Summed
from understudy_specialise.rows import read


def told(*tokens_, **others):
    """The provider's tokens; `others` names alternatives of some."""
    return [{"token": t, "top": [[t, math.log(0.75)], [others[t], math.log(0.25)]] if t in others else [[t, 0.0]]} for t in tokens_]


WORDS = {w: i for i, w in enumerate(["Pa", "ris", " is", " far", "Lon", "P", "is", " not"])}


def first(text):
    return next((id_ for word, id_ in WORDS.items() if text.startswith(word)), None)


def aligned(given, reply="Paris is far", pieces=("Pa", "ris", " is", " far")):
    at, offsets = 0, []
    for piece in pieces:
        offsets.append((at, at + len(piece)))
        at += len(piece)
    return distil.align(distil.read(given), reply, [WORDS[p] for p in pieces], offsets, first)


def test_places_where_both_begin_a_token_are_aligned():
    # "Paris" is one token of the provider's and two of the base's: its first counts.
    got = aligned(told("Paris", " is", " far", **{"Paris": "London", " is": " not"}))
    assert [at for at, _ in got] == [0, 2]
    assert dict(got[0][1]) == pytest.approx({0: 0.75, 4: 0.25}) and dict(got[1][1]) == pytest.approx({2: 0.75, 7: 0.25})


def test_what_cannot_be_aligned_is_left_out():
    assert aligned(told("P", "aris", " is", " far", P="London", aris="ardon")) == (), "begins with another token"
    assert aligned(told("Rome", " is", " far", **{" is": " not"})) == (), "another text"
    assert aligned(told("Paris", " is", " far")) == (), "no alternatives"
    assert aligned([]) == ()
    # White space is written in another way where the reply's JSON was spaced anew.
    assert [at for at, _ in aligned(told("Paris", " is", "\n", " far", **{" is": " not"}))] == [2]


def test_a_character_of_several_tokens_moves_nothing_after_it():
    # 東 is two of the base's tokens, each with the offsets of the whole character.
    ids, offsets = [90, 91, 2, 3], [(0, 1), (0, 1), (1, 4), (4, 8)]
    given = told("東", " is", " far", **{"東": "x", " is": " not", " far": " not"})
    got = distil.align(distil.read(given), "東 is far", ids, offsets, first)
    assert [(at, dict(shares).keys()) for at, shares in got] == [(2, {2, 7}), (3, {3, 7})]


def test_shares_of_one_first_token_are_summed():
    given = [{"token": "Paris", "top": [["Paris", math.log(0.5)], ["Paris!", math.log(0.3)], ["London", math.log(0.2)]]}, *told(" is", " far")]
    assert dict(aligned(given)[0][1]) == pytest.approx({0: 0.8, 4: 0.2})


def test_a_mixed_target_loses_as_torch_says():
    torch.manual_seed(0)
    n, v = 2 * SLICE + 7, 50
    hidden, weight, targets = torch.randn(n, 8, requires_grad=True), torch.randn(v, 8), torch.randint(0, v, (n,))
    rows = torch.tensor([0, 0, 5, SLICE - 1, SLICE, n - 1])
    places, shares = torch.randint(0, v, (len(rows),)), torch.tensor([0.2, 0.3, 0.5, 0.5, 0.5, 0.5])
    own = torch.ones(n).index_add_(0, rows, -shares)
    aim = torch.zeros(n, v).scatter_(1, targets[:, None], own[:, None]).index_put_((rows, places), shares, accumulate=True)
    mine = _Summed.apply(hidden, weight, targets, Soft(own, rows, places, shares))
    theirs = torch.nn.functional.cross_entropy(hidden @ weight.T, aim, reduction="sum")
    assert torch.allclose(mine, theirs, rtol=1e-4)
    (got,), (want,) = torch.autograd.grad(mine, hidden), torch.autograd.grad(theirs, hidden)
    assert torch.allclose(got, want, atol=1e-4)


def test_rows_of_a_conversation_keep_their_alternatives_in_place():
    one = tokens.Example("a", (1, 2), (3, 4), "x", "c", ((1, ((4, 0.5), (5, 0.5))),))
    two = tokens.Example("b", (1, 2, 3, 4, 6), (7, 8), "y", "c", ((0, ((7, 0.5), (9, 0.5))),))
    (both,) = tokens.sequences([one, two])
    assert [(at, both.ids[at]) for at, _ in both.soft] == [(3, 4), (5, 7)]


def taught(i: int, split: str = "train") -> dict:
    reply = row(i)["reply"][1:].replace(" {", " is {")  # a text, since providers tell nothing of calls
    other = "x" + reply[1:]
    top = [[reply, math.log(0.75)], [other, math.log(0.25)]]
    return row(i, split, reply=reply, tokens=[{"token": reply, "top": top}])


def test_a_run_learns_the_providers_doubt(base, tmp_path):
    rows = [taught(i) for i in range(64)] + [taught(1_000 + i, "development") for i in range(8)]
    cards = {}
    for weight in ("0", "1"):
        out = tmp_path / weight
        run = train(base, out, stdin(rows), "--steps", "40", "--rate", "0.01", "--rate-ratio", "1", "--batch", "16", "--distil", weight)
        assert run.code == 0, run.stderr
        assert ("are distilled" in run.stderr) == (weight == "1")
        cards[weight] = json.loads((out / "card.json").read_text())
    assert cards["0"]["metrics"]["distilled_tokens"] == 0 and cards["1"]["metrics"]["distilled_tokens"] == 64
    assert cards["1"]["recipe"]["distil"] == 1.0
    # A quarter of the first letter's target is another letter: that much is never learnt away.
    assert cards["1"]["metrics"]["loss"] > cards["0"]["metrics"]["loss"]


def test_tokens_of_another_form_are_refused():
    bad = [taught(0), {**taught(1), "tokens": [{"token": "x", "top": [["x"]]}]}]
    with pytest.raises(Exception) as refused:
        read([line.encode() for line in stdin(bad).splitlines()])
    assert refused.value.code == "bad_row" and "tokens" in str(refused.value)
