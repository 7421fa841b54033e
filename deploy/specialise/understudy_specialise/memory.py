"""Memory that may still be had: the machine's, or less where a container's limit is nearer.

`/proc/meminfo` is the machine's, within a container too, and whoever takes more than
the container may have is killed. A limit may be set on any cgroup above ours, so all
of them are looked at. What a limit counts as used holds files that were read and may
be let go of; those are left out, as the machine's own figure leaves them out.
"""

import ctypes
from pathlib import Path

# The controller's name in /proc/self/cgroup (version 2 has none), where it may be
# mounted, and its files: the limit, what is used, and which line of memory.stat says
# how much of that may be let go of.
VERSIONS = (
    ("", ("", "unified"), "memory.max", "memory.current", "inactive_file"),
    ("memory", ("memory",), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)

# glibc's mallopt: from how many bytes on a block is mapped by itself (32 MiB is the most
# that it takes), and how much free memory is kept at the heap's end.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST, KEPT = 32 << 20, (1 << 31) - 1


def keep_freed():
    """Has glibc keep what a step frees for the next step's tensors, which are as large.
    By itself it maps and unmaps each, and the kernel clears page after page anew: a
    tenth of a step on a CPU. Nothing elsewhere."""
    try:
        set_ = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    set_(M_MMAP_THRESHOLD, LARGEST)
    set_(M_TRIM_THRESHOLD, KEPT)


def available(root: Path = Path("/")) -> int | None:
    """In bytes; `None` where the system does not say."""
    known = [free for free in (_of_the_machine(root), *_of_cgroups(root)) if free is not None]
    return max(0, min(known)) if known else None


def _of_the_machine(root: Path) -> int | None:
    try:
        text = (root / "proc/meminfo").read_text()
        return int(text.split("MemAvailable:")[1].split()[0]) << 10
    except (OSError, IndexError, ValueError):
        return None


def _of_cgroups(root: Path) -> list:
    """Of ours and of those above it, as far as they are mounted."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    out = []
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for controller, mounts, *files in VERSIONS:
            if controller not in controllers.split(","):
                continue
            for mount in mounts:
                at = root / "sys/fs/cgroup" / mount
                # In a container its own cgroup may be mounted as the first.
                out += [_of(at.joinpath(*parts[:depth]), *files) for depth in range(len(parts) + 1)]
    return out


def _of(folder: Path, limit: str, usage: str, spare: str) -> int | None:
    try:
        most, used = (int((folder / name).read_text()) for name in (limit, usage))
    except (OSError, ValueError):  # no such cgroup, or "max"
        return None
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
        used -= int(dict(line.split() for line in lines)[spare])
    except (OSError, ValueError, KeyError):
        pass
    return most - used
