"""How published packages are fetched and compared, and which versions a rule compares with."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from synapse_apply.kinds.descriptor import ApiBinding
from synapse_apply.live.live_reader import LiveReader
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import ServerObject
from synapse_apply.model.packages import (
    CHANGED,
    FILE_VERBS,
    REPLACES_KEY,
    ChangedFile,
    Replacement,
    version_sort_key,
)
from synapse_apply.model.parallel_reads import open_thread_pool
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import Action, Plan
from synapse_apply.model.resource import Desired, Package, PackageSource
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, Record
from synapse_apply.model.values import Reference
from synapse_apply.planning.package import find_foreign_digest
from synapse_apply.planning.plan_input import PublishedVersions, ResourceState, SeriesKey
from synapse_apply.planning.policy import series_rules
from synapse_apply.workspace.offline_target import OfflineTarget
from synapse_apply.workspace.target_session import TargetSession


@frozen
class PublishedBytes:
    """The digest of a published package, and its files in the form of a record."""

    digest: str
    files: Mapping[str, str]


def read_published(
    session: TargetSession, binding: ApiBinding, raw: ServerObject, name: object
) -> PublishedBytes | None:
    """Fetch and hash the package of a live object; None where the server shows no URL of it.

    `name` is for messages. RemoteError when it cannot be fetched, InputError, with every finding,
    when it is no package, or one that is too large for the project.
    """
    # Here, not above: most plans read no package.
    from synapse_apply.packages.content import gather_zip_files, open_zip
    from synapse_apply.packages.sources import measure_or_raise
    from synapse_apply.packages.upload import large_file_folder

    max_bytes = session.project.max_package_size
    url = binding.extract_file_url(raw) if binding.extract_file_url is not None else ""
    if not url:
        return None
    # On disk and not in memory: a package may have gigabytes.
    with tempfile.TemporaryFile(dir=large_file_folder()) as file:
        session.api.fetch_release_file(url, file, max_bytes)
        file.seek(0)
        package_label = f"the published package of {name}"
        with open_zip(file, package_label) as archive:
            source = PackageSource("file", package_label)
            package = measure_or_raise(gather_zip_files(archive), max_bytes, source)
        return PublishedBytes(package.digest, package.files)


# `version-grows` must know releases that nobody recorded. They are listed only for a new member
# under such a rule, once per plugin; on v2 the list that had no release with its key has them all.
# Where a backend has no such list, the plan says so.
def read_compared_versions(
    session: TargetSession,
    live_reader: LiveReader,
    records: Mapping[Address, Record],
    selected: frozenset[Address] | None,
) -> tuple[PublishedVersions, tuple[Diagnostic, ...]]:
    """Live versions by (prefix, series); and a warning where a backend cannot list them.

    Only series with a new member under such a rule are read, each once.
    """
    rules = series_rules(session.target.policy.rules)
    if not rules:
        return {}, ()
    by_series: dict[SeriesKey, list[Desired]] = defaultdict(list)
    for address, resource in session.desired.items():
        kind, result = session.catalogue[address.kind], live_reader.lookup_results[address]
        is_new = address not in records and result.observed is None and result.problem is None
        if (
            not kind.series_field
            or not is_new
            or (selected is not None and address not in selected)
        ):
            continue
        # An id in the place of the owner's name does not say to which rules it leads.
        is_named = isinstance(resource.spec.get(kind.series_field), Reference)
        if not is_named or any(rule.applies_to(address) for rule in rules):
            series = kind.locate_in_series(resource.spec).series
            by_series[SeriesKey(kind.prefix, series)].append(resource)
    versions: dict[SeriesKey, list[str]] = {}
    unknown: list[Address] = []
    with open_thread_pool(session.parallelism) as pool:
        firsts = [resources[0] for resources in by_series.values()]
        for key, members in zip(
            by_series, pool.map(live_reader.list_series_members, firsts), strict=True
        ):
            if members is None:
                unknown += (resource.address for resource in by_series[key])
            elif members:
                name = session.catalogue[key.kind].version_field
                versions[key] = [str(each.spec[name]) for each in members if name in each.spec]
    if not unknown:
        return versions, ()
    warning = warning_finding(
        "A policy rule sees only recorded releases",
        f"{format_short_list(sorted(unknown))}: this backend does not show which other versions "
        "of the series are live, so the rule misses a higher version that is not recorded "
        f"(policy: {format_short_list(rule.name for rule in rules)}).",
        Text(Command("import ADDRESS ID"), " records a live version."),
    )
    return versions, (warning,)


_MAX_FILES = 200
_MAX_DIFFS = 20
_MAX_LINES = 100
_COMMIT_PATTERN = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

# The sources in which the bytes of a recorded release may be; given is where its successor's are.
IterOriginSources = Callable[[Record, PackageSource], Iterable[PackageSource]]


def with_file_diffs(
    plan: Plan,
    resources: Mapping[Address, ResourceState],
    iter_sources: IterOriginSources,
    declared: OfflineTarget,
) -> Plan:
    """The plan with the files that each new release replaces, in the extras of its change.

    Lines are shown only where the bytes of both sides are available: those of the older side must
    have the recorded digest.
    """
    replacements = _Replacements(resources.values(), iter_sources, declared)
    changes = []
    for change in plan.changes:
        resource = resources.get(change.address)
        replacement = None
        is_upload = change.action is Action.CREATE and "package" in change.extras
        if resource is not None and (is_upload or change.replaces_package):
            replacement = replacements.find(resource)
        if replacement is not None:
            extras = {**change.extras, REPLACES_KEY: replacement.to_json()}
            change = replace(change, extras=extras)  # noqa: PLW2901
        changes.append(change)
    return replace(plan, changes=tuple(changes))


def origin_sources_of(session: TargetSession) -> IterOriginSources:
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


class _Replacements:
    """What the package of a release replaces, compared with its own or the newest older version."""

    def __init__(
        self,
        resources: Iterable[ResourceState],
        iter_sources: IterOriginSources,
        declared: OfflineTarget,
    ) -> None:
        self._iter_sources = iter_sources
        self._declared = declared
        self._records: dict[SeriesKey, list[Record]] = {}
        for resource in resources:
            record = resource.record
            if record is not None and record.series and record.remote_id:
                key = SeriesKey(resource.address.kind, record.series)
                self._records.setdefault(key, []).append(record)

    def find(self, resource: ResourceState) -> Replacement | None:
        """What is replaced; None for what has no package, or for the first of its series."""
        package, (series, version) = resource.package, resource.member
        if package is None or not resource.type.series_field:
            return None
        own_version_key = version_sort_key(version)
        older_records = [
            (version_key, candidate)
            for candidate in self._records.get(series, ())
            if own_version_key is not None
            and (version_key := version_sort_key(candidate.version)) is not None
            and version_key < own_version_key
        ]
        record = resource.record
        if record is None and older_records:
            record = max(older_records, key=lambda pair: pair[0])[1]
        if record is None:
            return None
        # What somebody else published has other files than were recorded.
        is_known = bool(record.files) and find_foreign_digest(resource) is None
        return self._diff(record, package) if is_known else Replacement(record.version)

    def _diff(self, record: Record, package: Package) -> Replacement:
        # Here, not above: a plan without a new release compares no packages.
        from synapse_apply.packages.content import list_changes

        changes = list_changes(record.files, package.files)
        counts = {verb: sum(change.verb == verb for change in changes) for verb in FILE_VERBS}
        shown = changes[:_MAX_FILES]
        text_paths = [change.path for change in shown if change.verb == CHANGED and change.content]
        diffs = self._diff_texts(text_paths[:_MAX_DIFFS], record, package)
        files = tuple(
            diffs.get(change.path, ChangedFile(change.path, change.verb)) for change in shown
        )
        return Replacement(record.version, counts, files)

    def _diff_texts(
        self, paths: list[str], record: Record, package: Package
    ) -> dict[str, ChangedFile]:
        """Text differences of the files whose bytes are available on both sides."""
        from synapse_apply.packages.text_diff import diff_texts

        new = self._read(package.source, paths, package.files) if paths else {}
        old: dict[str, bytes] = {}
        for source in self._iter_sources(record, package.source) if new else ():
            missing_paths = [path for path in new if path not in old]
            if not missing_paths:
                break
            old.update(self._read(source, missing_paths, record.files))
        changed_files, remaining_lines = {}, _MAX_LINES
        for path in paths:
            if path in old and path in new:
                diff = diff_texts(path, old[path], new[path], remaining_lines)
                remaining_lines -= len(diff.lines)
                changed_files[path] = ChangedFile(path, CHANGED, diff.lines, diff.note)
        return changed_files

    # Of the commit that the audit names, then of the one at hand, the bytes of a file are used
    # where their SHA-256 is the recorded one, so that no wrong base is ever shown. Bounds keep
    # difflib, which is quadratic, brief.
    def _read(
        self, source: PackageSource, paths: Iterable[str], digests: Mapping[str, str]
    ) -> dict[str, bytes]:
        """Bytes of the files with these digests; nothing where the source cannot be read."""
        from synapse_apply.files.tree import UnreadableError
        from synapse_apply.model.packages import EXECUTABLE_SUFFIX
        from synapse_apply.packages.sources import SourceFiles
        from synapse_apply.packages.text_diff import MAX_DIFF_SIZE

        contents: dict[str, bytes] = {}
        root, allow_files = self._declared.project.root, self._declared.target.allow_files
        with (
            suppress(InputError, UnreadableError, OSError),
            SourceFiles(source, root, allow_files).open() as opened_source,
        ):
            entries = {entry.path: entry for entry in opened_source.entries}
            for path in paths:
                entry = entries.get(path)
                if entry is None or entry.size > MAX_DIFF_SIZE:
                    continue
                data = b"".join(entry.blocks())
                digest = digests[path].removesuffix(EXECUTABLE_SUFFIX)
                if hashlib.sha256(data).hexdigest() == digest:
                    contents[path] = data
        return contents
