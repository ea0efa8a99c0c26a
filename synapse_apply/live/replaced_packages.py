"""Which files an uploaded package changes, compared with its own or the newest older version."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError
from synapse_apply.model.packages.replacement import (
    CHANGED,
    FILE_VERBS,
    REPLACES_KEY,
    ChangedFile,
    Replacement,
)
from synapse_apply.model.packages.versions import get_version_sort_key_or_none
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.resource import Package, PackageSource
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, Record
from synapse_apply.planning.plan_input import ResourceState, SeriesKey

if TYPE_CHECKING:
    # Offline plans come here, too, and load no client.
    from synapse_apply.workspace.target_session import TargetSession

_MAX_FILES = 200
_MAX_DIFFS = 20
_MAX_LINES = 100
_COMMIT_PATTERN = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

# The sources in which the bytes of a recorded release may be; given is where its successor's are.
IterOriginSources = Callable[[Record, PackageSource], Iterable[PackageSource]]


def with_file_diffs_to_replaced_versions(
    plan: Plan,
    resources: Mapping[Address, ResourceState],
    iter_sources: IterOriginSources,
    root: Path,
    allow_files: tuple[str, ...] = (),
) -> Plan:
    """The plan with the files that each new release replaces, in the extras of its change.

    Lines are shown only where the bytes of both sides are available: those of the older side must
    have the recorded digest.
    """
    records_by_series = _group_records_by_series(resources.values())
    changes = []
    for change in plan.changes:
        resource = resources.get(change.address)
        replacement = None
        is_upload = change.action is Action.CREATE and "package" in change.extras
        if resource is not None and (is_upload or change.replaces_package):
            replacement = _find_replacement_of_own_or_newest_older_version(
                resource, records_by_series, iter_sources, root, allow_files
            )
        changes.append(change if replacement is None else _with_replacement(change, replacement))
    return replace(plan, changes=tuple(changes))


def make_iterator_of_origin_sources(session: TargetSession) -> IterOriginSources:
    """Finds the sources of a release at the commit it was published from, or at the current one."""
    commit_by_release: dict[tuple[str, str], str] = {}

    def iter_commit_sources(record: Record, source: PackageSource) -> Iterable[PackageSource]:
        if not commit_by_release:
            for entry in session.store.list_audit_entries_newest_first():
                if entry.verb in {CREATE_VERB, REPLACE_VERB} and entry.commit:
                    commit_by_release.setdefault((entry.address, entry.digest), entry.commit)
        published_commit = commit_by_release.get((str(record.address), record.digest or ""), "")
        for commit in dict.fromkeys((published_commit, session.actor.commit)):
            match = _COMMIT_PATTERN.match(commit)
            if match and source.kind in {"folder", "git"}:
                yield replace(source, kind="git", ref=match[0], position=None)

    return iter_commit_sources


def _with_replacement(change: Change, replacement: Replacement) -> Change:
    return replace(change, extras={**change.extras, REPLACES_KEY: replacement.to_json()})


def _group_records_by_series(
    resources: Iterable[ResourceState],
) -> dict[SeriesKey, list[Record]]:
    groups: dict[SeriesKey, list[Record]] = {}
    for resource in resources:
        record = resource.record
        if record is not None and record.series and record.remote_id:
            groups.setdefault(SeriesKey(resource.address.kind, record.series), []).append(record)
    return groups


def _find_replacement_of_own_or_newest_older_version(
    resource: ResourceState,
    records_by_series: Mapping[SeriesKey, list[Record]],
    iter_sources: IterOriginSources,
    root: Path,
    allow_files: tuple[str, ...],
) -> Replacement | None:
    package = resource.desired.package if resource.desired is not None else None
    if resource.desired is None or package is None or not resource.type.series_field:
        return None
    series, version = resource.type.locate_in_series_or_empty(resource.desired.spec)
    own_version_key = get_version_sort_key_or_none(version)
    series_records = records_by_series.get(SeriesKey(resource.address.kind, series), ())
    older_records = [
        (version_key, candidate)
        for candidate in series_records
        if own_version_key is not None
        and (version_key := get_version_sort_key_or_none(candidate.version)) is not None
        and version_key < own_version_key
    ]
    record = resource.record
    if record is None and older_records:
        record = max(older_records, key=lambda pair: pair[0])[1]
    if record is None:
        return None
    if not record.files:
        return Replacement(record.version)
    return _diff_with_recorded_package(record, package, iter_sources, root, allow_files)


def _diff_with_recorded_package(
    record: Record,
    package: Package,
    iter_sources: IterOriginSources,
    root: Path,
    allow_files: tuple[str, ...],
) -> Replacement:
    # Here, not above: a plan without a new release compares no packages.
    from synapse_apply.packages.diff import list_file_changes_sorted_by_path

    changes = list_file_changes_sorted_by_path(record.files, package.files)
    counts = {verb: sum(change.verb == verb for change in changes) for verb in FILE_VERBS}
    changed_files = [ChangedFile(change.path, change.verb) for change in changes[:_MAX_FILES]]
    text_paths = [
        change.path for change in changes[:_MAX_FILES] if change.verb == CHANGED and change.content
    ]
    diffs = _diff_texts_available_on_both_sides(
        text_paths[:_MAX_DIFFS], record, package, iter_sources, root, allow_files
    )
    files = tuple(diffs.get(change.path, change) for change in changed_files)
    return Replacement(record.version, counts, files)


def _diff_texts_available_on_both_sides(
    paths: list[str],
    record: Record,
    package: Package,
    iter_sources: IterOriginSources,
    root: Path,
    allow_files: tuple[str, ...],
) -> dict[str, ChangedFile]:
    """Text differences of the files whose bytes are available on both sides."""
    from synapse_apply.packages.text_diff import build_limited_diff_hiding_secrets

    new_bytes = (
        _read_available_files_with_these_digests(
            package.source, paths, package.files, root, allow_files
        )
        if paths
        else {}
    )
    old_bytes: dict[str, bytes] = {}
    for source in iter_sources(record, package.source) if new_bytes else ():
        missing_paths = [path for path in new_bytes if path not in old_bytes]
        if not missing_paths:
            break
        old_bytes.update(
            _read_available_files_with_these_digests(
                source, missing_paths, record.files, root, allow_files
            )
        )
    changed_files, remaining_lines = {}, _MAX_LINES
    for path in paths:
        if path in old_bytes and path in new_bytes:
            diff = build_limited_diff_hiding_secrets(
                path, old_bytes[path], new_bytes[path], remaining_lines
            )
            remaining_lines -= len(diff.lines)
            changed_files[path] = ChangedFile(path, CHANGED, diff.lines, diff.note)
    return changed_files


# Of the commit that the audit names, then of the one at hand, the bytes of a file are used where
# their SHA-256 is the recorded one, so that no wrong base is ever shown. Bounds keep difflib, which
# is quadratic, brief.
def _read_available_files_with_these_digests(
    source: PackageSource,
    paths: Iterable[str],
    digest_by_path: Mapping[str, str],
    root: Path,
    allow_files: tuple[str, ...],
) -> dict[str, bytes]:
    """Bytes of the files with these digests; nothing where the source cannot be read."""
    from synapse_apply.model.packages.digest import EXECUTABLE_SUFFIX
    from synapse_apply.packages.content import UnreadableError
    from synapse_apply.packages.source.open_source import open_and_gather_source_files
    from synapse_apply.packages.text_diff import MAX_DIFF_SIZE

    contents: dict[str, bytes] = {}
    with (
        suppress(InputError, UnreadableError, OSError),
        open_and_gather_source_files(source, root, allow_files) as opened_source,
    ):
        entries = {entry.path: entry for entry in opened_source.entries}
        for path in paths:
            entry = entries.get(path)
            if entry is None or entry.size > MAX_DIFF_SIZE:
                continue
            data = b"".join(entry.blocks())
            if hashlib.sha256(data).hexdigest() == digest_by_path[path].removesuffix(
                EXECUTABLE_SUFFIX
            ):
                contents[path] = data
    return contents
