"""What the packages of new releases replace: files that differ from the newest recorded version."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.model.address import Address
from synapse_apply.model.desired import Package, PackageSource
from synapse_apply.model.errors import InputError
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.replacement import CHANGED, REPLACES, VERBS, ChangedFile, Replacement
from synapse_apply.model.state import CREATE_VERB, Record
from synapse_apply.model.versions import order
from synapse_apply.planning.situation import Item

if TYPE_CHECKING:
    # Offline plans come here, too, and load no client.
    from synapse_apply.session.context import Context

_MOST_FILES = 200
_MOST_DIFFS = 20
_MOST_LINES = 100
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

# The sources in which the bytes of a recorded release may be; given is where its successor's are.
Origins = Callable[[Record, PackageSource], Iterable[PackageSource]]


def with_replacements(
    plan: Plan,
    items: Mapping[Address, Item],
    origins: Origins,
    root: Path,
    allow_files: tuple[str, ...] = (),
) -> Plan:
    """The plan with what each new release of a package replaces, in the extras of its change.

    A line of a file is shown only where both sides are at hand: the bytes of the older one are
    those whose digest is recorded, or they are not used.
    """
    recorded = _group_records(items.values())
    changes = []
    for change in plan.changes:
        item = items.get(change.address)
        replacement = None
        if item is not None and change.action is Action.CREATE and change.extras.get("package"):
            replacement = _replacement(item, recorded, origins, root, allow_files)
        changes.append(change if replacement is None else _with_replacement(change, replacement))
    return replace(plan, changes=tuple(changes))


def origins_of(context: Context) -> Origins:
    """The commit that a release was published from, as the audit has it, and the one at hand."""
    commits: dict[tuple[str, str], str] = {}

    def origins(record: Record, source: PackageSource) -> Iterable[PackageSource]:
        if not commits:
            for entry in context.store.audit():
                if entry.verb == CREATE_VERB and entry.commit:
                    commits.setdefault((entry.address, entry.digest), entry.commit)
        published = commits.get((str(record.address), record.digest or ""), "")
        for commit in dict.fromkeys((published, context.actor.commit)):
            found = _COMMIT.match(commit)
            if found and source.kind in {"folder", "git"}:
                yield replace(source, kind="git", ref=found[0], position=None)

    return origins


def _with_replacement(change: Change, replacement: Replacement) -> Change:
    return replace(change, extras={**change.extras, REPLACES: replacement.to_json()})


def _group_records(items: Iterable[Item]) -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for item in items:
        record = item.record
        if record is not None and record.series and record.remote_id:
            found.setdefault((item.address.kind, record.series), []).append(record)
    return found


def _replacement(
    item: Item,
    recorded: Mapping[tuple[str, str], list[Record]],
    origins: Origins,
    root: Path,
    allow_files: tuple[str, ...],
) -> Replacement | None:
    package = item.desired.package if item.desired is not None else None
    if item.desired is None or package is None or not item.type.series:
        return None
    series, version = item.type.place_in_series(item.desired.spec)
    mine = order(version)
    siblings = recorded.get((item.address.kind, series), ())
    older = [
        (at, one)
        for one in siblings
        if mine is not None and (at := order(one.version)) is not None and at < mine
    ]
    if not older:
        return None
    record = max(older, key=lambda pair: pair[0])[1]
    if not record.files:
        return Replacement(record.version)
    return _compare_packages(record, package, origins, root, allow_files)


def _compare_packages(
    record: Record, package: Package, origins: Origins, root: Path, allow_files: tuple[str, ...]
) -> Replacement:
    # Here, not above: a plan without a new release compares no packages.
    from synapse_apply.packages.changes import file_changes

    found = file_changes(record.files, package.files)
    counts = {verb: sum(one.verb == verb for one in found) for verb in VERBS}
    listed = [ChangedFile(one.path, one.verb) for one in found[:_MOST_FILES]]
    texts = [one.path for one in found[:_MOST_FILES] if one.verb == CHANGED and one.content]
    diffs = _diffs(texts[:_MOST_DIFFS], record, package, origins, root, allow_files)
    files = tuple(diffs.get(one.path, one) for one in listed)
    return Replacement(record.version, counts, files)


def _diffs(
    paths: list[str],
    record: Record,
    package: Package,
    origins: Origins,
    root: Path,
    allow_files: tuple[str, ...],
) -> dict[str, ChangedFile]:
    """The files whose bytes are at hand on both sides, with how they differ."""
    from synapse_apply.packages.text_diff import diff_of

    after = _bytes_of(package.source, paths, package.files, root, allow_files) if paths else {}
    before: dict[str, bytes] = {}
    for source in origins(record, package.source) if after else ():
        missing = [path for path in after if path not in before]
        if not missing:
            break
        before.update(_bytes_of(source, missing, record.files, root, allow_files))
    found, left = {}, _MOST_LINES
    for path in paths:
        if path in before and path in after:
            diff = diff_of(path, before[path], after[path], left)
            left -= len(diff.lines)
            found[path] = ChangedFile(path, CHANGED, diff.lines, diff.note)
    return found


def _bytes_of(
    source: PackageSource,
    paths: Iterable[str],
    digests: Mapping[str, str],
    root: Path,
    allow_files: tuple[str, ...],
) -> dict[str, bytes]:
    """The files of a source that are what `digests` say; none where it cannot be read."""
    from synapse_apply.packages.content import EXECUTABLE, UnreadableError
    from synapse_apply.packages.sources import opened
    from synapse_apply.packages.text_diff import LARGEST

    found: dict[str, bytes] = {}
    with suppress(InputError, UnreadableError, OSError), opened(source, root, allow_files) as held:
        entries = {entry.path: entry for entry in held.entries}
        for path in paths:
            entry = entries.get(path)
            if entry is None or entry.size > LARGEST:
                continue
            data = b"".join(entry.blocks())
            if hashlib.sha256(data).hexdigest() == digests[path].removesuffix(EXECUTABLE):
                found[path] = data
    return found
