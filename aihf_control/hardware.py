"""What a machine may be asked for: devices and precisions by name, and how many cores a process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
"""Environment of a process that computes with one thread, so that none spins while it waits for another."""


def usable_cores(root: Path = Path("/")) -> int:
    """The cores of this process's affinity, or what its control groups leave of them, at least 1.

    A container's or a scheduler's limit of time (`cpu.max`, in version 1 `cpu.cfs_quota_us`) counts in whole
    cores. `root` is where `/proc` and `/sys` are.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, int(min([cores, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Each limit on this process's groups and on those above them, in cores."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            for folder in _upwards(root / "sys/fs/cgroup", group):
                yield from _quota(_words(folder / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for mount in ("cpu", controllers):
                for folder in _upwards(root / "sys/fs/cgroup" / mount, group):
                    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                    yield from _quota([word for name in names for word in _words(folder / name)])


def _upwards(mount: Path, group: str) -> Iterator[Path]:
    """A group's folder and those above it; in a container its path may lead nowhere."""
    folder = mount / group.strip("/")
    while folder != mount:
        yield folder
        folder = folder.parent
    yield mount


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _quota(words: list[str]) -> Iterator[float]:
    """Microseconds of CPU time in a period of so many; `max` or -1 is no limit."""
    if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
        yield int(words[0]) / int(words[1])
