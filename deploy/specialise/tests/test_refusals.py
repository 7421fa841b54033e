"""Every refusal, by its name."""

import shutil

import pytest
from conftest import row, rows, stdin, train
from understudy_specialise import refusals, rows as rows_of, run as runs, tokens
from understudy_specialise.refusals import Refusal


def refused(text: str, least: int = 32) -> Refusal:
    with pytest.raises(Refusal) as caught:
        rows_of.check(rows_of.read(text.encode().splitlines(keepends=True)), least, 8)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json\n",
        '{"task": "x"}\n',
        stdin([row(1, split="test")]),
        stdin([row(1, reply="")]),
        stdin([row(1, messages="text")]),
        stdin([row(1, messages=[{"role": "system", "content": "x"}])]),
        stdin([row(1), row(1)]),
        stdin([row(1), row(2, "development", conversation="c1")]),
        stdin([row(1), row(2, "held", conversation="c1")]),
    ],
)
def test_bad_row(text):
    assert refused(text).code == "bad_row"


def test_a_bad_row_names_its_line_and_not_its_words():
    why = refused(stdin([row(1), row(2, split="unseen")]))
    assert "line 3" in why.message and "the " + row(2)["messages"][0]["content"].split()[-1] not in why.message


def test_rows_are_the_same_whatever_the_header_says_of_them():
    def digest(rows, curation):
        header = {"task": "tiny", "data_sha256": "ab", "calls": "line", "curation": curation}
        return rows_of.read(stdin(rows, header).encode().splitlines(keepends=True)).rows_sha256

    assert digest([row(1)], {"permitted": "today"}) == digest([row(1)], {"permitted": "tomorrow"})
    assert digest([row(1)], {}) != digest([row(2)], {})
    assert digest([row(1), row(3, "held")], {}) == digest([row(1)], {}), "what decides nothing"


def test_too_few_rows():
    assert refused(stdin(rows(31, 8))).code == "too_few_rows"
    assert refused(stdin(rows(32, 7))).code == "too_few_rows"


def test_one_reply():
    assert refused(stdin([{**r, "reply": "yes"} for r in rows()])).code == "one_reply"


def test_empty_part():
    assert refused(stdin([row(1, messages=[{"role": "user", "content": " "}])])).code == "empty_part"
    assert refused(stdin([row(1, messages=[])])).code == "empty_part"


def test_too_long_or_left_out():
    long = tokens.Example("a", (1,) * 60, (2,) * 5, "x")
    with pytest.raises(Refusal) as caught:
        tokens.within([long], 64, drop=False)
    assert caught.value.code == "too_long"
    assert tokens.within([long], 64, drop=True) == ([], ["a"])


def test_no_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "DISK", 1 << 60)
    with pytest.raises(Refusal) as caught:
        runs._check_disk(tmp_path / "not" / "there")
    assert caught.value.code == "no_space"


def test_failures_of_the_system_have_names():
    assert refusals.from_failure(OSError(28, "full")).code == "no_space"
    assert refusals.from_failure(RuntimeError("DefaultCPUAllocator: can't allocate memory")).code == "no_memory"
    assert refusals.from_failure(MemoryError()).code == "no_memory"
    assert refusals.from_failure(ValueError("x")) is None


def test_damaged_bases(base, tmp_path):
    text = stdin(rows())
    assert train(tmp_path / "none.gguf", tmp_path / "o", text).refused == "bad_base"
    (tmp_path / "b.gguf").write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 40)
    assert train(tmp_path / "b.gguf", tmp_path / "o", text).refused == "bad_base"
    shutil.copytree(base, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert train(tmp_path / "cut", tmp_path / "o", text).refused == "bad_base"


def test_licence(base, tmp_path):
    given = ["--licence", "cc-by-nc-4.0", "--steps", "1"]
    assert train(base, tmp_path / "o", stdin(rows()), *given).refused == "licence"
    run = train(base, tmp_path / "o", stdin(rows()), *given, "--accept-licence", "cc-by-nc-4.0")
    assert run.code == 0, run.stderr


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("cc-by-nc-4.0", True),
        ("CC BY-NC 4.0", True),
        ("CC_BY_NC_SA_4.0", True),
        ("gemma-non-commercial", True),
        ("NonCommercial", True),
        ("Non Commercial use", True),
        ("microsoft/research-license", True),
        ("Apache-2.0", False),
        ("apache 2.0", False),
        ("CC BY 4.0", False),
        ("commercial", False),
        ("unknown", False),
    ],
)
def test_a_licence_is_read_however_it_is_spelt(licence, forbids):
    from understudy_specialise.base import forbids_commerce

    assert forbids_commerce(licence) == forbids


def test_nan_loss(base, tmp_path):
    run = train(base, tmp_path, stdin(rows()), "--rate", "1e38", "--rate-ratio", "1", "--steps", "40")
    assert run.refused == "nan_loss" and run.code == 2


def test_a_damaged_checkpoint(base, tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"x" * 100)
    assert train(base, tmp_path, stdin(rows()), "--resume").refused == "bad_checkpoint"


def test_options_out_of_range_and_no_gpu(base, tmp_path):
    run = train(base, tmp_path, stdin(rows()), "--rank", "0", "--batch", "0")
    assert run.refused == "bad_option" and "--batch" in run.of("refused")[0]["message"]
    assert train(base, tmp_path, stdin(rows()), "--qlora").refused == "no_gpu"
