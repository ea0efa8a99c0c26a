"""What the command line does, as a Python API: `open_target` returns one target as an object."""

from synapse_apply.library.opening import open_target
from synapse_apply.library.target import OpenTarget
from synapse_apply.library.target_state import TargetState

__all__ = ["OpenTarget", "TargetState", "open_target"]
