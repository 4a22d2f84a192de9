"""Throughput against the number of seeds: this suite, its parts alone, Stable-Baselines3 and the limit."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace

from aihf_control.envs.tasks import Task
from aihf_control.learn.sac import ARITHMETIC
from benchmarks.speed.match import Match, free_memory
from benchmarks.speed.rows import ENVIRONMENTS, LIMIT, OURS, REFERENCE, SB3, SB3_ALL, SBX, UPDATE
from benchmarks.speed.runners import Spec

IMPLEMENTATIONS = {"run": OURS, "update": UPDATE, "environments": ENVIRONMENTS, "matmul": LIMIT}
MEMORY_A_SEED = 24  # MiB that must be free, about twice what a seed takes


class Sweep(Match):
    """Plain critics, as Stable-Baselines3 has them."""

    order = (OURS, SB3, SB3_ALL, SBX, UPDATE, ENVIRONMENTS, LIMIT)
    rivals = (SB3, SB3_ALL)

    def __init__(self, task: Task, spec: Spec, seeds: Sequence[int], repeats: int) -> None:
        """`spec` is this suite's; its `threads` are the cores that everyone may use."""
        super().__init__(task, repeats)
        self.spec, self.seeds = spec, seeds

    def enter_all(self) -> None:
        """Ours by seeds and precisions; the baselines in every way that may be the fastest for them."""
        others = [name for name in ARITHMETIC if name != self.spec.precision]
        ours = [(seeds, self.spec.precision) for seeds in self.seeds]
        ours += [(REFERENCE, name) for name in others if REFERENCE in self.seeds]
        for seeds, precision in ours:
            free = free_memory()
            if free < MEMORY_A_SEED * seeds:
                self.dropped.append(f"{self.task.name}: {seeds} seeds, only {free:,.0f} MiB are free")
                continue
            parts = IMPLEMENTATIONS if precision == self.spec.precision else {"run": OURS, "matmul": LIMIT}
            self.enter([replace(self.spec, seeds=seeds, precision=precision)], parts)
        devices = {self.spec.device, "cpu"}
        single = replace(self.spec, library="stable_baselines3", precision="float32")
        for device in sorted(devices):
            for threads in sorted({1, self.spec.threads}):
                self.enter([replace(single, device=device, threads=threads)], {"run": SB3})
            team = [replace(single, device=device, threads=1, first_seed=k) for k in range(self.spec.threads)]
            self.enter(team, {"run": SB3_ALL})
        if importlib.util.find_spec("sbx"):
            self.enter([replace(single, library="sbx", device="auto")], {"run": SBX})
        else:
            self.notes.append("sbx is not installed and was not measured.")
