"""What `auto` means on a device."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from aihf_control.errors import InvalidChoice
from aihf_control.study import machine

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("native", "precision"), [(True, "bfloat16"), (False, "float32")])
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_precision_is_reduced_where_the_device_multiplies_it_natively(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, native: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native and device == CPU)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: native and device == CUDA
    )
    assert machine.choose_precision("auto", device) == precision


def test_a_precision_that_is_asked_for_is_kept_and_an_unknown_one_refused() -> None:
    assert machine.choose_precision("float32", CUDA) == "float32"
    assert machine.choose_precision("bfloat16", CPU) == "bfloat16"
    with pytest.raises(InvalidChoice, match="did you mean bfloat16"):
        machine.choose_precision("bfloat", CPU)


def test_envpools_version_is_recorded_where_it_shapes_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "version", lambda name: f"version of {name}")
    assert machine.versions("envpool")["envpool"] == "version of envpool"
    assert "envpool" not in machine.versions("workers")


@pytest.mark.parametrize("variable", ["ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA"])
def test_what_holds_a_library_to_fewer_instructions_is_told(variable: str) -> None:
    script = "import torch; from aihf_control.study import machine; "
    script += (
        "print(torch.backends.cpu.get_cpu_capability(), machine.instructions(torch.device('cpu')), sep='|')"
    )
    environment = os.environ | {variable: "avx2"}
    told = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout
    capability, _, instructions = told.strip().partition("|")
    assert instructions.startswith(capability) and instructions.endswith(f"{variable}=avx2")
    assert machine.instructions(CUDA) is None


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_memory_that_is_kept_is_not_fetched_from_the_kernel_again() -> None:
    """Eight arrays of 64 MiB, one after the other: 16,384 pages each, unless earlier ones left theirs."""
    script = """
import resource, sys
import torch
from aihf_control.study.machine import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(8):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", script, how], capture_output=True, check=True).stdout)
        for how in ("keep", "return")
    }
    # the heap may have to grow once more, when small pieces have settled between the freed arrays
    assert 4 * faults["keep"] <= faults["return"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_and_whether_files_were_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "machine.py"
    monkeypatch.setattr(machine, "checkout", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.commit() is None
    file.write_text("1")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    told = machine.commit()
    assert told is not None
    assert re.fullmatch("[0-9a-f]{40}", told)
    file.write_text("2")
    assert machine.commit() == f"{told}-dirty"
    if os.geteuid() == 0:  # and in a checkout of another user, of which git says nothing by itself
        os.chown(tmp_path, 12345, 12345)
        assert machine.commit() == f"{told}-dirty"
    monkeypatch.setattr(machine, "checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert machine.commit() is None


@pytest.mark.parametrize(
    ("named", "seen", "names"),
    [
        (None, 2, ["0", "1"]),
        ("0,1", 2, ["0", "1"]),
        ("3", 1, ["3"]),
        ("0,1,", 2, ["0", "1"]),  # CUDA takes the first two; a third job would have had no GPU
        (" 0, 1 ", 2, ["0", "1"]),
        ("", 0, []),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", 1, ["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"]),
        ("MIG-4fca60ab-1b7e-5a5e,MIG-GPU-8932f937-d72c/1/0", 1,  # a process sees one of them
         ["MIG-4fca60ab-1b7e-5a5e", "MIG-GPU-8932f937-d72c/1/0"]),
    ],
)  # fmt: skip
def test_gpus_are_named_as_cuda_visible_devices_names_them(
    monkeypatch: pytest.MonkeyPatch, named: str | None, seen: int, names: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert machine.visible_gpus() == names


@pytest.mark.parametrize(
    ("named", "seen", "says"),
    [
        ("0,,1", 1, "0,,1: an empty name is no GPU"),
        ("0,one", 1, "one is no GPU: write numbers, or GPU-… and MIG-… as `nvidia-smi -L` lists them"),
        ("-1", 0, "-1 is no GPU"),
        ("0,-1,1", 1, "-1 is no GPU"),
        ("0,0", 0, "names 0 twice"),
        ("0,7", 1, "names 2 GPUs, and PyTorch sees 1"),
    ],
)
def test_a_list_of_gpus_that_cuda_would_cut_short_is_one_line(
    monkeypatch: pytest.MonkeyPatch, named: str, seen: int, says: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with pytest.raises(InvalidChoice) as error:
        machine.visible_gpus()
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_gpu_or_driver_that_is_too_old_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def old_driver() -> bool:
        warnings.warn(
            "The NVIDIA driver on your system is too old (found version 11040).\nUpdate", stacklevel=1
        )
        return False

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", old_driver)
    assert machine.gpu_problem() == "The NVIDIA driver on your system is too old (found version 11040)."
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Test")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90a", "compute_120"])
    for capability, fits in {
        (7, 5): True,
        (8, 9): True,
        (9, 0): True,
        (13, 0): True,
        (6, 1): False,
        (7, 0): False,
    }.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda known=capability: known)
        problem = machine.gpu_problem()
        assert (problem is None) == fits
        assert fits or (problem is not None and f"{capability[0]}.{capability[1]}, and PyTorch" in problem)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "9")
    assert machine.gpu_problem() == "CUDA_VISIBLE_DEVICES=9 leaves none"
