"""MuJoCo: simulator states while playing; pictures drawn from them later, only of clips that are asked about.

Without a graphics card one picture costs as much as a hundred steps of the simulator. Redrawn from
its state after `mj_forward`, a picture is the same to the bit.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import gymnasium
import mujoco
import numpy as np

from pairplay.types import Array, Picture, UserError

# L segment length, S numbers in a simulator state

WIDTH = 320
HEIGHT = 240
TRACKING_CAMERA = "track"

# What moves bodies; the mocap parts are bodies that a script moves.
_STATE = (
    mujoco.mjtState.mjSTATE_FULLPHYSICS.value
    | mujoco.mjtState.mjSTATE_MOCAP_POS.value
    | mujoco.mjtState.mjSTATE_MOCAP_QUAT.value
)
# What a software-drawn picture can do without. Each of the first three costs more than all the rest; a grey sky costs
# as much as the rest, and bodies stand out from a black one.
_COSTLY = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_HAZE,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
)

_log = logging.getLogger(__name__)


def log_warnings() -> None:
    """Send MuJoCo's warnings to the log; by itself it appends them to MUJOCO_LOG.TXT in the working directory."""
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(_warn)


def _warn(message: str) -> None:
    # Gymnasium's models use attributes that MuJoCo is about to drop: nothing that our users could mend.
    _log.log(logging.DEBUG if "deprecated" in message else logging.WARNING, "MuJoCo: %s", message)


class MujocoCamera:
    """Keeps the simulator's state."""

    render_mode: str | None = None

    def capture(self, env: gymnasium.Env[Any, Any]) -> Array:
        simulator: Any = env.unwrapped
        state = np.empty(mujoco.mj_stateSize(simulator.model, _STATE), np.float64)
        mujoco.mj_getState(simulator.model, simulator.data, state, _STATE)
        return state

    def painter(self, env: gymnasium.Env[Any, Any]) -> MujocoPainter:
        simulator: Any = env.unwrapped
        return MujocoPainter(simulator.model, simulator.mujoco_renderer.default_cam_config or {})


class MujocoPainter:
    """Draws states. OpenGL belongs to the thread of the first `draw`; that thread also calls `close`."""

    def __init__(self, model: Any, view: dict[str, Any]) -> None:
        # A copy: the simulators go on in another thread, and drawing wants a setting of its own.
        self._model = copy.copy(model)
        quality = self._model.vis.quality
        quality.offsamples = 0
        # Round bodies of fewer faces: up to two fifths less work, and no difference to see at this size.
        quality.numslices, quality.numstacks = 12, 8
        self._data = mujoco.MjData(self._model)
        self._view = view
        self._renderer: Any = None
        self._camera: Any = None

    def draw(self, captures: Array) -> Picture:
        if self._renderer is None:
            self._open()
        pictures = np.empty((len(captures), HEIGHT, WIDTH, 3), np.uint8)
        for state, picture in zip(captures, pictures, strict=True):
            mujoco.mj_setState(self._model, self._data, state, _STATE)
            mujoco.mj_forward(self._model, self._data)
            self._renderer.update_scene(self._data, self._camera)
            self._renderer.render(out=picture)
        return pictures

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None

    def _open(self) -> None:
        # Without a driver each of MuJoCo's ways to OpenGL fails with an error of another kind.
        try:
            self._renderer = mujoco.Renderer(self._model, HEIGHT, WIDTH)
        except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:
            raise UserError(
                f"MuJoCo cannot draw pictures on this machine ({error}). "
                "On Debian or Ubuntu: apt install libegl1 libgl1-mesa-dri; then start again with MUJOCO_GL=egl"
            ) from error
        for flag in _COSTLY:
            self._renderer.scene.flags[flag] = False
        self._camera = _point_of_view(self._model, self._view)


def _point_of_view(model: Any, view: dict[str, Any]) -> Any:
    """The model's own tracking camera, or one that stands where Gymnasium would put it."""
    camera = mujoco.MjvCamera()
    tracking = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, TRACKING_CAMERA)
    if tracking >= 0:
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = tracking
        return camera
    mujoco.mjv_defaultFreeCamera(model, camera)
    camera.distance = model.stat.extent
    for name, value in view.items():
        if isinstance(value, np.ndarray):
            getattr(camera, name)[:] = value
        else:
            setattr(camera, name, value)
    return camera
