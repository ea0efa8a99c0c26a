"""Whether two targets of a project would share one state, or one file of a state key.

Each would take the objects of the other for its own, and a plan would remove them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Mapping

from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.project import Project, Target
from synapse_apply.model.values import SecretRef


def iter_findings_of_targets_sharing_state_or_key(
    project: Project, environ: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """An error for each target whose state, or file of a state key, is another target's too.

    A url in a variable that is not set, and one that cannot be used, is compared with none.
    """
    targets = project.targets.values()
    if not any(target.state.url or target.state.key_file for target in targets):
        return

    def get_location_or_none(target: Target) -> Hashable:
        return _find_state_location_or_none(project, target, environ)

    def get_key_file_path(target: Target) -> Hashable:
        path = target.state.key_file or f".synapse-apply/state/{target.name}.key"
        return os.path.realpath(project.root / path)

    for first, second in _iter_first_and_later_target_at_same_place(project, get_location_or_none):
        yield error_finding(
            "Two targets have one state",
            f"Target {second.name} keeps its state where target {first.name}"
            f"{_format_position_or_empty(first)} keeps its own. "
            "Each would take the objects of the other for its own.",
            f"Give targets.{second.name}.state.url a place of its own.",
            position=second.position,
        )
    # Without a file of somebody's choice each has one by its own name.
    has_key_file = any(target.state.key_file for target in targets)
    for first, second in (
        _iter_first_and_later_target_at_same_place(project, get_key_file_path)
        if has_key_file
        else ()
    ):
        yield error_finding(
            "Two targets have one file of a state key",
            f"Target {second.name} has its state key in the file of target {first.name}"
            f"{_format_position_or_empty(first)}: whenever one of them gets another key, the other "
            "is shut out of its state.",
            f"Name another file in targets.{second.name}.state.key.",
            position=second.position,
        )


def _iter_first_and_later_target_at_same_place(
    project: Project, get_place_or_none: Callable[[Target], Hashable]
) -> Iterator[tuple[Target, Target]]:
    """Each target whose place an earlier one has, behind that one; a place of None is nobody's."""
    first_targets: dict[Hashable, Target] = {}
    for target in project.targets.values():
        comparable_place = get_place_or_none(target)
        if comparable_place is None:
            continue
        first = first_targets.setdefault(comparable_place, target)
        if first is not target:
            yield first, target


def _find_state_location_or_none(
    project: Project, target: Target, environ: Mapping[str, str]
) -> Hashable:
    from synapse_apply.stores.state_urls import (
        build_comparable_location_of_shared_url,
        is_local_or_empty_url,
    )

    url = target.state.url
    if isinstance(url, SecretRef):
        url = environ.get(url.name, "")
        if not url:
            return None
    if is_local_or_empty_url(url):
        path = url.removeprefix("sqlite:///").removeprefix("file://")
        return os.path.realpath(project.root / (path or f".synapse-apply/state/{target.name}.db"))
    try:
        return build_comparable_location_of_shared_url(url, target.name)
    except (InputError, ValueError):
        return None


def _format_position_or_empty(target: Target) -> str:
    """Where a target is declared, to be put behind its name; "" for one that is not."""
    return f" ({target.position})" if target.position is not None else ""
