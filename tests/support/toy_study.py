"""Runs a study of the toy task in a process of its own: `python toy_study.py ROOT METHODS [KILL_AT]`.

With KILL_AT, the process kills itself outright a moment after the checkpoint of that step, in the
middle of the next round.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import torch
import toy

from aihf_control.study.prepare import Folders
from aihf_control.study.study import Study, run_study
from aihf_control.study.training import BatchRun

SEEDS = (0, 1, 2)


def study(methods: tuple[str, ...], seeds: tuple[int, ...] = SEEDS) -> Study:
    return Study("test", "smoke", toy.TASK, methods, seeds, toy.SETTINGS, torch.device("cpu"), "toy_study.py")


def main(root: str, methods: str, kill_at: str = "") -> None:
    def observe(run: BatchRun, step: int) -> None:
        if kill_at and step == int(kill_at):
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGKILL)).start()

    run_study(study(tuple(methods.split(","))), toy.feedback(), Folders(Path(root)), print, observe)


if __name__ == "__main__":
    main(*sys.argv[1:])
