"""What a run's numbers depend on beside its settings: versions and device."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import warnings
from importlib.metadata import version
from pathlib import Path

import torch

from aihf_control.errors import InvalidChoice, choose
from aihf_control.hardware import DEVICES, PRECISIONS
from aihf_control.runs.files import checkout

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's malloc.h

_HOLDS = (
    "ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES",
)  # fmt: skip

PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "stable-baselines3", "minari")


def versions(environments: str = "serial") -> dict[str, str]:
    """Versions of Python and of the packages that shape the numbers, by a study with this backend."""
    packages = (*PACKAGES, "envpool") if environments == "envpool" else PACKAGES
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def commit() -> str | None:
    """The checkout's commit, with `-dirty` after it if a tracked file was changed; None without one."""
    if (folder := checkout()) is None:
        return None  # a repository that surrounds an installed package is another's
    # a checkout of another user is one that this process runs code of anyway
    describe = [
        "git",
        "-c",
        f"safe.directory={folder}",
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--match=",
    ]
    try:
        told = subprocess.run(describe, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one; `cuda` without one is an `InvalidChoice`."""
    choose("DEVICE", name, DEVICES)
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InvalidChoice("DEVICE=cuda: PyTorch sees no GPU on this machine: use DEVICE=cpu or auto")
    if problem := gpu_problem():
        raise InvalidChoice(f"DEVICE={name}: {problem}, or use DEVICE=cpu")
    return torch.device("cuda")


def gpu_problem() -> str | None:
    """Why PyTorch can use no GPU, in a line; None where it can use one."""
    with warnings.catch_warnings(record=True) as told:  # as of a driver that is too old
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        if torch.version.cuda is None:
            return "this PyTorch was built without CUDA"
        if told:
            return str(told[0].message).splitlines()[0].split(" (Triggered")[0]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return "there is none" if visible is None else f"CUDA_VISIBLE_DEVICES={visible} leaves none"
    major, minor = torch.cuda.get_device_capability()
    built = [divmod(int(name.rpartition("_")[2].rstrip("af")), 10) for name in torch.cuda.get_arch_list()]
    newest = max(built, default=(0, 0))  # of which the intermediate code is shipped too
    # code for 8.0 runs on 8.6, not on 9.0; that for 9.0 not on 8.9
    runs = any(made[0] == major and made[1] <= minor for made in built) or newest < (major, minor)
    if built and not runs:
        oldest = ".".join(map(str, min(built)))
        return (
            f"{torch.cuda.get_device_name()} has compute capability {major}.{minor}, and PyTorch "
            f"{torch.__version__} was built for others, from {oldest} on: install one built for it"
        )
    return None


GPU_NAME = re.compile(r"\d+|GPU-[0-9a-fA-F-]+|MIG-(GPU-)?[0-9a-fA-F-]+(/\d+/\d+)?")


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them: by number, UUID or MIG device.

    Raises `InvalidChoice`, for CUDA itself goes by the names up to the first that it does not know.
    """
    named, seen = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
    if named is None:
        return [str(number) for number in range(seen)]
    names = [name.strip() for name in named.rstrip(", ").split(",")] if named.strip(", ") else []
    for name in names:
        if not GPU_NAME.fullmatch(name):
            raise InvalidChoice(
                f"CUDA_VISIBLE_DEVICES={named}: {name or 'an empty name'} is no GPU: write numbers, or "
                "GPU-… and MIG-… as `nvidia-smi -L` lists them, with commas in between"
            )
        if names.count(name) > 1:
            raise InvalidChoice(f"CUDA_VISIBLE_DEVICES={named} names {name} twice: name each GPU once")
    # of MIG devices a process sees the first alone, whichever are named
    if len(names) != seen and not any(name.startswith("MIG-") for name in names):
        raise InvalidChoice(
            f"CUDA_VISIBLE_DEVICES={named} names {len(names)} GPUs, and PyTorch sees {seen}: name those that "
            "`nvidia-smi -L` lists"
        )
    return names


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


def instructions(device: torch.device) -> str | None:
    """What a CPU's products are made with: what PyTorch chose, what else the processor has, and the variables
    by which a user holds libraries to less. None on a GPU."""
    if device.type == "cuda":
        return None
    has = {
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    held = [f"{name}={os.environ[name]}" for name in _HOLDS if os.environ.get(name)]
    return " ".join(
        [torch.backends.cpu.get_cpu_capability(), *(n for n, there in has.items() if there), *held]
    )


def processor() -> str:
    """The processor's model, which decides how a product is rounded."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def use_one_thread() -> None:
    """Compute with one thread in this process, whatever OMP_NUM_THREADS says.

    Sums are then made in the same order on any number of cores, and no thread spins for another that has
    to wait for a busy neighbour; the cores are filled with processes.
    """
    torch.set_num_threads(1)


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
