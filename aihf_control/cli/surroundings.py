"""What a process of ours takes from its surroundings: nothing that another program's settings can break.

Called first of all in a process that is ours, never by an import (standard library only).
"""

from __future__ import annotations

import codecs
import os
import sys

_DRAWING = ("video", "label", "preferences render")
"""Commands that draw with MuJoCo, which need the context that MUJOCO_GL names."""

_GL = ("egl", "osmesa", "glfw", "glx", "")

_SPELT = {
    "±": "+/-", "–": "-", "—": "-", "−": "-", "×": "x", "·": "*", "…": "...", "→": "->", "←": "<-", "≥": ">=",
    "≤": "<=", "½": "1/2", "’": "'", "“": '"', "”": '"', "∞": "inf", "√": "sqrt", "²": "^2",
}  # fmt: skip
"""Characters of our texts, for a stream that cannot say them; of any other a question mark is left."""


def settle(command: str = "") -> str | None:
    """Make this process independent of its surroundings; returns one line if they cannot do for `command`.

    A notebook's MPLBACKEND is of its own kernel. No process of ours draws with MuJoCo but a few commands, and
    MuJoCo refuses to be imported over a MUJOCO_GL that it does not know. In a terminal of a few columns help
    is not laid out to an end.
    """
    _open_streams()
    os.environ.pop("MPLBACKEND", None)
    if os.environ.get("COLUMNS", "").isdecimal() and int(os.environ["COLUMNS"]) < 20:
        os.environ["COLUMNS"] = "80"
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="spelt")
    if command not in _DRAWING:
        os.environ["MUJOCO_GL"] = "disable"
    elif (name := os.environ.get("MUJOCO_GL", "").strip().lower()) not in _GL:
        return f"MUJOCO_GL={name} is no context of MuJoCo's: leave it out, or name egl or osmesa"
    return None


def _open_streams() -> None:
    """Where a standard stream is closed, the next file or socket has its number, and children lose it."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _spelt(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_SPELT.get(character, "?") for character in lost), error.end


codecs.register_error("spelt", _spelt)
