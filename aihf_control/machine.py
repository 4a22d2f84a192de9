"""What a run's numbers depend on beside its settings: versions and device."""

from __future__ import annotations

import ctypes
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from aihf_control.choices import PRECISIONS, choose

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's malloc.h

PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "stable-baselines3", "minari")


def versions(environments: str = "serial") -> dict[str, str]:
    """Versions of Python and of the packages that shape the numbers, by a study with this backend."""
    packages = (*PACKAGES, "envpool") if environments == "envpool" else PACKAGES
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def commit() -> str | None:
    """The checkout's commit, with `-dirty` after it if a tracked file was changed; None outside of git."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        told = subprocess.run(describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """`auto` takes bfloat16 where the device multiplies it natively, float32 elsewhere."""
    choose("PRECISION", name, PRECISIONS)
    if name != "auto":
        return name
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if native else "float32"


def describe_device(device: torch.device) -> str:
    """The device's model, for the record: `NVIDIA H200`, or `cpu: ` and the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu: {processor()}"


def processor() -> str:
    """The processor's model, which decides how a product is rounded."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def keep_freed_memory() -> None:
    """Let the C library keep the memory that tensors free, instead of returning it to the kernel.

    On a CPU an update frees and takes the same megabytes many times over, and to fetch their pages
    anew costs a third of its time from about 64 seeds on. Without glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 64 * 2**20)
