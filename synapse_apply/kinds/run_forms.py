"""The forms of a run. A module of its own: manifests are checked without what else a kind is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.model.error_body import field_errors
from synapse_apply.model.errors import RemoteError

# A run as the platform takes it; the API page has parameters and context instead.
PLATFORM_FORM = ("action", "agent", "params")
PAGE_FORM = ("parameters", "context")
# What the platform needs of a run, beside the parameters.
_NEEDED = ("action", "agent")
_MOST_LISTED = 10
_LONGEST_NAME = 80


def list_actions(config: object) -> tuple[str, ...]:
    """The names of the actions that a config.yaml, or a release's `config`, lists."""
    actions = config.get("actions") if isinstance(config, Mapping) else None
    if not isinstance(actions, Mapping):
        return ()
    return tuple(name for name in actions if isinstance(name, str) and name)


def describe_actions(actions: tuple[str, ...]) -> str:
    """The actions for a message: at most ten of them, long names cut."""
    names = [
        name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
        for name in actions[:_MOST_LISTED]
    ]
    more = len(actions) - _MOST_LISTED
    return ", ".join([*names, *([f"and {more} more"] if more > 0 else [])])


def to_platform_form(verify: Mapping[str, Any], action: str) -> dict[str, Any]:
    """A `verify:` block with this action, and with its parameters under the platform's name.

    A declared context goes along: the platform passes over it, other servers show it with the job.
    """
    others = {name: value for name, value in verify.items() if name not in {"parameters", "params"}}
    params = verify.get("params", verify.get("parameters", {}))
    return {**others, "action": action, "params": params}


def list_lacking(failure: RemoteError, body: Mapping[str, Any]) -> tuple[str, ...]:
    """What the platform needs of a run, says so in its refusal, and was not sent."""
    named = {path[0] for path in field_errors(failure.detail) if path}
    return tuple(name for name in _NEEDED if name in named and body.get(name) in (None, ""))
