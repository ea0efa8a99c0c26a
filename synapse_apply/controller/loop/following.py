"""How a source is followed: fetched, its new head accepted and announced, its targets compared."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import repeat

from synapse_apply.controller.loop.credentials import (
    collect_credentials,
    put_source,
    remember_credentials,
)
from synapse_apply.controller.loop.parts import LeadershipLost, LoopParts
from synapse_apply.controller.loop.rollbacks import record_rollbacks_of_removed
from synapse_apply.controller.loop.rollouts import (
    rollouts_of_source,
    write_next_steps,
    write_rollouts_at_head,
)
from synapse_apply.controller.page.addresses import build_target_path
from synapse_apply.controller.ports import Head, SourceUnavailable
from synapse_apply.controller.rows import (
    RevisionEnd,
    RevisionProgress,
    RevisionRow,
    SourceRow,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.due import compute_poll_delay
from synapse_apply.controller.rules.revisions import (
    HeadDecision,
    build_changed_revisions,
    build_next_revision,
    build_overtaken_revision,
    decide_head,
    find_fetch_event,
    find_head_event,
    is_told_as_failed,
    shorten_commit,
    with_sideways_commit,
)
from synapse_apply.controller.rules.rollouts import assign_targets_to_waves
from synapse_apply.controller.rules.targets import TargetAtHead, find_rule, target_rows_at_head
from synapse_apply.controller.settings import Event, Source
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import InputError, SynapseApplyError
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import format_short_list

# So many targets are written at once. Others wait for the end of that, and write in the pause.
_BATCH, _PAUSE = 250, 0.01
# Among so many is a head that could be used, unless somebody hides it.
_SEARCHED_REVISIONS = 1000


def fetch_source(parts: LoopParts, name: str, *, spreads_new_targets: bool) -> None:
    """Fetch a source once and take over what it names; a failure of the fetch is recorded.

    LeadershipLost and StoreUnavailable are raised, as nothing can be recorded then.
    `spreads_new_targets` says whether many new targets are spread over their interval.
    """
    configured, is_asked = parts.configured, False
    row = parts.store.find_source(name)
    if row is None or name not in configured.settings.sources:
        return
    source, mirror = configured.settings.sources[name], configured.mirrors[name]
    try:
        head = mirror.fetch_head(row.followed)
        row = _decide_on_head(parts, source, row, mirror, head)
        is_asked = parts.take_comparison_request(name)
        # Another configuration may have been taken since the fetch began, and asked for this.
        source = parts.settings.sources.get(name, source)
        if row.head and (is_asked or row.head_number > row.keyed_number):
            _move_targets(parts, source, row, mirror, spreads_new_targets=spreads_new_targets)
            mirror.protect_commits(parts.store.list_commits_in_use(name))
        if row.head and head.pin != parts.read_pins.get(name, ""):
            targets = parts.store.source_targets(name)
            wanted = {target.wanted_commit for target in targets if not target.is_gone} - {""}
            remember_credentials(parts, source, mirror, head.pin, sorted(wanted))
        is_asked, parts.read_pins[name] = False, head.pin
    except (LeadershipLost, StoreUnavailable):
        raise
    except SynapseApplyError as problem:
        _write_failure(parts, source, row, problem.diagnostics[0])
    except Exception as problem:  # noqa: BLE001 - one source must not end the controller
        # The text of an unknown exception may hold anything.
        detail = f"{type(problem).__name__} was raised."
        finding = error_finding("The fetch ended with an internal error", detail)
        _write_failure(parts, source, row, finding)
    finally:
        # What was asked for and not done is done at the next fetch, also where the head stays.
        if is_asked:
            parts.request_comparison(name)


def advance_rollouts(parts: LoopParts, source: str) -> None:
    """Write how the open revisions of a source end, as far as that is known, and their statuses.

    Its rollouts go on before, since their targets then have more to do.
    """
    write_next_steps(parts, source)
    with parts.write() as writer:
        _write_ends(parts, writer, source)


def _write_ends(parts: LoopParts, writer: StoreWriter, source: str) -> None:
    # Uncommitted rows are not seen by readers: this stands in a transaction that wrote none before.
    open_revisions = parts.store.open_revisions(source)
    row = parts.store.find_source(source)
    head = next(iter(parts.store.newest_revisions(source, 1)), None)
    if row is None or head is None:
        return
    is_keyed = row.keyed_number >= head.number
    changed = build_changed_revisions(
        open_revisions,
        RevisionProgress() if head.is_final else _read_progress(parts, source, head.number),
        is_keyed=is_keyed,
        now=parts.clock.read_wall(),
        rollouts=[rollout for rollout in parts.store.list_rollouts() if rollout.source == source],
    )
    for revision in changed:
        writer.put(revision)
    # Of the head also where nothing changed: its forge may be new in the configuration.
    newest = {revision.number: revision for revision in [head, *changed]}
    parts.write_revision_statuses(writer, newest.values())
    if is_keyed and head.finding is None:
        parts.write_target_statuses(writer, head)


def _read_progress(parts: LoopParts, source: str, number: int) -> RevisionProgress:
    """How far the targets are, with the first error of the first that fails."""
    progress = parts.store.read_progress_of_revision(source, number)
    if not progress.failing_names:
        return progress
    first_name = TargetName(source, progress.failing_names[0])
    return replace(progress, failing_reason=parts.newest_failure(first_name))


def _decide_on_head(
    parts: LoopParts, source: Source, row: SourceRow, mirror: GitMirror, head: Head
) -> SourceRow:
    """The source after a fetch that worked, written to the store; perhaps with another head."""
    now = parts.clock.read_wall()
    is_same_or_descendant = bool(row.head) and (
        mirror.is_same_or_descendant(head.commit, row.head)
        or _goes_on_from_what_is_live(parts, source, mirror, head.commit)
    )
    decision = decide_head(
        row,
        head.commit,
        is_same_or_descendant=is_same_or_descendant,
        rewinds=source.rewinds,
        now=now,
        second_look=parts.settings.defaults.second_look,
    )
    delay = compute_poll_delay(source, parts.settings.defaults, 0, parts.clock.draw_fraction())
    fetched = replace(
        row,
        fetched_at=now,
        due_at=now + delay,
        failures=0,
        finding=None,
        answered_number=row.asked_number,
        followed=tuple(dict.fromkeys((*row.followed, *head.followed))),
    )
    if head.moved_tags:
        fetched = replace(
            fetched,
            finding=warning_finding(
                "Tags of the repository have moved",
                f"{format_short_list(head.moved_tags)}: the controller still reads packages from "
                "the first commit of each tag.",
                "Give the new commit a new tag, and use that tag in the manifests.",
                position=source.position,
            ),
        )
    if decision in {HeadDecision.ACCEPT, HeadDecision.FOLLOW}:
        is_forced = decision is HeadDecision.FOLLOW
        return _write_head(parts, row, fetched, head, is_forced=is_forced)
    if decision is HeadDecision.UNCHANGED:
        fetched = replace(fetched, sideways="", sideways_since=0.0)
    else:
        fetched = with_sideways_commit(fetched, head.commit, now)
        fetched = replace(fetched, finding=None)
    if decision is HeadDecision.LOOK_AGAIN:
        second_look_at = now + parts.settings.defaults.second_look
        fetched = replace(fetched, due_at=min(fetched.due_at, second_look_at))
    if decision is HeadDecision.HOLD:
        fetched = replace(
            fetched,
            finding=warning_finding(
                "The branch was rewound or rewritten",
                f"{source.ref} is at {shorten_commit(head.commit)}, which does not contain the "
                f"head {shorten_commit(row.head)}. The controller keeps the head.",
                Text(
                    "Move the branch forward again. If the push was intended, accept this commit "
                    "on the controller's machine: ",
                    Command(
                        "controller accept-push",
                        source.name,
                        head.commit,
                        "--reason",
                        "TEXT",
                    ),
                    ".",
                ),
                position=source.position,
            ),
        )
    _write_source(parts, row, fetched)
    return fetched


def _goes_on_from_what_is_live(
    parts: LoopParts, source: Source, mirror: GitMirror, commit: str
) -> bool:
    """Whether a commit may take the place of a head that no target may have.

    Where commits are to be signed, one that is not signed can only be taken out of the branch. The
    head before it stays there: targets that are rolled back, or in a rollout, do not have it.
    """
    revisions = parts.store.newest_revisions(source.name, _SEARCHED_REVISIONS)
    if source.signed is None or not revisions or revisions[0].finding is None:
        return False
    usable = [one.commit for one in revisions if one.finding is None]
    if not usable and len(revisions) == _SEARCHED_REVISIONS:
        return False
    live = {target.wanted_commit for target in parts.store.source_targets(source.name)}
    return all(mirror.is_same_or_descendant(commit, one) for one in {*live, *usable[:1]} if one)


def _write_failure(parts: LoopParts, source: Source, begun: SourceRow, finding: Diagnostic) -> None:
    """Write a fetch that failed; `begun` is the source as it was when that began."""
    name = begun.name
    row = parts.store.find_source(name)
    if row is None:
        return
    row = replace(row, answered_number=begun.asked_number)
    failures = row.failures + 1
    delay = compute_poll_delay(
        source, parts.settings.defaults, failures, parts.clock.draw_fraction()
    )
    due_at = parts.clock.read_wall() + delay
    _write_source(parts, row, replace(row, failures=failures, finding=finding, due_at=due_at))
    parts.log(
        "warn", "fetch failed", source=name, failures=failures, summary=finding.summary,
        retry_in=delay,
    )  # fmt: skip


def _write_source(parts: LoopParts, before: SourceRow, after: SourceRow) -> None:
    """Write a source and the messages that its change is worth."""
    held_commit = after.sideways if after.finding is not None and not after.failures else ""
    with parts.write() as writer:
        if after.name not in parts.settings.sources:
            return  # it was removed meanwhile, and must not come back
        put_source(parts, writer, after)
        event = find_fetch_event(before, after)
        if event is not None:
            fact = f"fetch of {after.name} since {before.fetched_at}"
            parts.queue_messages(
                writer,
                event,
                fact,
                source=after.name,
                finding=after.finding,
                failure_count=after.failures,
            )
        if held_commit:
            fact = f"{held_commit} beside {after.head_number} of {after.name}"
            parts.queue_messages(
                writer,
                Event.HELD,
                fact,
                source=after.name,
                commit=held_commit,
                finding=after.finding,
            )
    if held_commit and before.finding is None:
        parts.log("warn", "head held", source=after.name, commit=held_commit, head=after.head)


def _write_head(
    parts: LoopParts, row: SourceRow, fetched: SourceRow, head: Head, *, is_forced: bool
) -> SourceRow:
    """Make a commit the head and announce it, in one transaction; the source with that head."""
    revision = build_next_revision(row, head, fetched.fetched_at)
    fetched = replace(fetched, sideways="", sideways_since=0.0)
    # The last that is known of the head before, which is judged no more after this.
    with parts.write() as writer:
        _write_ends(parts, writer, row.name)
    with parts.write() as writer:
        if row.name not in parts.settings.sources:
            return fetched
        before = next(iter(parts.store.newest_revisions(row.name, 1)), None)
        put_source(parts, writer, fetched)
        if not writer.accept_head(row.name, row.head_number, revision):
            return fetched
        announced = [revision]
        if before is not None:
            announced.append(build_overtaken_revision(before, head.commit, is_forced=is_forced))
            writer.put(announced[-1])
        parts.write_revision_statuses(writer, announced)
        event = find_fetch_event(row, fetched)
        if event is not None:
            fact = f"fetch of {row.name} since {row.fetched_at}"
            parts.queue_messages(writer, event, fact, source=row.name)
        writer.count_change(row.name)
    parts.log(
        "warn" if is_forced else "info", "head accepted", source=row.name, commit=head.commit,
        number=revision.number, forced_away=row.head if is_forced else "",
    )  # fmt: skip
    return replace(fetched, head=head.commit, head_number=revision.number)


def _move_targets(
    parts: LoopParts,
    source: Source,
    row: SourceRow,
    mirror: GitMirror,
    *,
    spreads_new_targets: bool,
) -> None:
    """Move the targets of a source to its head, those whose inputs changed to be looked at.

    Those in a rollout stay where they are until it moves them.
    """
    before = parts.store.source_targets(row.name)
    try:
        live = frozenset(target.wanted_commit for target in before if target.wanted_commit)
        mirror.require_signed(row.head, live or None)
        keyed = tuple(targets_at_head(source, mirror, row.head))
    except InputError as problem:
        _record_unusable_head(parts, row, problem.diagnostics[0], row.head_number)
        return
    except SourceUnavailable as problem:
        if row.head_number > row.keyed_number:
            _record_unusable_head(parts, row, problem.diagnostics[0], row.keyed_number)
        raise
    # Also of a head that the rollouts make unusable, as its targets were read.
    row = replace(row, credentials=collect_credentials(source, row, mirror, row.head))
    assignments = assign_targets_to_waves(rollouts_of_source(parts.settings, row.name), keyed)
    for finding in assignments.findings:
        if finding.is_error:
            _record_unusable_head(parts, row, finding, row.head_number)
            return
    by_name = {target.name: target for target in keyed}
    present = {target.name for target in before if not target.is_gone}
    names, touched_count = sorted(by_name.keys() | present), 0
    batches = [names[at : at + _BATCH] for at in range(0, len(names), _BATCH)] or [[]]
    for position, batch in enumerate(batches, 1):
        with parts.write() as writer:
            if row.name not in parts.settings.sources:
                return
            # Runs that ended since the batch before have written their targets.
            present_rows = parts.store.source_targets(row.name, batch)
            moved = target_rows_at_head(
                present_rows,
                [by_name[name] for name in batch if name in by_name],
                row.head,
                row.head_number,
                defaults=parts.settings.defaults,
                now=parts.clock.read_wall(),
                chances=(parts.clock.draw_fraction() for _ in repeat(None)),
                spreads_new_targets=spreads_new_targets,
                new_count=len(by_name.keys() - present),
                in_rollouts=assignments.names_in_any_rollout,
            )
            record_rollbacks_of_removed(parts, writer, present_rows, moved)
            for target in moved:
                writer.put(target)
            removed = (target for target in moved if target.is_gone)
            queue_ends_of_failures(parts, writer, removed, row.head)
            touched_count += sum(target.touched_number == row.head_number for target in moved)
            if position == len(batches):
                # Until this is written all are compared again, which changes none that is there.
                write_rollouts_at_head(parts, writer, row, assignments)
                writer.replace_labels(row.name, {one.name.target: one.labels for one in keyed})
                compared = replace(row, keyed_number=row.head_number)
                put_source(parts, writer, compared)
                _record_usable_head(parts, writer, row)
                writer.count_change(row.name)
        if position < len(batches):
            time.sleep(_PAUSE)
    if row.keyed_number == row.head_number:
        return  # compared again, as at each start
    parts.log(
        "info", "targets compared", source=row.name, commit=row.head, targets=len(keyed),
        touched=touched_count,
    )  # fmt: skip
    for finding in assignments.findings:
        parts.log("warn", "rollout", summary=finding.summary, detail=finding.detail)


def queue_ends_of_failures(
    parts: LoopParts, writer: StoreWriter, removed: Iterable[TargetRow], commit: str = ""
) -> None:
    """Tell of targets that are removed that what failed is over, and why."""
    detail = (
        "Its source or controller.yaml no longer declares the target. The controller no longer "
        "checks it and applies nothing to it."
    )
    for target in filter(is_told_as_failed, removed):
        parts.queue_messages(
            writer,
            Event.RECOVERED,
            f"{target.name} removed after {target.last_run}",
            source=target.name.source,
            target=target.name,
            commit=commit,
            finding=warning_finding("The target was removed", detail),
            page=build_target_path(target.name),
        )


def targets_at_head(source: Source, mirror: GitMirror, commit: str) -> Iterator[TargetAtHead]:
    for target in mirror.list_targets(commit):
        rule = find_rule(source, target.name)
        if rule is not None:
            name = TargetName(source.name, target.name)
            yield TargetAtHead(name, rule, target.digest, target.labels, target.require_verified)


def _record_unusable_head(
    parts: LoopParts, row: SourceRow, finding: Diagnostic, keyed_number: int
) -> None:
    """The targets stay at the revision they have; the commit is red.

    It is read again and again until `keyed_number` is its own.
    """
    with parts.write() as writer:
        if row.name not in parts.settings.sources:
            return
        revision, before = _last_revisions(parts, row.name)
        revision = replace(revision, finding=finding)
        writer.put(revision)
        writer.put(replace(row, keyed_number=keyed_number))
        _queue_head_message(parts, writer, revision, before)
        writer.count_change(row.name)
    parts.log("error", "head unusable", source=row.name, commit=row.head, summary=finding.summary)


def _record_usable_head(parts: LoopParts, writer: StoreWriter, row: SourceRow) -> None:
    """Tell that the head can be used; one that could not be until now goes on.

    What was wrong may have been the rollouts of controller.yaml, which are others by now.
    """
    revision, before = _last_revisions(parts, row.name)
    if revision.finding is None:
        _queue_head_message(parts, writer, revision, before)
        return
    mended = replace(revision, finding=None)
    if revision.end is not RevisionEnd.SUCCESS:
        mended = replace(mended, end=RevisionEnd.NONE, description="", is_final=False)
    writer.put(mended)
    fact = f"head {revision.number} of {row.name} mended at {parts.clock.read_wall()}"
    parts.queue_messages(writer, Event.RECOVERED, fact, source=row.name, commit=revision.commit)


def _last_revisions(parts: LoopParts, source: str) -> tuple[RevisionRow, RevisionRow | None]:
    """The head's revision, and the one before it, if there is one."""
    revision, *older = parts.store.newest_revisions(source, 2)
    return revision, next(iter(older), None)


def _queue_head_message(
    parts: LoopParts, writer: StoreWriter, revision: RevisionRow, before: RevisionRow | None
) -> None:
    event = find_head_event(before, revision)
    if event is not None:
        parts.queue_messages(
            writer,
            event,
            f"head {revision.number} of {revision.source}",
            source=revision.source,
            commit=revision.commit,
            finding=revision.finding,
        )
