"""A long run takes no more memory, files or threads at its end than at its beginning."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_bench import settings

from aihf_control.envs.tasks import TASKS
from aihf_control.study.prepare import Folders
from aihf_control.study.study import Study, run_study
from aihf_control.study.training import BatchRun

CYCLES, WARM = 300, 100
SLACK = 4_096  # kB: the allocator's own ups and downs


def resident() -> int:
    """kB of this process that are in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


@pytest.mark.slow
def test_three_hundred_cycles_of_reset_step_evaluate_and_save(tmp_path: Path) -> None:
    memory: list[int] = []
    files: list[int] = []
    threads: list[int] = []

    def look(run: BatchRun, step: int) -> None:
        memory.append(resident())
        files.append(len(os.listdir("/proc/self/fd")))
        threads.append(len(os.listdir("/proc/self/task")))

    small = replace(settings(CYCLES), evaluation_episodes=1)
    study = Study("leaks", "quick", TASKS["hopper"], ("oracle",), (0, 1), small, torch.device("cpu"), "test")
    run_study(study, None, Folders(tmp_path), print, look)
    assert len(memory) == CYCLES + 1
    assert set(files[WARM:]) == {files[WARM]} and set(threads[WARM:]) == {threads[WARM]}
    assert max(memory[-20:]) - max(memory[WARM : WARM + 20]) < SLACK
