"""Pictures and films. What needs a GL context is skipped, with the reason, where there is none."""

import io
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import screen
from PIL import Image, ImageSequence

from aihf_control.envs import render
from aihf_control.envs.film import Strip, encode, pictures, play
from aihf_control.envs.render import Camera, NoPictures
from aihf_control.envs.tasks import TASKS, make_env

HOPPER = TASKS["hopper"]


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = screen.camera(HOPPER, 96, 72)
    yield made
    made.close()


def still(observations: np.ndarray) -> np.ndarray:
    return np.zeros((len(observations), HOPPER.action_size))


def test_an_episode_is_played_as_the_environment_plays_it() -> None:
    take = play(HOPPER, still, seed=3, steps=1000)
    env = make_env(HOPPER)
    first, total, over, steps = env.reset(seed=3)[0], 0.0, False, 0
    assert (take.observations[0] == first).all()
    assert (
        take.positions[0][1:] == first[:5]
    ).all()  # an observation is the position without x, and the rest
    while not over:
        _, reward, fell, late, _ = env.step(np.zeros(3, np.float32))
        total, over, steps = total + float(reward), fell or late, steps + 1
    assert len(take.rewards) == steps < 1000
    assert take.rewards.sum() == pytest.approx(total, abs=1e-12)
    assert len(play(HOPPER, still, seed=3, steps=7).rewards) == 7


def test_the_robot_is_in_the_picture_and_moves(camera: Camera) -> None:
    upright = np.array([0.0, 1.25, 0.0, 0.0, 0.0, 0.0])
    first, bent = camera.draw(upright), camera.draw(upright + [0, -0.2, 0, -0.8, -0.8, 0.5])
    assert first.shape == (72, 96, 3) and first.dtype == np.uint8
    assert (camera.draw(upright) == first).all()
    sky = first[2, 2].astype(int)
    robot = first[25:60, 44:52].astype(int)  # brown, where the sky is blue
    assert (robot[..., 0] > robot[..., 2]).any() and sky[2] > sky[0]
    assert (first != bent).any(axis=-1).mean() > 0.01
    assert camera.stride == 5 and camera.frames_a_second == pytest.approx(25)  # of 125 steps a second


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name].hidden_positions])
def test_positions_follow_from_observations(name: str) -> None:
    task = TASKS[name]
    camera = screen.camera(task)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (200, 1, task.action_size))
    take = play(task, lambda _: actions[rng.integers(200)], seed=0, steps=40)
    found = camera.positions(take.observations)
    hidden = task.hidden_positions or 0
    assert (found[:, hidden:] == take.positions[:, hidden:]).all()
    true = take.positions[:, :hidden] - take.positions[:1, :hidden]
    assert np.abs(found[:, :hidden] - true).max() < 0.15 * np.ptp(true)
    camera.close()


@pytest.mark.parametrize("kind", ["mp4", "webp", "gif"])
def test_a_film_has_its_pictures_and_their_speed(kind: str) -> None:
    if kind == "mp4":
        pytest.importorskip("av", reason="PyAV, the extra `video`, is not installed")
    frames = [np.full((48, 64, 3), shade, np.uint8) for shade in (0, 60, 120, 180, 240)]
    content = encode(iter(frames), 20.0, kind)
    assert content == encode(iter(frames), 20.0, kind)
    read, seconds = _read(content, kind)
    shades = [picture.mean() for picture in read]
    assert len(read) == 5 and all(picture.shape == (48, 64, 3) for picture in read)
    assert np.abs(np.array(shades) - [0, 60, 120, 180, 240]).max() < 6
    assert all(before < after for before, after in pairwise(shades))
    assert seconds == pytest.approx(5 / 20)


def _read(content: bytes, kind: str) -> tuple[list[np.ndarray], float]:
    if kind == "mp4":
        import av

        with av.open(io.BytesIO(content), "r") as film:
            read = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
            return read, len(read) / float(film.streams.video[0].average_rate or 0)
    image = Image.open(io.BytesIO(content))
    read, milliseconds = [], 0
    for frame in ImageSequence.Iterator(image):
        read.append(np.asarray(frame.convert("RGB")))
        milliseconds += frame.info["duration"]
    return read, milliseconds / 1000


def test_the_strip_shows_the_curve_and_where_the_film_is() -> None:
    strip = Strip({"true reward": np.array([0.0, 1.0, 0.0, 1.0, 0.0])}, 200)
    first, third = strip.at(0), strip.at(2)
    assert first.shape == (44, 200, 3)
    line = (third != first).any(axis=(0, 2))  # the cursor moved, and with it the sum
    assert line[100] and line[6]
    assert (third[30, 100] == third[40, 100]).all() and (third[40, 100] != 255).any()


def test_a_film_is_the_camera_over_the_strip(camera: Camera) -> None:
    positions = np.tile([0.0, 1.25, 0.0, 0.0, 0.0, 0.0], (11, 1))
    drawn = list(pictures(camera, positions, {"a": np.arange(11.0), "b": np.ones(11)}))
    assert len(drawn) == 3 and all(picture.shape == (72 + 2 * 44, 96, 3) for picture in drawn)
    assert (drawn[0][:72] == camera.draw(positions[0])).all()


def test_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(render, "find_library", lambda _: None)
    with pytest.raises(NoPictures, match="apt-get install libegl1") as raised:
        Camera(HOPPER, 64, 48)
    assert "\n" not in str(raised.value)
