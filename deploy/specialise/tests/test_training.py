"""From stdin to the adapter's folder, with a tiny base."""

import hashlib
import json
import signal
import subprocess
import time

import pytest
from conftest import command, environment, rows, stdin, train
from understudy_specialise import checkpoint
from understudy_specialise.train import Trainer


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("adapter")
    return out, train(base, out, stdin(rows()), "--steps", "60", "--rate", "0.01", "--rate-ratio", "1", "--batch", "16")


def test_loss_goes_down_and_the_time_left_is_told(trained):
    _, run = trained
    assert run.code == 0, run.stderr
    told = [e for e in run.of("progress") if e["phase"] == "train"]
    assert told[-1]["loss"] < told[0]["loss"] - 0.5
    assert told[-1]["seconds_left"] <= told[0]["seconds_left"]
    assert run.of("evaluated") and run.events[-1]["event"] == "done"


def test_folder_is_pefts_with_a_card(trained, base):
    from safetensors.torch import load_file

    out, run = trained
    held = load_file(out / "adapter_model.safetensors")
    assert len(held) == 2 * 7 * 2
    a = held["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"]
    assert a.shape == (16, 48) and str(a.dtype) == "torch.float16"
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["r"] == 16 and config["lora_alpha"] == 32 and "q_proj" in config["target_modules"]
    card = json.loads((out / "card.json").read_text())
    assert card["data"]["exchanges"]["train"] == [r["id"] for r in rows() if r["split"] == "train"]
    assert card["data"]["rows"] == {"train": 96, "development": 16}
    assert card["metrics"]["specialised"]["rows"] == 16 and card["metrics"]["base"]["agreement"] == 0.0
    assert card["recipe"]["seed"] == 0 and card["recipe"]["steps"] == 60
    sha256 = hashlib.sha256((out / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert run.of("done")[0]["adapter_sha256"] == sha256 == card["files"]["adapter_model.safetensors"]
    assert not (out / "checkpoint.safetensors").exists()


def test_peft_reads_it_and_outputs_change(trained, base):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.arange(20)[None]
    model = AutoModelForCausalLM.from_pretrained(base)
    before = model(ids).logits
    after = PeftModel.from_pretrained(model, trained[0])(ids).logits
    assert (before - after).abs().max() > 0.1


def test_same_seed_same_adapter(base, tmp_path):
    sums = []
    for name in "ab":
        run = train(base, tmp_path / name, stdin(rows(40, 8)), "--steps", "5", "--precision", "float32")
        sums.append(run.of("done")[0]["adapter_sha256"])
    assert sums[0] == sums[1]


def test_nothing_of_the_rows_is_on_the_disk(trained):
    out, _ = trained
    for file in out.iterdir():
        assert b"the jazz" not in file.read_bytes()


def _interrupted(base, out, text: str, *more) -> int:
    """Stops a run by SIGTERM once it trains."""
    given = command(base, out, *more)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(given, text=True, env=environment(), **pipes) as process:
        process.stdin.write(text)
        process.stdin.close()
        for line in process.stdout:
            if '"train"' in line:
                break
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    return process.returncode


def test_resumed_after_sigterm_and_only_for_the_same_rows(base, tmp_path):
    text, steps = stdin(rows()), ["--steps", "400"]
    # Another number of rows a step than three minutes take by themselves.
    assert _interrupted(base, tmp_path, text, *steps, "--batch", "5", "--precision", "float32") == 130
    assert (tmp_path / "checkpoint.safetensors").exists() and not (tmp_path / "card.json").exists()
    other = train(base, tmp_path, stdin(rows(90)), *steps, "--resume")
    assert other.refused == "other_run" and other.code == 2
    for another in (["--rate", "0.1"], ["--batch", "6"], ["--precision", "bfloat16"]):
        assert train(base, tmp_path, text, *steps, "--resume", *another).refused == "other_run"
    run = train(base, tmp_path, text, *steps, "--resume")
    assert run.code == 0, run.stderr
    told = [e for e in run.of("progress") if e["phase"] == "train"]
    assert told[0]["done"] > 1 and told[-1]["done"] == 400
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["recipe"]["batch"], card["recipe"]["precision"]) == (5, "float32"), "as it began, unless it is said"
    metrics = card["metrics"]
    assert metrics["base"]["rows"] == metrics["specialised"]["rows"] == 16, "the base was measured when it began"


def test_a_reader_that_goes_away_leaves_a_checkpoint(base, tmp_path):
    given = command(base, tmp_path, "--steps", "100000", "--epochs", "100000")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(given, text=True, env=environment(), **pipes) as process:
        process.stdin.write(stdin(rows()))
        process.stdin.close()
        for line in process.stdout:
            if '"train"' in line:
                break
        process.stdout.close()
        assert process.wait(60) != 0
    state, _ = checkpoint.load(tmp_path)
    assert state["step"] > 0 and not (tmp_path / "card.json").exists()


def test_a_run_that_had_ended_resumes_with_its_loss(base, tmp_path):
    """Cut off between its last step and the end of writing, the checkpoint still there."""
    text, steps = stdin(rows()), ["--steps", "6", "--precision", "float32"]
    keeps = "import sys; from understudy_specialise import __main__ as m, checkpoint; "
    keeps += "checkpoint.remove = lambda _: None; sys.exit(m.main(sys.argv[1:]))"
    python, _, _, *given = command(base, tmp_path, *steps)
    subprocess.run([python, "-c", keeps, *given], input=text, text=True, capture_output=True, env=environment(), check=True)
    first = json.loads((tmp_path / "card.json").read_text())
    state, _ = checkpoint.load(tmp_path)
    assert state["loss"] == first["metrics"]["loss"] > 0 and 8 <= state["look_rows"] <= 16
    (tmp_path / "card.json").unlink()
    run = train(base, tmp_path, text, *steps, "--resume")
    assert run.code == 0, run.stderr
    # Whoever reads the card has no NaN.
    again = json.loads((tmp_path / "card.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert again["metrics"]["loss"] == first["metrics"]["loss"]
    assert again["metrics"]["base"] == first["metrics"]["base"]
    assert run.of("done") and not (tmp_path / "checkpoint.safetensors").exists()


def test_a_loss_that_is_not_known_is_none():
    trainer = Trainer.__new__(Trainer)
    trainer.loss = float("nan")
    assert trainer.known_loss() is None


def test_few_rows_take_small_steps(base, tmp_path):
    run = train(base, tmp_path, stdin(rows(40, 8)), "--epochs", "1")
    assert run.code == 0, run.stderr
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["recipe"]["batch"], card["metrics"]["steps"]) == (2, 20)


def test_budget_is_kept(base, tmp_path):
    began = time.monotonic()
    # Too few rows to develop on for a run that ends early because all agree.
    run = train(base, tmp_path, stdin(rows(400, 24, 40)), "--minutes", "0.5", "--epochs", "100000")
    assert run.code == 0, run.stderr
    assert 0.6 * 30 < time.monotonic() - began < 1.25 * 30
    metrics = json.loads((tmp_path / "card.json").read_text())["metrics"]
    assert metrics["base"]["rows"] == metrics["specialised"]["rows"] > 0 and metrics["held"]["rows"] > 0
