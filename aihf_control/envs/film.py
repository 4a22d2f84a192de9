"""Pictures as a film: rewards as a strip below them, and the file that a browser plays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aihf_control.arrays import Floats
from aihf_control.envs.render import Camera
from aihf_control.envs.tasks import Task, make_env
from aihf_control.errors import InvalidChoice, choose

FORMATS = ("mp4", "webp", "gif")
ROW, MARGIN, TEXT = 44, 6, 12
INK, LINES, PAPER, CURSOR = "#222222", ("#0072B2", "#D55E00"), "#FFFFFF", "#999999"


@dataclass(frozen=True)
class Take:
    """One episode as it is filmed: `positions` (T, nq) before each step, `observations` (T, O) and `actions`
    (T, A) of the step, and its true `rewards` (T,)."""

    positions: Floats
    observations: Floats
    actions: Floats
    rewards: Floats


def play(task: Task, act: Callable[[Floats], Floats], seed: int, steps: int) -> Take:
    """An episode of `act`, observations (1, O) → actions (1, A), from the reset of `seed`, cut at `steps`."""
    env = make_env(task)
    simulator: Any = env.unwrapped
    observation, over = env.reset(seed=seed)[0], False
    positions, observations, actions = [], [], []
    rewards: list[float] = []
    while not over and len(rewards) < steps:
        positions.append(simulator.data.qpos.copy())
        observations.append(observation)
        actions.append(np.clip(act(observation[None])[0], -1, 1).astype(np.float32))
        observation, reward, fell, late, _ = env.step(actions[-1])
        rewards.append(float(reward))
        over = fell or late
    env.close()
    return Take(*map(np.array, (positions, observations, actions, rewards)))


def pictures(camera: Camera, positions: Floats, curves: Mapping[str, Floats]) -> Iterator[np.ndarray]:
    """A picture every `camera.stride` steps, with the `curves` (T,) below it, if there are any."""
    strip = Strip(curves, camera.width) if curves else None
    for step in range(0, len(positions), camera.stride):
        picture = camera.draw(positions[step])
        yield np.concatenate([picture, strip.at(step)]) if strip else picture


class Strip:
    """Numbers a step as curves, one below the other, with a cursor at the step that is shown.

    `curves` are (T,) each, by what they are called; each has a scale of its own, from its least to its most.
    """

    def __init__(self, curves: Mapping[str, Floats], width: int) -> None:
        self._steps = max(len(values) for values in curves.values())
        self._font = ImageFont.load_default(TEXT)
        self._curves, self._width = curves, width
        self._blank = Image.new("RGB", (width, ROW * len(curves)), PAPER)
        draw = ImageDraw.Draw(self._blank)
        for row, (values, colour) in enumerate(zip(curves.values(), LINES, strict=False)):
            scaled = (values - values.min()) / (np.ptp(values) or 1.0)
            top, bottom = row * ROW + TEXT + MARGIN, (row + 1) * ROW - MARGIN
            points = zip(map(self._across, range(len(values))), bottom - scaled * (bottom - top), strict=True)
            draw.line([(x, float(y)) for x, y in points], fill=colour, width=1)
            scale = f"{values.min():.2f} to {values.max():.2f}"
            draw.text((width - MARGIN, row * ROW + 2), scale, fill=CURSOR, font=self._font, anchor="ra")

    def _across(self, step: int) -> float:
        return MARGIN + (self._width - 2 * MARGIN) * step / max(1, self._steps - 1)

    def at(self, step: int) -> np.ndarray:
        """The picture (height, width, 3) with the cursor at `step`, and each curve's value there."""
        picture = self._blank.copy()
        draw, x = ImageDraw.Draw(picture), self._across(step)
        draw.line([(x, 0), (x, picture.height)], fill=CURSOR)
        for row, ((name, values), colour) in enumerate(zip(self._curves.items(), LINES, strict=False)):
            now, total = values[min(step, len(values) - 1)], values[: step + 1].sum()
            text = f"{name} {now:.2f}, sum {total:,.0f}"
            draw.text((MARGIN, row * ROW + 2), text, fill=colour, font=self._font)
        return np.asarray(picture)


def best_format() -> str:
    """Of those that can be written here, the one that most programs play."""
    return "mp4" if find_spec("av") else "webp"


def check_format(name: str) -> str:
    """`name` if a film can be written so here; raises `InvalidChoice`."""
    if choose("the film's format", name, FORMATS) == "mp4" and find_spec("av") is None:
        raise InvalidChoice(
            "mp4 needs PyAV: pip install -c constraints.txt -e '.[video]', or write a .webp or .gif"
        )
    return name


def encode(frames: Iterator[np.ndarray], frames_a_second: float, kind: str) -> bytes:
    """A film of `frames`, each (H, W, 3) uint8 with H and W even, in one of `FORMATS`; the same bytes for
    the same frames."""
    return _mp4(frames, frames_a_second) if kind == "mp4" else _animated(frames, frames_a_second, kind)


def _mp4(frames: Iterator[np.ndarray], frames_a_second: float) -> bytes:
    """H.264, which every browser plays. One thread: how many would cut the pictures in other places."""
    import av

    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as film:
        stream: Any = film.add_stream("libx264", rate=Fraction(frames_a_second).limit_denominator(1000))
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        stream.options = {"crf": "23", "preset": "medium"}
        for number, picture in enumerate(frames):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))))
        film.mux(stream.encode(None))
    return content.getvalue()


def _animated(frames: Iterator[np.ndarray], frames_a_second: float, kind: str) -> bytes:
    first, *rest = (Image.fromarray(picture) for picture in frames)
    content = io.BytesIO()
    options: dict[str, Any] = {"quality": 70, "method": 2} if kind == "webp" else {"optimize": False}
    first.save(
        content,
        format=kind,
        save_all=True,
        append_images=rest,
        duration=round(1000 / frames_a_second),
        loop=0,
        **options,
    )
    return content.getvalue()
