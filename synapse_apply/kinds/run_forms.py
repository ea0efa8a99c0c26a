"""The forms of a run. A module of its own: manifests are checked without what else a kind is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.model.errors import RemoteError
from synapse_apply.model.remote.error_body import parse_field_errors

# A run as the platform takes it; the API page has parameters and context instead.
PLATFORM_FORM = ("action", "agent", "params")
PAGE_FORM = ("parameters", "context")
# What the platform needs of a run, beside the parameters.
_REQUIRED_INPUTS = ("action", "agent")
_MAX_LISTED = 10
_MAX_NAME_LENGTH = 80


def list_action_names(config: object) -> tuple[str, ...]:
    """The names of the actions that a config.yaml, or a release's `config`, lists."""
    actions = config.get("actions") if isinstance(config, Mapping) else None
    if not isinstance(actions, Mapping):
        return ()
    return tuple(name for name in actions if isinstance(name, str) and name)


def describe_actions(actions: tuple[str, ...]) -> str:
    """The actions for a message: at most ten of them, long names cut."""
    names = [
        name if len(name) <= _MAX_NAME_LENGTH else f"{name[:_MAX_NAME_LENGTH]}..."
        for name in actions[:_MAX_LISTED]
    ]
    unlisted_count = len(actions) - _MAX_LISTED
    return ", ".join([*names, *([f"and {unlisted_count} more"] if unlisted_count > 0 else [])])


def to_platform_form(verify: Mapping[str, Any], action: str) -> dict[str, Any]:
    """A `verify:` block with this action, and with its parameters under the platform's name.

    A declared context goes along: the platform passes over it, other servers show it with the job.
    """
    other_fields = {
        name: value for name, value in verify.items() if name not in {"parameters", "params"}
    }
    params = verify.get("params", verify.get("parameters", {}))
    return {**other_fields, "action": action, "params": params}


def list_inputs_refused_as_missing(
    failure: RemoteError, body: Mapping[str, Any]
) -> tuple[str, ...]:
    """What the platform needs of a run, says so in its refusal, and was not sent."""
    refused_names = {path[0] for path in parse_field_errors(failure.detail) if path}
    return tuple(
        name for name in _REQUIRED_INPUTS if name in refused_names and body.get(name) in (None, "")
    )
