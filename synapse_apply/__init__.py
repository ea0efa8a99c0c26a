"""Plan and apply for a Synapse backend kept as YAML in Git: `open_target` (docs/library.md)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any
from warnings import warn

if TYPE_CHECKING:
    from synapse_apply.client import BackendClient, ClientError
    from synapse_apply.emulator.serve import EmbeddedServer
    from synapse_apply.library.opening import open_target, open_targets
    from synapse_apply.library.target import OpenTarget
    from synapse_apply.model.errors import RemoteError, SynapseApplyError
    from synapse_apply.model.plan import Plan
    from synapse_apply.model.report import Drift, Report
    from synapse_apply.operations.apply import apply, check
    from synapse_apply.operations.apply_observer import ApplyObserver
    from synapse_apply.operations.history import PastRun
    from synapse_apply.operations.plan import plan
    from synapse_apply.operations.saved_plan import ApprovedPlans
    from synapse_apply.operations.validate import validate
    from synapse_apply.planning.plan_input import PlanOptions
    from synapse_apply.views.text.progress import SilentProgress
    from synapse_apply.workspace.invocation import Invocation
    from synapse_apply.workspace.target_session import open_context, open_state

__version__ = "0.1.0"
_HOMES = {"client": "BackendClient ClientError", "library": "OpenTarget open_target open_targets",
          "emulator.serve": "EmbeddedServer", "model.errors": "RemoteError SynapseApplyError",
          "model.plan": "Plan", "model.report": "Drift Report", "operations.apply": "apply check",
          "operations.apply_observer": "ApplyObserver", "operations.saved_plan": "ApprovedPlans",
          "operations.history": "PastRun", "operations.plan": "plan",
          "operations.validate": "validate", "planning.plan_input": "PlanOptions",
          "views.text.progress": "SilentProgress", "workspace.invocation": "Invocation",
          "workspace.target_session": "open_context open_state"}  # fmt: skip
_HOME_BY_NAME = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = ["ApplyObserver", "ApprovedPlans", "BackendClient", "ClientError", "Drift",
           "EmbeddedServer", "Invocation", "OpenTarget", "PastRun", "Plan", "PlanOptions",
           "RemoteError", "Report", "SilentProgress", "SynapseApplyError", "__version__", "apply",
           "check", "open_context", "open_state", "open_target", "open_targets", "plan",
           "validate"]  # fmt: skip
_FORMER_NAMES = {"Choices": "PlanOptions", "Silent": "SilentProgress", "Where": "Invocation"}


def __getattr__(name: str) -> Any:
    """Import a public name from its home, a former one with a warning; else AttributeError."""
    if name in _FORMER_NAMES:
        warn(f"synapse_apply.{name} is now {_FORMER_NAMES[name]}", DeprecationWarning, stacklevel=2)
        name = _FORMER_NAMES[name]
    if name not in _HOME_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_BY_NAME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
