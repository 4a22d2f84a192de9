"""Segments as short films, drawn in a thread of their own: a GL context belongs to the one that made it."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor

from aihf_control.arrays import Floats
from aihf_control.envs.film import encode
from aihf_control.envs.render import FRAMES_A_SECOND, Camera
from aihf_control.envs.tasks import Task

WIDTH, HEIGHT = 320, 240
MOST_FRAMES = 50
KEPT = 40


class Clips:
    """Films of segments, the last ones kept. Raises `NoPictures` at once where there is no GL."""

    def __init__(self, task: Task, observations: Floats) -> None:
        """Of `observations` (2, N, L, O)."""
        self._observations = observations
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clips")
        self._films: OrderedDict[tuple[int, int], Future[bytes]] = OrderedDict()
        self._camera: Future[Camera] = self._thread.submit(Camera, task, WIDTH, HEIGHT)
        self._camera.result()

    def film(self, pair: int, side: int) -> Future[bytes]:
        """A WebP of the segment `side` (0 or 1) of `pair`; it starts to be drawn now, unless it was."""
        key = pair, side
        if key not in self._films:
            self._films[key] = self._thread.submit(self._draw, pair, side)
            if len(self._films) > KEPT:
                self._films.popitem(last=False)
        self._films.move_to_end(key)
        return self._films[key]

    def _draw(self, pair: int, side: int) -> bytes:
        """Two seconds or more: what a robot does in 50 steps is over before an eye has seen it."""
        camera, observations = self._camera.result(), self._observations[side, pair]
        stride = -(-len(observations) // MOST_FRAMES)
        positions = camera.positions(observations)[::stride]
        speed = min(FRAMES_A_SECOND, 1 / (stride * camera.seconds_a_step))
        return encode(map(camera.draw, positions), speed, "webp")

    def close(self) -> None:
        """Drop what is not drawn yet, and free the context in its own thread."""
        for film in self._films.values():
            film.cancel()
        self._thread.submit(self._camera.result().close)
        self._thread.shutdown()
