"""Plan and apply for a Synapse backend kept as YAML in Git.

The library is the product: the command line is a thin face over `synapse_apply.operations`. What
stands here is imported when it is first used, so `import synapse_apply` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any
from warnings import warn

if TYPE_CHECKING:
    from synapse_apply.client import BackendClient, ClientError
    from synapse_apply.model.errors import RemoteError, SynapseApplyError
    from synapse_apply.operations.apply import apply, check
    from synapse_apply.operations.plan import plan
    from synapse_apply.operations.validate import validate
    from synapse_apply.planning.plan_input import PlanOptions
    from synapse_apply.views.text.progress import SilentProgress
    from synapse_apply.workspace.invocation import Invocation
    from synapse_apply.workspace.target_session import open_context, open_state

__version__ = "0.1.0"

_HOMES = {
    "BackendClient": "client",
    "ClientError": "client",
    "Invocation": "workspace.invocation",
    "PlanOptions": "planning.plan_input",
    "RemoteError": "model.errors",
    "SilentProgress": "views.text.progress",
    "SynapseApplyError": "model.errors",
    "apply": "operations.apply",
    "check": "operations.apply",
    "open_context": "workspace.target_session",
    "open_state": "workspace.target_session",
    "plan": "operations.plan",
    "validate": "operations.validate",
}

__all__ = ["BackendClient", "ClientError", "Invocation", "PlanOptions", "RemoteError",
           "SilentProgress", "SynapseApplyError", "__version__", "apply", "check", "open_context",
           "open_state", "plan", "validate"]  # fmt: skip
_FORMER_NAMES = {"Choices": "PlanOptions", "Silent": "SilentProgress", "Where": "Invocation"}


def __getattr__(name: str) -> Any:
    """Import a public name from its home, a former one with a warning; else AttributeError."""
    if name in _FORMER_NAMES:
        warn(f"synapse_apply.{name} is now {_FORMER_NAMES[name]}", DeprecationWarning, stacklevel=2)
        name = _FORMER_NAMES[name]
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
