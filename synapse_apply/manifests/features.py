"""Fields the format has from the start and this version does not carry out yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.manifests.wording import dotted
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error
from synapse_apply.model.values import ABSENT, dig

# By schema: where a field may stand.
_NOT_YET: dict[str, tuple[Path, ...]] = {
    "plugin": (("spec", "retain"),),
    "release": (("spec", "locked"),),
}
_KNOWN_POLICY = frozenset(("unreleased_source", "rules"))


def unsupported(
    schema: str, value: Mapping[str, Any], positions: Mapping[Path, Position]
) -> Iterator[Diagnostic]:
    """The fields of a manifest that this version cannot honour."""
    for path in _NOT_YET.get(schema, ()):
        if dig(value, path) is not ABSENT:
            yield _not_yet(path, positions)


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
            yield from _target(target, at, positions)


def _target(
    target: Mapping[str, Any], at: Path, positions: Mapping[Path, Position]
) -> Iterator[Diagnostic]:
    api = target.get("api")
    if api == "v2":
        yield _not_yet((*at, "api"), positions, "api v2")
    elif isinstance(api, Mapping):
        for kind in (kind for kind, version in api.items() if version == "v2"):
            yield _not_yet((*at, "api", kind), positions, "api v2")
    if target.get("on_drift") == "hold":
        yield _not_yet((*at, "on_drift"), positions, "on_drift: hold")


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
