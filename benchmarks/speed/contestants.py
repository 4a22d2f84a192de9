"""What `make speed` measures, each in a process of its own that sleeps until it is told to work."""

from __future__ import annotations

import importlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from aihf_control.envs.tasks import TASKS, Task, without_deprecations
from aihf_control.learn.randomness import UPDATES_PER_DRAW
from aihf_control.learn.sac import ARITHMETIC, SACConfig
from aihf_control.learn.sac_loop import Exploration, SACLoop
from aihf_control.study.machine import keep_freed_memory

REPLAY_STEPS = 20_000  # room in every replay memory: an update's cost does not depend on it
IMPORTED_FIRST = ("stable_baselines3", "tyro", "benchmarks.speed.match", "benchmarks.speed.plot")
PATIENCE = 180.0  # seconds after which a process that does not answer is given up


@dataclass(frozen=True)
class Spec:
    """A contestant: `seeds` learners, numbered from `first_seed`, of `library`: aihf_control,
    stable_baselines3 or sbx."""

    library: str
    task: str
    device: str
    threads: int
    seeds: int = 1
    first_seed: int = 0
    precision: str = "float32"
    batch: int = 256
    hidden: tuple[int, ...] = (256, 256)
    stored: int = 2_000
    """Transitions in replay before the first measured step."""
    environments: str = "serial"


def environment(task: Task) -> gym.Env:
    """As Gymnasium makes it, without a guard of ours."""
    with without_deprecations():
        return gym.make(task.env_id, max_episode_steps=task.horizon)


def play(task: Task, steps: int) -> np.ndarray:
    """Random play: packed rows (steps, width) of `observation, next_observation, action, reward, mask`."""
    env, rng = environment(task), np.random.default_rng(0)
    rows, observation = [], env.reset(seed=0)[0]
    for _ in range(steps):
        action = rng.uniform(-1, 1, task.action_size)
        following, reward, terminated, truncated, _ = env.step(action)
        rows.append(np.concatenate([observation, following, action, [float(reward)], [1.0 - terminated]]))
        observation = env.reset()[0] if terminated or truncated else following
    env.close()
    return np.array(rows, np.float32)


class Ours:
    """S seeds of this suite in one batch: the run as a method makes it, and its parts alone."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.task, self.device = spec, TASKS[spec.task], torch.device(spec.device)
        config = SACConfig(
            critic="plain",  # Stable-Baselines3's, so that both do the same work
            hidden=spec.hidden,
            batch_size=spec.batch,
            learning_starts=min(1_000, spec.stored),
            precision=spec.precision,
        )
        self.seeds = range(spec.first_seed, spec.first_seed + spec.seeds)
        self.loop = SACLoop(
            self.task,
            config,
            self.seeds,
            REPLAY_STEPS,
            self.device,
            fixed_horizon=False,
            environments=spec.environments,
        )
        rows = torch.from_numpy(play(self.task, spec.stored)).to(self.device)
        self.loop.replay.extend(rows.expand(spec.seeds, -1, -1))
        self._round, self._step = 0, 0

    def prepare(self, what: str) -> Callable[[int], None]:
        """What is to be timed, ready to go: it does as many steps as it is told."""
        ways = {"run": self._run, "update": self._update}
        if what == "environments":
            return self._environments()
        return self._matmul() if what == "matmul" else ways[what]

    def close(self) -> None:
        """End what it started, such as environments in processes of their own."""
        self.loop.envs.close()

    def _run(self, steps: int) -> None:
        self.loop.run(self._round, steps, self._step, Exploration(random_until=0), None)
        self._round, self._step = self._round + 1, self._step + steps

    def _update(self, steps: int) -> None:
        for step in range(steps):
            self.loop.updates.update(step % UPDATES_PER_DRAW, None, critic_only=False)

    def _environments(self) -> Callable[[int], None]:
        envs = self.loop.envs
        envs.reset(list(self.seeds))
        actions = np.random.default_rng(0).uniform(-1, 1, (self.spec.seeds, self.task.action_size))

        def steps(count: int) -> None:
            for _ in range(count):
                envs.begin(actions.astype(np.float32))
                envs.finish()

        return steps

    def _matmul(self) -> Callable[[int], None]:
        """The multiplication that an update consists of, and nothing else: 2·S members, hidden layer."""
        members, width = 2 * self.spec.seeds, max(self.spec.hidden)
        dtype = ARITHMETIC[self.spec.precision] or torch.float32
        x = torch.randn(members, self.spec.batch, width, device=self.device).to(dtype)
        weight = torch.randn(members, width, width, device=self.device).to(dtype)
        out = torch.bmm(x, weight)

        def steps(count: int) -> None:
            for _ in range(count):
                torch.bmm(x, weight, out=out)

        steps(2)
        return steps


class Baseline:
    """SAC of Stable-Baselines3, or of SBX, which has the same interface: one seed, default settings."""

    def __init__(self, spec: Spec) -> None:
        task = TASKS[spec.task]
        self.model: Any = importlib.import_module(spec.library).SAC(
            "MlpPolicy",
            environment(task),
            batch_size=spec.batch,
            buffer_size=REPLAY_STEPS,
            learning_starts=0,  # replay is filled below
            policy_kwargs={"net_arch": list(spec.hidden)},
            seed=spec.first_seed,
            device=spec.device,
        )
        cuts = np.cumsum([task.observation_size, task.observation_size, task.action_size, 1])
        for row in play(task, spec.stored)[:, None]:
            observation, following, action, reward, mask = np.split(row, cuts, axis=1)
            self.model.replay_buffer.add(observation, following, action, reward[0], 1 - mask[0], [{}])

    def prepare(self, what: str) -> Callable[[int], None]:
        """As `Ours.prepare`; there is only `run`: an environment step, then an update, in turn."""
        assert what == "run"
        return self._run

    def close(self) -> None:
        """As `Ours.close`."""
        self.model.env.close()

    def _run(self, steps: int) -> None:
        self.model.learn(steps, log_interval=None)


def serve(connection: Connection, spec: Spec) -> None:
    """The process: answers `(what, steps)` with seconds, "memory" with MiB; a text tells why it cannot."""
    try:
        torch.set_num_threads(spec.threads)
        if spec.library == "aihf_control":
            keep_freed_memory()  # as a study does
        before, cuda = _private_memory(), spec.device.startswith("cuda")
        contestant = (Ours if spec.library == "aihf_control" else Baseline)(spec)
        connection.send(0.0)
        while (request := connection.recv()) is not None:
            if request == "memory":
                peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else _private_memory() - before
                connection.send(peak)
                continue
            work = contestant.prepare(request[0])
            finish: Callable[[], None] = torch.cuda.synchronize if cuda else lambda: None
            finish()
            began = time.perf_counter()
            work(request[1])
            finish()
            connection.send(time.perf_counter() - began)
        contestant.close()
    except (EOFError, BrokenPipeError, KeyboardInterrupt):  # the parent is gone or was interrupted
        pass
    except Exception as error:  # whatever it is, the parent goes on without this contestant and says why
        connection.send((str(error).strip() or type(error).__name__).splitlines()[0])


def _private_memory() -> float:
    """Peak resident MiB of this process but for files, whose pages (libraries) it shares; NaN if unknown.

    The peak starts afresh in a forked process.
    """
    try:
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        kib = {words[0]: int(words[1]) for words in lines if words[-1:] == ["kB"]}
        return (kib["VmHWM:"] - kib["RssFile:"]) / 1024
    except (OSError, KeyError):
        return float("nan")


class Failed(Exception):
    """A contestant cannot go on; the text says why."""


class Contestant:
    """One process, or several that always work at the same time."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        # forked from a server that has imported everything and computed nothing: quick, and
        # memory counts from the same point for all
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(IMPORTED_FIRST))
        self.spec, self._links, self._processes = specs[0], [], []
        for spec in specs:
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, spec))
            process.start()
            theirs.close()
            self._links.append(ours)
            self._processes.append(process)

    def wait_until_ready(self) -> None:
        """Raises `Failed`, as the others do, if it cannot be built."""
        self._answers()

    def measure(self, what: str, steps: int) -> list[float]:
        """Seconds that each process took for `steps`; all are told before the first is waited for."""
        return self._ask((what, steps))

    def memory(self) -> float:
        """Peak memory so far in MiB, of all processes together."""
        return sum(self._ask("memory"))

    def close(self) -> None:
        """End the processes."""
        for link in self._links:
            with suppress(OSError):
                link.send(None)
            link.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()

    def _ask(self, request: tuple[str, int] | str) -> list[float]:
        try:
            for link in self._links:
                link.send(request)
        except OSError as error:
            raise Failed("its process is gone") from error
        return self._answers()

    def _answers(self) -> list[float]:
        answers = []
        for link in self._links:
            try:
                if not link.poll(PATIENCE):
                    raise Failed(f"no answer within {PATIENCE:.0f} s")
                answers.append(link.recv())
            except (EOFError, OSError) as error:
                raise Failed("its process was killed (out of memory?)") from error
        for answer in answers:
            if isinstance(answer, str):
                raise Failed(answer)
        return answers
