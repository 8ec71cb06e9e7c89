"""Let simulators draw on a machine without a screen. To be called before the libraries that read this are imported."""

from __future__ import annotations

import ctypes
import os
import sys

NO_GRAPHICS = "disabled"
"""Value of MUJOCO_GL with which MuJoCo simulates and never draws."""


def prepare() -> None:
    """Choose drawing without a screen where there is none; what the user has set stays."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if "MUJOCO_GL" not in os.environ:
        # With "egl" and no such library, already `import mujoco` fails.
        os.environ["MUJOCO_GL"] = "egl" if _loads("libEGL.so.1") else NO_GRAPHICS


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
