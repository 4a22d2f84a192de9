"""Pictures of a robot without a screen, through MuJoCo's EGL or OSMesa context."""

from __future__ import annotations

import os
from ctypes.util import find_library
from importlib import import_module
from typing import Any

import mujoco
import numpy as np

from aihf_control.arrays import Floats
from aihf_control.envs.tasks import Task, make_env
from aihf_control.errors import InvalidChoice

CONTEXTS = {"egl": "EGL", "osmesa": "OSMesa"}
"""What MuJoCo calls a context without a screen, in the order of trial, and the library that it needs."""

FRAMES_A_SECOND = 25


class NoPictures(InvalidChoice):
    """This machine cannot draw without a screen; the one line says what to install."""


class Camera:
    """Draws a task's robot from the side, followed by the camera that its model brings, if it does.

    Make, use and close it in one thread: a GL context belongs to the thread that made it. Raises
    `NoPictures` where there is no GL.
    """

    def __init__(self, task: Task, width: int, height: int) -> None:
        self._task, self._env, self.width = task, make_env(task), width
        simulator: Any = self._env.unwrapped
        if not isinstance(getattr(simulator, "data", None), mujoco.MjData):
            raise NoPictures(f"no picture can be drawn of {task.name}: it is not simulated by MuJoCo")
        self._model, self._data = simulator.model, mujoco.MjData(simulator.model)
        self.seconds_a_step: float = simulator.dt
        self.stride = max(1, round(1 / (FRAMES_A_SECOND * self.seconds_a_step)))
        """Steps a frame, so that what is drawn moves as fast as it did."""
        screen = self._model.vis.global_
        screen.offwidth, screen.offheight = width, height
        self._context = _gl_context(width, height)
        self._scene = mujoco.MjvScene(self._model, maxgeom=1000)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = False  # two thirds of the time where no GPU draws
        self._option, self._view = mujoco.MjvOption(), mujoco.MjvCamera()
        cameras = [self._model.camera(number).name for number in range(self._model.ncam)]
        if "track" in cameras:
            self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
            self._view.fixedcamid = cameras.index("track")
        else:
            mujoco.mjv_defaultFreeCamera(self._model, self._view)
        self._renderer = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._renderer)
        self._area = mujoco.MjrRect(0, 0, width, height)

    @property
    def frames_a_second(self) -> float:
        """Of a film with a frame every `stride` steps, at the robot's own speed."""
        return 1 / (self.stride * self.seconds_a_step)

    def draw(self, position: Floats) -> np.ndarray:
        """The robot at `position`, MuJoCo's `qpos` (nq,), as a picture (height, width, 3) uint8."""
        self._context.make_current()
        self._data.qpos[:] = position
        mujoco.mj_forward(self._model, self._data)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, None, self._view, everything, self._scene
        )
        pixels = np.empty((self._area.height, self._area.width, 3), np.uint8)
        mujoco.mjr_render(self._area, self._scene, self._renderer)
        mujoco.mjr_readPixels(pixels, None, self._area, self._renderer)
        return pixels[::-1]  # OpenGL counts rows from below

    def positions(self, observations: Floats) -> Floats:
        """The positions `qpos` (T, nq) behind the observations (T, O) of successive steps.

        What an observation leaves out, where the robot is on its track, follows from its velocity. Raises
        `NoPictures` where an observation does not hold the position.
        """
        hidden = self._task.hidden_positions
        if hidden is None:
            raise NoPictures(f"no picture of an observation of {self._task.name}: it does not hold positions")
        shown = self._model.nq - hidden
        speeds = observations[:, shown : shown + hidden]
        moved = (speeds[1:] + speeds[:-1]) / 2 * self.seconds_a_step
        travelled = np.concatenate([np.zeros((1, hidden)), moved.cumsum(axis=0)])
        return np.concatenate([travelled, observations[:, :shown]], axis=1)

    def close(self) -> None:
        """Free the context; safe to call twice."""
        self._renderer.free()
        self._context.free()
        self._env.close()


def _gl_context(width: int, height: int) -> Any:
    """MuJoCo's own, whatever its MUJOCO_GL was when it was imported."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    names = [wanted] if wanted in CONTEXTS else [name for name, lib in CONTEXTS.items() if find_library(lib)]
    if not names:
        raise NoPictures(
            "no picture can be drawn: neither EGL nor OSMesa is on this machine: install one (on Debian and "
            "Ubuntu: apt-get install libegl1 libgl1-mesa-dri, or libosmesa6)"
        )
    try:
        context = import_module(f"mujoco.{names[0]}").GLContext(width, height)
        context.make_current()
    except Exception as error:  # whatever a driver, PyOpenGL or MuJoCo makes of it
        others = [name for name in CONTEXTS if name != names[0]]
        raise NoPictures(
            f"no picture can be drawn: {names[0]} gives no context ({str(error).splitlines()[0]}): "
            f"set MUJOCO_GL={others[0]}, or install Mesa (libgl1-mesa-dri)"
        ) from error
    return context
