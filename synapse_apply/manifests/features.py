"""Fields the format has from the start and this version does not carry out yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.manifests.wording import dotted
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error

_KNOWN_POLICY = frozenset(("unreleased_source", "rules"))


def unsupported_in_project(
    value: Mapping[str, Any], positions: Mapping[Path, Position]
) -> Iterator[Diagnostic]:
    """The settings of a project file that this version cannot honour."""
    yield from _policy(value, (), positions)
    targets = value.get("targets")
    for name, target in targets.items() if isinstance(targets, Mapping) else ():
        if isinstance(target, Mapping):
            at: Path = ("targets", name)
            yield from _policy(target, at, positions)


def _policy(
    value: Mapping[str, Any], at: Path, positions: Mapping[Path, Position]
) -> Iterator[Diagnostic]:
    policy = value.get("policy")
    for key in policy if isinstance(policy, Mapping) else ():
        if key not in _KNOWN_POLICY:
            yield _not_yet((*at, "policy", key), positions)


def _not_yet(path: Path, positions: Mapping[Path, Position], what: str = "") -> Diagnostic:
    return error(
        "Not supported by this version",
        f"{what or f'`{dotted(path)}`'} is not supported by this version",
        f"remove `{dotted(path)}`, or use a newer synapse-apply",
        position=positions.get(path),
        path=path,
    )
