"""Which settings of the project file's format this version does not support."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, error_finding
from synapse_apply.model.phrases import format_field_path

_SUPPORTED_POLICY_KEYS = frozenset(("unreleased_source", "rules"))


def iter_unsupported_policy_setting_errors(
    value: Mapping[str, Any], positions: Mapping[FieldPath, Position]
) -> Iterator[Diagnostic]:
    """An error for each setting of a project file that this version does not support."""
    yield from _iter_unsupported_policy_keys(value, (), positions)
    targets = value.get("targets")
    for name, target in targets.items() if isinstance(targets, Mapping) else ():
        if isinstance(target, Mapping):
            target_path: FieldPath = ("targets", name)
            yield from _iter_unsupported_policy_keys(target, target_path, positions)


def _iter_unsupported_policy_keys(
    value: Mapping[str, Any], owner_path: FieldPath, positions: Mapping[FieldPath, Position]
) -> Iterator[Diagnostic]:
    policy = value.get("policy")
    for key in policy if isinstance(policy, Mapping) else ():
        if key not in _SUPPORTED_POLICY_KEYS:
            yield _build_unsupported_finding((*owner_path, "policy", key), positions)


def _build_unsupported_finding(
    path: FieldPath, positions: Mapping[FieldPath, Position], subject: str = ""
) -> Diagnostic:
    return error_finding(
        "Not supported by this version",
        f"{subject or f'`{format_field_path(path)}`'} is not supported by this version",
        f"remove `{format_field_path(path)}`, or use a newer synapse-apply",
        position=positions.get(path),
        path=path,
    )
