"""Where each live value of an object comes from: commit, call and apply, or a change outside.

What was done outside has no name here: nobody can tell who it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum
from functools import cache, cached_property
from typing import Any

from synapse_apply.files.commits import Line, read_author, read_lines
from synapse_apply.files.repository import Repository, find_trusted_repository
from synapse_apply.kinds.compare import is_same_value
from synapse_apply.model import values
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, format_json_pointer
from synapse_apply.model.errors import InputError, StateError, SynapseApplyError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.phrases import suggest_name
from synapse_apply.model.plan import CONCURRENT_RUN_SUMMARY, Action, Plan
from synapse_apply.model.resource import Desired, shorten_git_ref
from synapse_apply.model.state import ACCEPTED, DIRTY_SUFFIX, FOUND, AuditEntry, Record
from synapse_apply.operations.resource_sides import ResourceSides, read_sides
from synapse_apply.planning.diff import UNTOLD, explain_given_up
from synapse_apply.planning.plan_input import ResourceState
from synapse_apply.views.grammar import format_server_time, shorten_commit_and_suffix
from synapse_apply.views.text.findings import format_quoted_path
from synapse_apply.workspace import configuration
from synapse_apply.workspace.configuration import PackageSources
from synapse_apply.workspace.target_session import PlanResult, TargetSession

_ALL = 2**31
# Of a plan: each costs some calls of Git.
_MAX_BLAMED_FIELDS, _MAX_BLAMED_ENTRIES, _BLAME_SECONDS = 60, 10_000, 10.0
_WEEK = timedelta(days=7)
_APPROVED_BY = ", approved by "
# A variable, or an alias of YAML: the value is in another line.
# What a manifest declares in the place of a value.
_INDIRECT = (values.SecretRef, values.DesiredSecret, values.Reference)
_FROM_ELSEWHERE = re.compile(r"\$\{|[:-] +\*\w")


class ValueOrigin(Enum):
    """What is known of a live value: a call of ours sent it, or nobody can tell more."""

    SENT = "sent"
    EQUAL = "equal"
    ACCEPTED = "accepted"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"


@frozen
class FieldBlame:
    """Where the live value of a field comes from; ABSENT is one that is gone.

    `call` is the audit entry of the call that sent it, or of the `state accept`. `commit` is what
    that apply was at, `file` and `line` declare the field there, and `changed_by` is the commit of
    `author` that last changed them; "" where Git cannot tell. `after` and `before` are the times
    between which it was changed outside, "" where one is not known, and `times` how often it was
    put back in the week before that.
    """

    path: FieldPath
    live: Any
    origin: ValueOrigin
    note: str = ""
    call: AuditEntry | None = None
    commit: str = ""
    file: str = ""
    line: int = 0
    changed_by: str = ""
    author: str = ""
    after: str = ""
    before: str = ""
    times: int = 0

    @property
    def name(self) -> str:
        return format_quoted_path(self.path)

    @property
    def people(self) -> tuple[str, str]:
        """Who ran the command of the call, and who approved rows of it; "" for nobody."""
        who, _, approved_by = (self.call.who if self.call else "").partition(_APPROVED_BY)
        return who, approved_by

    @property
    def sentence(self) -> str:
        """All of it in one sentence, without the value."""
        since = f"between {format_server_time(self.after)} and" if self.after else "before"
        changed = f"changed outside {since} {format_server_time(self.before)}"
        call, (who, approved_by) = self.call, self.people
        if self.origin is ValueOrigin.OUTSIDE:
            often = "once" if self.times == 1 else f"{self.times} times"
            return f"{changed}; restored {often} this week" if self.times else changed
        if self.origin is ValueOrigin.UNKNOWN:
            return f"not known: {self.note}"
        if call is None or self.origin is ValueOrigin.EQUAL:
            return self.note
        at = format_server_time(call.at)
        if self.origin is ValueOrigin.ACCEPTED:
            return f"{changed}, accepted {at} by {who}"
        place = f" ({self.file}:{self.line})" if self.file else ""
        parts = []
        if self.changed_by:
            parts.append(f"declared by commit {self.changed_by[:12]} of {self.author}{place}")
        elif self.commit:
            parts.append(f"applied at commit {shorten_commit_and_suffix(self.commit)}{place}")
        request = f" (request {call.request_id})" if call.request_id else ""
        approved = f", approved by {approved_by}" if approved_by else ""
        apply = f"{call.verb} of {call.command or 'apply'} {call.plan_id} by {who}{approved}"
        parts.append(f"sent {at} by call {call.call}{request}, {apply}")
        if self.before:
            often = f", {_ordinal(self.times)} time this week" if self.times > 1 else ""
            parts.append(f"{changed}, restored {at}{often}")
        return "; ".join(filter(None, (*parts, self.note)))


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


@frozen
class Blame:
    """An object and where each of its fields comes from; findings say what was not read."""

    address: Address
    remote_id: str
    fields: tuple[FieldBlame, ...]
    findings: tuple[Diagnostic, ...] = ()


def blame(session: TargetSession, name: str, field: str = "") -> Blame:
    """As `OpenTarget.blame`."""
    plan_result, sides = read_sides(session, name)
    resource, record = sides.resource, sides.resource.record
    address = resource.address
    if resource.observed is None:
        if sides.is_live_unread:
            raise StateError(*sides.findings)
        raise StateError.from_summary(
            "There is no live object", f"{address} is not found on the backend."
        )
    paths = {*resource.live_fields, *(record.applied.keys() & record.seen.keys() if record else ())}
    names = {path: format_quoted_path(path) for path in sorted(paths, key=lambda p: [*map(str, p)])}
    chosen = [
        path
        for path, name in names.items()
        if not field
        or f"{name}.".startswith(f"{field}.")
        or f"{format_json_pointer(path)}/".startswith(f"{field}/")
    ]
    if not chosen and field:
        hint = suggest_name(field, [*names.values()], "Omit the field to see all fields.")
        raise InputError.from_summary("There is no such field", f"{address} has no {field}.", hint)
    history = _History(_Past(session, _ALL), plan_result, resource)
    fields = tuple(map(history.blame_field, chosen))
    return Blame(address, resource.observed.remote_id, fields, sides.findings)


def blame_changes(session: TargetSession, plan_result: PlanResult, plan: Plan) -> Plan:
    """The plan, with where the live values come from that it would change or that differ.

    Of its first fields, as long as Git answers soon; `plan` is that of the result, or nearly so.
    """
    past, left = _Past(session, _MAX_BLAMED_ENTRIES), _MAX_BLAMED_FIELDS
    until = session.clock.monotonic_seconds() + _BLAME_SECONDS
    changes = []
    for change in plan.changes:
        told = []
        paths = [one.path for one in (*change.fields, *change.held)]
        if change.action in {Action.UPDATE, Action.NO_OP} and paths and left:
            sides = ResourceSides.from_plan_result(plan_result, change.address)
            history = _History(past, plan_result, sides.resource)
            for path in paths[:left] if sides.resource.observed is not None else ():
                if session.clock.monotonic_seconds() > until:
                    left = 0
                    break
                found = history.blame_field(path)
                told.append((found.name, found.sentence))
            left = max(0, left - len(told))
        changes.append(replace(change, blame=tuple(told)) if told else change)
    return replace(plan, changes=tuple(changes))


class _History:
    """What the state remembers of one object."""

    def __init__(self, past: _Past, plan_result: PlanResult, resource: ResourceState) -> None:
        self._past, self._resource = past, resource
        self._record = resource.record or Record(resource.address, "", "")
        own = (resource.address.kind, self._record.remote_id)
        self._put_back = [
            one for one in past.put_back if (one.address.partition("/")[0], one.remote_id) == own
        ]
        self._other_run = any(
            one.summary == CONCURRENT_RUN_SUMMARY for one in plan_result.plan.diagnostics
        )
        self._open_calls = [
            one.intent
            for one in plan_result.resolved_intents
            if one.intent.address == resource.address and one.is_open
        ]

    def blame_field(self, path: FieldPath) -> FieldBlame:
        """Where the live value of one field comes from."""
        record, rule = self._record, self._resource.rule(path)
        live, seen, applied = (
            side.get(path, values.ABSENT)
            for side in (self._resource.live_fields, record.seen, record.applied)
        )
        origin = record.origin(path)
        entry = self._past.entries.get(origin.removeprefix(FOUND))
        found = FieldBlame(path, live, ValueOrigin.UNKNOWN, call=entry)
        unknown = replace(found, call=None)
        is_untold = isinstance(applied, values.Mac) and applied.digest == values.Mac.UNSEEN
        if isinstance(live, values.WithheldSecret) or (
            live is values.ABSENT and isinstance(applied, values.Mac)
        ):
            sent = f", last sent by call {entry.call}" if entry and entry.call else ""
            if is_untold:
                sent = ", and a call of unknown outcome may have set it"
            return replace(unknown, note=f"the backend does not show it{sent}")
        is_unseen = seen is applied is values.ABSENT
        if is_untold:
            is_unseen = not isinstance(seen, values.Mac)
            # With nothing that was seen to compare it with, only what the calls sent may tell.
            is_compared = not (is_unseen or values.of_two_keys(live, seen))
            if not is_compared and (blamed := self._blame_call(unknown)):
                return blamed
        if is_unseen:
            return replace(unknown, note="the state does not record it")
        if values.of_two_keys(live, seen):
            return replace(unknown, note="recorded under another state key")
        if not is_same_value(live, seen, rule.compare):
            outside = replace(unknown, origin=ValueOrigin.OUTSIDE)
            return self._blame_call(unknown) or self._with_times(
                outside, origin, self._past.session.clock.utc_now()
            )
        if origin.startswith(FOUND):
            plan = f" of apply {entry.plan_id}" if entry else ""
            note = f"equals what call {origin.removeprefix(FOUND)}{plan} sent; {UNTOLD}"
            return replace(unknown, origin=ValueOrigin.EQUAL, note=note)
        if entry is None:
            return replace(unknown, note="no entry of the state's history has it")
        if origin.startswith(ACCEPTED):
            return replace(found, origin=ValueOrigin.ACCEPTED, before=entry.at)
        if applied is values.ABSENT:
            return replace(unknown, note=f"no call sent it; it was there after call {entry.call}")
        found = self._with_commit(replace(found, origin=ValueOrigin.SENT), entry)
        if not (is_untold or is_same_value(applied, live, rule.compare)):
            found = replace(found, note="the backend returned a different value than the one sent")
        if path in entry.put_back:
            return self._with_times(found, entry.put_back[path], entry.at)
        return found

    def _blame_call(self, unknown: FieldBlame) -> FieldBlame | None:
        """A value that is not as it was seen, where a call has or may have set it; else None."""
        path = unknown.path
        for call in self._open_calls:
            if any(path in side for side in (call.fields, call.before, call.beside)):
                return replace(unknown, note=f"call {call.id} of it is open")
        if self._other_run:
            return replace(unknown, note="another run is changing this target")
        if note := explain_given_up(self._resource, path):
            is_equal = note.startswith(("equals", "set by"))
            kind = ValueOrigin.EQUAL if is_equal else ValueOrigin.UNKNOWN
            return replace(unknown, origin=kind, note=note)
        return None

    def _with_times(self, found: FieldBlame, origin: str, before: str) -> FieldBlame:
        """With the times between which it was changed outside, and how often it was put back."""
        entry = self._past.entries.get(origin.removeprefix(FOUND))
        since = datetime.fromisoformat(before) - _WEEK
        times = sum(
            found.path in one.put_back
            and since <= datetime.fromisoformat(one.at)
            and one.at <= before
            for one in self._put_back
        )
        return replace(found, after=entry.at if entry else "", before=before, times=times)

    def _with_commit(self, found: FieldBlame, entry: AuditEntry) -> FieldBlame:
        """With where the commit of a call declares a field, and which commit changed that last."""
        commit, path = entry.commit.removesuffix(DIRTY_SUFFIX), ("spec", *found.path)
        found = replace(found, commit=entry.commit)
        desired = self._past.desired(commit).get(Address.parse(entry.address)) if commit else None
        position = desired.positions.get(path) if desired else None
        prefix = f"{shorten_git_ref(commit)}:"
        # What is not of the commit, such as an overlay, is of the project file as it is now.
        if position is None or desired is None or not position.file.startswith(prefix):
            return found
        # An overlay of then may be gone from the project file, or a changed file be in no list.
        sent = self._record.applied.get(found.path)
        declared = values.get_at_or_absent(desired.spec, found.path)
        if isinstance(declared, values.SecretRef):
            place = self._past.session.resolver.find_place(declared)
            if not (place and isinstance(sent, values.Mac) and sent.place == place):
                return found
        is_plain = not (isinstance(sent, values.Mac) or values.holds_secret(declared, _INDIRECT))
        if is_plain and not is_same_value(declared, sent, self._resource.rule(found.path).compare):
            return found
        file = position.file.removeprefix(prefix)
        found = replace(found, file=file, line=position.line)
        own = list(_lines_of_field(self._past.lines(commit, file), position))
        # A value may come from elsewhere, and a line may hold several.
        beside = (at for at, one in desired.positions.items() if one.line == position.line)
        is_shared = any(path[: len(at)] != at for at in beside)
        is_elsewhere = any(_FROM_ELSEWHERE.search(line.text) for line in own)
        is_told = bool(own) and all(line.commit for line in own)
        repository = self._past.repository
        if file in entry.dirty or not is_told or is_shared or is_elsewhere or not repository:
            return found
        newest = max(own, key=lambda line: line.committed_at).commit
        return replace(found, changed_by=newest, author=read_author(repository, newest))


class _Past:
    """The audit of a state, and the commits of the manifests; each commit is read once."""

    def __init__(self, session: TargetSession, limit: int) -> None:
        """Of the audit the newest `limit` entries."""
        self.session = session
        entries = session.store.list_audit_entries_newest_first(limit)
        self.entries = {f"{ACCEPTED}{one.plan_id}": one for one in entries if one.verb == "accept"}
        self.entries |= {one.call: one for one in reversed(entries) if one.call}
        self.put_back = [one for one in entries if one.put_back]
        self.lines, self.desired = cache(self._read_lines), cache(self._read_desired)

    @cached_property
    def repository(self) -> Repository | None:
        with suppress(InputError):
            return find_trusted_repository(self.session.project.root)
        return None

    def _read_lines(self, commit: str, file: str) -> list[Line]:
        path = self.session.project.root / file
        return read_lines(self.repository, path, commit) if self.repository else []

    def _read_desired(self, commit: str) -> Mapping[Address, Desired]:
        """The manifests of a commit, none where it or the project file is not to be read."""
        session, where = self.session, self.session.invocation
        packages = PackageSources(session.project, where.environ, commit)
        with (
            suppress(SynapseApplyError),
            configuration.open_committed_folder(session.project, commit) as folder,
        ):
            return configuration.load_target_manifests(
                where,
                session.project,
                session.target,
                package_config=packages.build_config_reader(session.target),
                committed_folder=folder,
            ).desired
        return {}


def _lines_of_field(lines: list[Line], position: Position) -> Iterator[Line]:
    """The line of a field's key, and those below that are further right, or items of its list."""
    for number, line in enumerate(lines[position.line - 1 :]):
        text = line.text.lstrip()
        column = len(line.text) - len(text) + 1
        if number and (not text or text.startswith("#")):
            continue
        is_item = column == position.column and text.startswith("- ")
        if number and column <= position.column and not is_item:
            return
        yield line
