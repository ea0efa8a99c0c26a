"""What the command line does, as a Python API: `open_target` returns one target as an object.

The classes of what its methods take and return stand here too, and are imported at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from synapse_apply.library.opening import open_target
from synapse_apply.library.target import OpenTarget
from synapse_apply.library.target_jobs import TargetJobs
from synapse_apply.library.target_live import TargetLive
from synapse_apply.library.target_state import TargetState

if TYPE_CHECKING:
    from synapse_apply.live.live_backend import LiveObject
    from synapse_apply.operations.run import StartedRun
    from synapse_apply.operations.verify_bytes import BytesResult, ComparedBytes

_HOME_BY_VALUE = {
    "BytesResult": "operations.verify_bytes",
    "ComparedBytes": "operations.verify_bytes",
    "LiveObject": "live.live_backend",
    "StartedRun": "operations.run",
}
__all__ = ["BytesResult", "ComparedBytes", "LiveObject", "OpenTarget", "StartedRun", "TargetJobs",
           "TargetLive", "TargetState", "open_target"]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import the class of a value from its home; else AttributeError."""
    if name not in _HOME_BY_VALUE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"synapse_apply.{_HOME_BY_VALUE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
