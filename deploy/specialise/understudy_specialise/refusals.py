"""What training refuses, each with a code, a sentence and the remedy.

A refusal is an answer, not a crash: the task goes on at the provider.
"""


class Refusal(Exception):
    """One named reason not to train, or not to go on."""

    def __init__(self, code: str, message: str, remedy: str):
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


class Interrupted(Exception):
    """SIGINT, SIGTERM or a reader that went away: the checkpoint is kept."""


def bad_row(line: int, why: str) -> Refusal:
    return Refusal("bad_row", f"line {line}: {why}", "make the rows again with `understudy curate`")


def bad_base(why: str) -> Refusal:
    return Refusal("bad_base", why, "fetch the base model again and compare its SHA-256")


def not_chatml(name: str) -> Refusal:
    return Refusal(
        "not_chatml",
        f"the vocabulary of the base {name} has no <|im_end|>: its chat form is not ChatML, the only one that "
        "adapters are trained in (Llama, Gemma and Phi have forms of their own)",
        "choose a base with ChatML: smollm2-135m-instruct of `understudy model pull` is one",
    )


def no_space(where, need: int, free: int) -> Refusal:
    return Refusal(
        "no_space",
        f"{free >> 20} MiB are free at {where}, {need >> 20} MiB are needed",
        "free some disk space or name another folder with --out",
    )


def no_memory(why: str) -> Refusal:
    return Refusal(
        "no_memory",
        why,
        "lower --micro-tokens, choose a smaller base, stop other programs, or raise the container's limit",
    )


def nan_loss(step: int) -> Refusal:
    return Refusal(
        "nan_loss",
        f"the loss or its gradient was not a number for three steps in a row, at step {step}",
        "begin anew with a lower --rate: a half is a good next try",
    )


# A full disk or quota, as safetensors' own error tells it, which is no OSError.
FULL = ("no space left", "storagefull", "os error 28", "quota exceeded", "quotaexceeded", "os error 122")


def _is_full(failure: BaseException) -> bool:
    text = str(failure).lower()
    return (isinstance(failure, OSError) and failure.errno in (28, 122)) or any(word in text for word in FULL)


def _chain(failure: BaseException) -> list:
    """A failure and those that it came from."""
    out: list = []
    while failure is not None and failure not in out:
        out.append(failure)
        failure = failure.__cause__ or failure.__context__
    return out


def from_failure(failure: BaseException) -> Refusal | None:
    """Gives a failure of torch or of the system its name, where it has one."""
    if any(map(_is_full, _chain(failure))):
        return Refusal("no_space", "the disk is full", "free some disk space, then --resume")
    text = str(failure)
    if isinstance(failure, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return no_memory("memory ran out while training")
    return None
