"""python -m understudy_specialise: rows on stdin, progress on stdout, an adapter folder."""

import os
import sys
import time

BEGAN = time.monotonic()

# Between two of a step's thousands of small products a thread that sleeps wakes too
# late: 180 tokens a second, and 226 where it looks around for some microseconds
# first. No longer than that: two processes whose threads spin on and on slow each
# other far more than by half on two cores. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "ACTIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("KMP_BLOCKTIME", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from . import memory, options as opts  # noqa: E402
from .progress import Progress, say  # noqa: E402
from .refusals import Interrupted, Refusal, from_failure  # noqa: E402

DONE, REFUSED, INTERRUPTED = 0, 2, 130


def main(arguments=None) -> int:
    options = opts.parser().parse_args(arguments)
    memory.keep_freed()
    progress = Progress()
    try:
        from .run import run

        run(options, progress, BEGAN)
        return DONE
    except Interrupted as why:
        say(f"interrupted: {why}")
        return INTERRUPTED
    except Refusal as refusal:
        return refuse(progress, refusal)
    except Exception as failure:
        refusal = from_failure(failure)
        if refusal is None:
            raise
        return refuse(progress, refusal)


def refuse(progress, refusal: Refusal) -> int:
    say(f"refused ({refusal.code}): {refusal.message}; {refusal.remedy}")
    try:
        progress.event("refused", code=refusal.code, message=refusal.message, remedy=refusal.remedy)
    except Interrupted:
        pass
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
