"""What the command line does, for scripts: `open_target` gives one target as an object.

Commands are made of it. It prints nothing, asks nobody, takes over no signal and ends no process;
each method imports what it needs.
"""

from synapse_apply.library.opening import open_target
from synapse_apply.library.target import OpenTarget
from synapse_apply.library.target_state import TargetState

__all__ = ["OpenTarget", "TargetState", "open_target"]
