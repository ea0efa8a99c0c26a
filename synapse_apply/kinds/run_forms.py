"""Which fields a run has on the platform and on the API page, and which inputs are missing.

A module of its own, so that manifests are checked without importing the descriptors of kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.model.errors import RemoteError
from synapse_apply.model.json_types import RequestBody
from synapse_apply.model.remote import parse_field_errors

# The fields of a run on the platform, and on the API page.
PLATFORM_FORM = ("action", "agent", "params")
PAGE_FORM = ("parameters", "context")
# What the platform requires of a run, besides its parameters.
_REQUIRED_INPUTS = ("action", "agent")
_MAX_LISTED = 10
_MAX_NAME_LENGTH = 80


def list_action_names(config: object) -> tuple[str, ...]:
    """The names of the actions in a config.yaml, or in a release's `config`; () without any."""
    actions = config.get("actions") if isinstance(config, Mapping) else None
    if not isinstance(actions, Mapping):
        return ()
    return tuple(name for name in actions if isinstance(name, str) and name)


def describe_actions(actions: tuple[str, ...]) -> str:
    """The actions as a text for a message: at most ten names, long ones truncated."""
    names = [
        name if len(name) <= _MAX_NAME_LENGTH else f"{name[:_MAX_NAME_LENGTH]}..."
        for name in actions[:_MAX_LISTED]
    ]
    unlisted_count = len(actions) - _MAX_LISTED
    return ", ".join([*names, *([f"and {unlisted_count} more"] if unlisted_count > 0 else [])])


def to_platform_form(verify: Mapping[str, Any], action: str) -> dict[str, Any]:
    """A `verify:` block with this action, its parameters renamed to `params`.

    A declared context stays: the platform ignores it, other servers show it with the job.
    """
    other_fields = {
        name: value for name, value in verify.items() if name not in {"parameters", "params"}
    }
    params = verify.get("params", verify.get("parameters", {}))
    return {**other_fields, "action": action, "params": params}


def list_missing_inputs(failure: RemoteError, body: RequestBody) -> tuple[str, ...]:
    """The required inputs that a refusal of a run names and the body lacks."""
    refused_names = {path[0] for path in parse_field_errors(failure.detail) if path}
    return tuple(
        name for name in _REQUIRED_INPUTS if name in refused_names and body.get(name) in (None, "")
    )
