"""One batch of seeds of one method: trained round by round, evaluated, recorded, resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aihf_control.learn.adam import restore
from aihf_control.learn.cuda_graphs import FAULTS
from aihf_control.learn.reward_diagnostics import RewardDiagnostics
from aihf_control.learn.rollouts import Roller
from aihf_control.learn.sac import Metrics
from aihf_control.learn.saved import encode_reward
from aihf_control.learn.sb3 import save_policy
from aihf_control.methods.method import Context, Method
from aihf_control.methods.table import make
from aihf_control.runs.files import write_atomically
from aihf_control.runs.folder import (
    RunPaths,
    State,
    Status,
    read_config,
    write_config,
    write_progress,
    write_status,
)
from aihf_control.runs.locks import SeedLock
from aihf_control.runs.progress import Listener, Progress
from aihf_control.runs.signals import uninterrupted
from aihf_control.study.checkpoints import Checkpoint

Row = dict[str, float | int]
Observer = Callable[["BatchRun", int], None]
"""Called after every evaluation with the run and its step (event files, snapshots)."""


@dataclass
class Record:
    """What is known of a batch at a checkpoint; plain JSON."""

    step: int = 0
    rounds: int = 0
    wall_seconds: float = 0.0
    rows: list[list[Row]] = field(default_factory=list)
    """A list of progress rows a seed."""
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Seed → `failed_at_step`, `reason`."""


class BatchRun:
    """Trains one method's batch of seeds to its end, from its last checkpoint if there is one."""

    def __init__(
        self, paths: RunPaths, context: Context, lock: SeedLock, observer: Observer | None = None,
        listener: Listener | None = None,
    ) -> None:  # fmt: skip
        self.paths, self.lock, self.observer, self._listener = paths, lock, observer, listener
        self.context = replace(context, tick=self._advance)
        self.method: Method = make(paths.method, self.context)
        self.checkpoint = Checkpoint(paths.checkpoint(context.seeds))
        self.record = Record(rows=[[] for _ in context.seeds])
        self._roller = Roller(
            context.task,
            context.seeds,
            context.settings.evaluation_episodes,
            fixed_horizon=False,
            environments=context.settings.environments,
        )
        self._diagnostics = self._reward_diagnostics() if self.method.learns_reward else None

    def _reward_diagnostics(self) -> RewardDiagnostics:
        context = self.context
        discount = context.settings.sac.discount
        return RewardDiagnostics(context.task, context.feedback, len(context.seeds), discount)

    def run(self) -> Record:
        """Everything that is left to do; afterwards the checkpoint is gone and the seeds are finished."""
        try:
            return self._run()
        finally:
            self.method.close()
            self._roller.close()

    def _run(self) -> Record:
        began = time.monotonic() - self._resume()
        label = f"{self.paths.task}/{self.paths.method}"
        self.progress = Progress(
            self.method.total_steps,
            label,
            seeds=len(self.context.seeds),
            start=self.record.step,
            listener=self._listener,
        )
        if not self.record.rows[0] and not self.record.failures:
            self._conclude_round(self.method.start(), 0, began)
        while self.record.step < self.method.total_steps:
            steps = min(self.method.round_steps, self.method.total_steps - self.record.step)
            metrics = self.method.run_round(self.record.rounds, steps)
            self.record.rounds += 1
            self._conclude_round(metrics, steps, began)
        self._finish()
        self.progress.close()
        return self.record

    def _advance(self, steps: int) -> None:
        self.progress.advance(steps)

    def _resume(self) -> float:
        """Take up the last checkpoint; returns the seconds already spent."""
        loaded = self.checkpoint.load_latest()
        if loaded is None:
            return 0.0
        restore(self.method.tensors(), loaded.tensors)
        for rows in loaded.replay():
            self.method.restore_rows(rows)
        self.record = Record(**loaded.record)
        if self.observer:
            self.observer(self, self.record.step)  # a kill may have come between the save and this
        return self.record.wall_seconds

    def _conclude_round(self, metrics: Metrics, steps: int, began: float) -> None:
        self.record.step += steps
        self._note_failures(metrics)
        rows = self._evaluate(metrics)
        for seed, history, row in zip(self.context.seeds, self.record.rows, rows, strict=True):
            if str(seed) not in self.record.failures:
                history.append(row)
        self.record.wall_seconds = time.monotonic() - began
        with uninterrupted():
            self.lock.confirm()
            self._save(steps)
            self._note_graphs()
        if self.observer:
            self.observer(self, self.record.step)
        self._report()

    def _note_failures(self, metrics: Metrics) -> None:
        faults = self.method.faults()
        for name, values in metrics.items():
            for member in torch.nonzero(~values.isfinite()).flatten().tolist():
                faults[member] = faults[member] or f"{name} is not finite"
        for seed, fault in zip(self.context.seeds, faults, strict=True):
            if fault and str(seed) not in self.record.failures:
                self.record.failures[str(seed)] = {"failed_at_step": self.record.step, "reason": fault}

    @torch.no_grad()
    def _evaluate(self, metrics: Metrics) -> list[Row]:
        """One row a seed: of the deterministic policy in the standard environment, with diagnostics."""
        mode = self.method.actor.mode
        rollouts = self._roller.play(mode, "evaluation", self.record.rounds, self.context.device)
        columns: dict[str, Tensor | np.ndarray] = {
            "return_mean": rollouts.returns.mean(1),
            "return_std": rollouts.returns.std(1),
            "length_mean": rollouts.lengths.mean(1),
            "environment_steps": self.method.environment_steps,
        }
        diagnosed: dict[str, Tensor] = {}
        if self._diagnostics:
            method = self.method
            diagnosed = self._diagnostics.measure(method.rewards, method.reward_model, rollouts)
        values = {name: column.tolist() for name, column in (columns | diagnosed | metrics).items()}
        return [
            {"step": self.record.step}
            | {
                name: column[member]
                for name, column in values.items()
                # undefined for this reward, as a correlation with a constant is: no fault, but no number
                if not (name in diagnosed and math.isnan(column[member]))
            }
            for member in range(len(self.context.seeds))
        ]

    def _save(self, steps: int) -> None:
        rows = self.method.new_rows(steps) if steps else None
        self.checkpoint.save(self.record.rounds, self.method.tensors(), rows, vars(self.record))
        for member, seed in enumerate(self.context.seeds):
            folder = self.paths.seed(seed)
            write_progress(folder, self.record.rows[member])
            write_status(folder, self._status(seed, ended=False))

    def _note_graphs(self) -> None:
        """Say of each graph that was found wrong, and keep it in `config.json`, that it is not used."""
        for fault in FAULTS:
            self.progress.note(fault)
            for seed in self.context.seeds:
                folder = self.paths.seed(seed)
                config = read_config(folder) or {}
                write_config(folder, config | {"graphs_off": [*config.get("graphs_off", []), fault]})
        FAULTS.clear()

    def _status(self, seed: int, *, ended: bool) -> Status:
        failure = self.record.failures.get(str(seed), {})
        state: State = "running" if not ended else "failed" if failure else "finished"
        seconds = round(self.record.wall_seconds, 1)
        return Status(state, self.record.step, seconds, len(self.context.seeds), **failure)

    def _finish(self) -> None:
        """Write what outlives the checkpoint; repeated after a kill, with the same weights and numbers."""
        learner = self.method.sac or self.method.actor
        with uninterrupted():
            for member, seed in enumerate(self.context.seeds):
                folder = self.paths.seed(seed)
                rows = write_progress(folder, self.record.rows[member])
                save_policy(folder / "policy.zip", self.context.task, learner, member)
                if self.method.reward_model is not None:
                    task, settings = self.context.task, self.context.settings.reward
                    reward = encode_reward(self.method.reward_model, member, task, settings)
                    write_atomically(folder / "reward.safetensors", reward)
                write_status(folder, replace(self._status(seed, ended=True), rows_sha256=rows))
            self.checkpoint.remove()

    def _report(self) -> None:
        returns = [rows[-1]["return_mean"] for rows in self.record.rows if rows]
        if returns:
            self.progress.report(float(np.mean(returns)), float(np.std(returns)))
