"""Every refusal, by its name."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import row, rows, stdin, train
from understudy_specialise import memory, refusals, rows as rows_of, run as runs, tokens
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
    # As safetensors has it, and as it is found below another failure.
    full = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert refusals.from_failure(full).code == "no_space"
    above = ValueError("the checkpoint could not be kept")
    above.__cause__ = RuntimeError('IoError(Os { code: 28, kind: StorageFull, message: "…" })')
    assert refusals.from_failure(above).code == "no_space"
    above.__cause__.__context__ = above
    assert refusals.from_failure(above).code == "no_space"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_disk_that_fills_up_while_tensors_are_written():
    import torch
    from safetensors.torch import save_file

    with pytest.raises(Exception) as caught:
        save_file({"weight": torch.zeros(1 << 16)}, "/dev/full")
    assert not isinstance(caught.value, OSError), "which has a number"
    assert refusals.from_failure(caught.value).code == "no_space"


def machine(root: Path, files: dict) -> Path:
    for name, text in files.items():
        at = root / name
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text + "\n")
    return root


def test_memory_is_the_machines_or_less_where_a_containers_limit_is_nearer(tmp_path):
    mib, alone = 1 << 20, {"proc/meminfo": "MemTotal: 9000000 kB\nMemAvailable: 4096000 kB"}
    assert memory.available(machine(tmp_path / "none", {})) is None
    assert memory.available(machine(tmp_path / "alone", alone)) == 4000 * mib
    two = {
        **alone,
        "proc/self/cgroup": "0::/pod/app",
        "sys/fs/cgroup/pod/memory.max": str(3000 * mib),
        "sys/fs/cgroup/pod/memory.current": str(500 * mib),
        "sys/fs/cgroup/pod/app/memory.max": "max",
        "sys/fs/cgroup/pod/app/memory.current": str(400 * mib),
    }
    assert memory.available(machine(tmp_path / "above", two)) == 2500 * mib, "of the one above ours"
    two["sys/fs/cgroup/pod/app/memory.max"] = str(1000 * mib)
    assert memory.available(machine(tmp_path / "own", two)) == 600 * mib
    # Files that were read are let go of where memory is short.
    two["sys/fs/cgroup/pod/app/memory.stat"] = f"anon {50 * mib}\ninactive_file {300 * mib}"
    assert memory.available(machine(tmp_path / "files", two)) == 900 * mib
    one = {
        **alone,
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n1:name=systemd:/docker/x\n0::/",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2000 * mib),
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(1500 * mib),
        "sys/fs/cgroup/memory/memory.stat": f"inactive_file 5\ntotal_inactive_file {200 * mib}",
    }
    assert memory.available(machine(tmp_path / "one", one)) == 700 * mib, "in a container, its own is the first"
    one["sys/fs/cgroup/memory/memory.limit_in_bytes"] = str(9223372036854771712)
    assert memory.available(machine(tmp_path / "unlimited", one)) == 4000 * mib
    over = {**two, "sys/fs/cgroup/pod/app/memory.current": str(1400 * mib)}
    assert memory.available(machine(tmp_path / "over", over)) == 0


def test_too_little_memory_is_told_before_anything_is_loaded(tmp_path, monkeypatch):
    base = tmp_path / "base.gguf"
    base.write_bytes(b"GGUF" * 1000)
    options = SimpleNamespace(base=str(base))
    monkeypatch.setattr(memory, "available", lambda: 512 << 20)
    with pytest.raises(Refusal) as caught:
        runs._check_memory(options)
    assert caught.value.code == "no_memory" and "container" in caught.value.remedy
    for free in (2 << 30, None):
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        runs._check_memory(options)


def test_damaged_bases(base, tmp_path):
    text = stdin(rows())
    assert train(tmp_path / "none.gguf", tmp_path / "o", text).refused == "bad_base"
    (tmp_path / "b.gguf").write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 40)
    assert train(tmp_path / "b.gguf", tmp_path / "o", text).refused == "bad_base"
    shutil.copytree(base, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert train(tmp_path / "cut", tmp_path / "o", text).refused == "bad_base"


def test_a_base_without_chatml_is_named_so(base, tmp_path):
    import gguf
    import numpy

    shutil.copytree(base, tmp_path / "folder")
    words = tmp_path / "folder" / "tokenizer.json"
    words.write_text(words.read_text().replace("<|im_end|>", "<end_of_turn>"))
    file = tmp_path / "file.gguf"
    writer = gguf.GGUFWriter(str(file), "gemma3")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<bos>", "<start_of_turn>", "<end_of_turn>"])
    writer.add_tensor("token_embd.weight", numpy.zeros(32, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for other in (tmp_path / "folder", file):
        run = train(other, tmp_path / "o", stdin(rows()))
        assert run.refused == "not_chatml", run.stderr
        refusal = run.of("refused")[0]
        assert "ChatML" in refusal["message"] and "SHA-256" not in refusal["remedy"]


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
