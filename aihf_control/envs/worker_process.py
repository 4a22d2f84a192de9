"""What a worker process of `environment_workers` runs: a fresh Python with this file and no torch."""

from __future__ import annotations

import json
import mmap
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

import numpy as np

from aihf_control.envs.environments import SerialEnvironments
from aihf_control.envs.external import OWN, open_task
from aihf_control.envs.tasks import Task
from aihf_control.errors import InvalidChoice

RESET, STEP, FAULTS, DONE, FAILED = b"r", b"s", b"f", b".", b"!"


@dataclass(frozen=True)
class Settings:
    """What a worker is told when it starts: it has the environments from `first` to before `end`."""

    task: Task
    count: int
    first: int
    end: int
    fixed_horizon: bool
    autoreset: bool
    entry: str
    """As ENV= names the task, if it is a user's own, whose code the worker has to load, and …"""
    sha256: str
    """… the hash of that code where it was loaded first."""

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def parse(text: bytes) -> Settings:
        """The inverse of `encode`."""
        values = json.loads(text)
        return Settings(**(values | {"task": Task(**values["task"])}))


@dataclass(frozen=True)
class Block:
    """The shared memory: commands' arguments and results of all environments."""

    seeds: np.ndarray
    actions: np.ndarray
    playing: np.ndarray
    following: np.ndarray
    final: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @staticmethod
    def layout(task: Task, count: int) -> list[tuple[tuple[int, ...], np.dtype]]:
        """Shape and type of each array, in order."""
        observations = (count, task.observation_size), np.dtype(np.float32)
        flags = (count,), np.dtype(bool)
        return [
            ((count,), np.dtype(np.int64)),
            ((count, task.action_size), np.dtype(np.float32)),
            flags,
            observations,
            observations,
            ((count,), np.dtype(np.float64)),
            flags,
            flags,
        ]

    @staticmethod
    def size(task: Task, count: int) -> int:
        """Bytes; each array starts on a cache line of its own."""
        return sum(_padded(shape, dtype) for shape, dtype in Block.layout(task, count))

    @staticmethod
    def map(file: int, task: Task, count: int) -> Block:
        """The block in an open file of that size; it stays mapped after the file is closed."""
        memory, offset, arrays = mmap.mmap(file, Block.size(task, count)), 0, []
        for shape, dtype in Block.layout(task, count):
            arrays.append(np.ndarray(shape, dtype, memory, offset))
            offset += _padded(shape, dtype)
        return Block(*arrays)


def _padded(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return -(-int(np.prod(shape)) * dtype.itemsize // 64) * 64


def serve(connection: int, memory: int) -> None:
    """A worker's life: obey the commands that come over a descriptor until its other end is closed."""
    pipe = Connection(connection)
    try:
        settings = Settings.parse(pipe.recv_bytes())
        block = Block.map(memory, settings.task, settings.count)
        try:
            _obey(pipe, settings, block)
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            pipe.send_bytes(FAILED + f"{type(error).__name__}: {error}".encode())
    except (EOFError, ConnectionError):
        pass  # the parent is gone or wants no more


def _task(settings: Settings) -> Task:
    if not settings.entry:
        return settings.task
    task = open_task(settings.entry)
    if OWN[task.name].source.sha256 != settings.sha256:
        raise InvalidChoice(f"ENV={settings.entry}: was changed since this run began: start it again")
    return task


def _obey(pipe: Connection, settings: Settings, block: Block) -> None:
    envs = SerialEnvironments(
        _task(settings),
        settings.end - settings.first,
        fixed_horizon=settings.fixed_horizon,
        autoreset=settings.autoreset,
    )
    mine = slice(settings.first, settings.end)
    answer = b""
    while True:
        pipe.send_bytes(DONE + answer)
        command, answer = pipe.recv_bytes(), b""
        if command == RESET:
            block.following[mine] = envs.reset(block.seeds[mine].tolist())
        elif command == STEP:
            envs.begin(block.actions[mine], block.playing[mine])
            steps = envs.finish()
            block.following[mine], block.final[mine] = steps.following, steps.final
            block.rewards[mine] = steps.rewards
            block.terminated[mine], block.truncated[mine] = steps.terminated, steps.truncated
        elif command == FAULTS:
            answer = json.dumps(envs.faults()).encode()
