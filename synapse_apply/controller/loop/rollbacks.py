"""How a target is rolled back: planned first, kept at the earlier commit, and let go on."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from fnmatch import fnmatchcase
from threading import Lock

from synapse_apply.controller.api_types import RollbackRow
from synapse_apply.controller.loop.claiming import ClaimedTarget, look_by_worker_and_wait
from synapse_apply.controller.loop.deciding import find_strictest_rule, judge_now
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.page.addresses import build_target_path
from synapse_apply.controller.planned_rows import Judgement, PlannedRow, RowAction
from synapse_apply.controller.ports import ActionRefused, RunResult
from synapse_apply.controller.rows import (
    RevisionRow,
    Rollback,
    RolloutTargetRow,
    RunCause,
    RunOutcome,
    SourceRow,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.due import reminder_number
from synapse_apply.controller.rules.rollouts import (
    RolloutMember,
    build_resumed_member,
    without_move,
)
from synapse_apply.controller.rules.targets import (
    target_row_at_revision,
    target_row_rolled_back,
    target_row_without_rollback,
)
from synapse_apply.controller.settings import Event, Mode, TargetRule
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.controller.worker.look import list_rows_of_any_commit
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import error_finding, warning_finding
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import frozen, replace

# How long a request waits for its plan; whoever sends it again gets it once it is there.
_WAIT_SECONDS = 4.0
# How long a plan counts, and how many are kept.
_PLAN_SECONDS, _MOST_PLANS = 600.0, 20
_SEARCHED_REVISIONS, _SEARCHED_RUNS = 5000, 1000
# Among so many is one that can be used.
_NEWEST_REVISIONS = 200


@frozen
class PlannedRollback:
    """What a rollback of a target would do; `result` is None while it is being planned.

    `judgement` says what of its rows the controller would apply, holds, and cannot do.
    """

    target: TargetName
    commit: str
    result: RunResult | None = None
    judgement: Judgement = Judgement()

    @property
    def digest(self) -> str:
        """What says that somebody has seen this plan; "" where there is none yet."""
        return self.result.result_digest if self.result is not None else ""

    @property
    def rows(self) -> list[RollbackRow]:
        """What happens to each row; rows that cannot be rolled back come first."""
        judged = self.judgement
        # What is forgotten was made since, and cannot be deleted.
        effects = [
            *((row, "refused", row.refusal_reason) for row in judged.refused_rows),
            *((row, "stays", "") for row in judged.permitted_rows if _is_forgotten(row)),
            *((held.row, "held", held.detail) for held in judged.held_rows),
            *((row, "waiting", row.refusal_reason) for row in judged.waiting_rows),
            *((row, "applied", "") for row in judged.permitted_rows if not _is_forgotten(row)),
        ]
        return [
            RollbackRow(row.address, row.action, row.summary, effect, detail)
            for row, effect, detail in effects
        ]


def _is_forgotten(row: PlannedRow) -> bool:
    return row.action is RowAction.FORGET


class RollbackPlans:
    """Plans targets at earlier commits, each once for all who ask; for any thread."""

    def __init__(self, parts: LoopParts) -> None:
        self._parts = parts
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(2, "rollback")
        self._begun: dict[tuple[TargetName, str, str], tuple[float, Future[RunResult]]] = {}

    def plan(self, row: TargetRow, rollback: Rollback, rule: TargetRule) -> PlannedRollback:
        """The plan of a target at the commit of a rollback, or one without a result.

        ActionRefused where it cannot be planned, or too many are.
        """
        planned = replace(row, wanted_commit=rollback.commit, wanted_digest=rollback.digest)
        planned = replace(planned, rollback=rollback)
        key = (row.name, rollback.commit, rollback.digest)
        with self._lock:
            now = self._parts.clock.read_counter()
            oldest = now - _PLAN_SECONDS
            self._begun = {k: one for k, one in self._begun.items() if one[0] > oldest}
            if key not in self._begun:
                if len(self._begun) >= _MOST_PLANS:
                    self._drop_oldest_ended_plan()
                self._begun[key] = now, self._threads.submit(self._look, planned, rule)
            _, future = self._begun[key]
        try:
            result = future.result(_WAIT_SECONDS)
        except NotYet:
            return PlannedRollback(row.name, rollback.commit)
        if result.outcome.is_failure:
            self.forget(key)
            errors = [finding for finding in result.findings if finding.is_error]
            unplanned = error_finding("The controller could not plan the rollback")
            raise ActionRefused(*(errors or [unplanned]))
        judgement = judge_now(self._parts, planned, result.rows).judgement
        return PlannedRollback(row.name, rollback.commit, result, judgement)

    def _drop_oldest_ended_plan(self) -> None:
        """Make room: whoever comes back for that plan has it made once more."""
        ended = next((key for key, (_, plan) in self._begun.items() if plan.done()), None)
        if ended is None:
            raise ActionRefused.from_summary(
                "Too many rollbacks are being planned",
                f"The controller plans at most {_MOST_PLANS} at a time.",
                "Try again in a few minutes.",
            )
        del self._begun[ended]

    def forget(self, key: tuple[TargetName, str, str]) -> None:
        """Plan it anew at the next call."""
        with self._lock:
            self._begun.pop(key, None)

    def _look(self, planned: TargetRow, rule: TargetRule) -> RunResult:
        return look_by_worker_and_wait(self._parts, ClaimedTarget(planned, 0), rule).result


def choose_rollback(
    parts: LoopParts, row: TargetRow, revision: str, who: str, reason: str
) -> tuple[Rollback, TargetRule]:
    """The rollback of a target to a revision that begins with these digits, and its rule.

    ActionRefused where the controller would not apply that revision to the target: it was never a
    head of the source, could not be used, was forced away, or lacks a signature.
    """
    name, rule = row.name, find_strictest_rule(parts, row.name)
    if rule is None or rule.mode is Mode.OBSERVE:
        raise ActionRefused.from_summary(
            "You cannot roll back a target in mode observe",
            f"The controller applies {name} on request only.",
            "Set `mode: approve` or `mode: auto` for it in controller.yaml, or apply it manually.",
        )
    revisions = parts.store.newest_revisions(name.source, _SEARCHED_REVISIONS)
    mirror = parts.configured.mirrors.get(name.source)
    found = {one.commit: one for one in reversed(revisions) if one.commit.startswith(revision)}
    left = _usable_head(revisions)
    if len(found) != 1 or left is None or mirror is None:
        raise ActionRefused.from_summary(
            "Several revisions begin with this id" if len(found) > 1 else "Revision not found",
            f"{revision} is not a commit that the controller has seen as the head of {name.source}."
            if not found
            else f"{revision}: {', '.join(commit[:12] for commit in found)}.",
            "The source's page lists all revisions.",
        )
    (commit,) = found
    try:
        # A replica that has not worked on the source yet has nothing of it.
        parts.fetch_wanted_commit(replace(row, wanted_commit=revisions[0].commit))
        _require_usable(mirror, found[commit], revisions[0])
        digest, left_digest = (_digest_at(mirror, one, name) for one in (commit, left.commit))
    except SynapseApplyError as problem:
        raise ActionRefused(*problem.diagnostics) from None
    if not digest or digest == left_digest:
        why = "has the same inputs as the head" if digest else "does not declare the target"
        raise ActionRefused.from_summary(
            "There is nothing to roll back to", f"{commit[:12]} {why}: {name}."
        )
    runs = parts.store.newest_runs(name, _SEARCHED_RUNS)
    before = row.rollback
    rollback = Rollback(
        commit,
        digest,
        left.commit,
        left_digest,
        before.wanted_commit if before else row.wanted_commit,
        before.wanted_digest if before else row.wanted_digest,
        who,
        reason,
        parts.clock.read_wall(),
        was_live=any(run.commit == commit and run.outcome is RunOutcome.IN_SYNC for run in runs),
    )
    return rollback, rule


def write_rollback(
    parts: LoopParts, writer: StoreWriter, row: TargetRow, rollback: Rollback
) -> None:
    """Roll a target back, in its rollout too, and tell of it; ActionRefused at another head."""
    left = _usable_head(parts.store.newest_revisions(row.name.source, _NEWEST_REVISIONS))
    if left is None or left.commit != rollback.left_commit:
        raise ActionRefused.from_summary(
            "The source has a new head",
            f"{row.name} was planned when {rollback.left_commit[:12]} was the head.",
            "Review the plan again, then decide.",
        )
    row = target_row_rolled_back(row, rollback, parts.clock.read_wall())
    writer.put(row)
    if (member := _find_member(parts, row.name)) is not None:
        writer.put(without_move(member))
    queue_rollback_message(parts, writer, row)


def end_rollbacks(parts: LoopParts, writer: StoreWriter, scope: str) -> list[TargetRow]:
    """Let the targets of a scope that are rolled back go on; as they were before that."""
    ended, now = [], parts.clock.read_wall()
    for row in parts.store.list_rolled_back_targets():
        rollback = row.rollback
        if rollback is None or not fnmatchcase(str(row.name), scope):
            continue
        source = parts.store.find_source(row.name.source)
        head = _usable_head(_compared_revisions(parts, source))
        after = target_row_without_rollback(row, now, RunCause.RESUMED)
        if (member := _find_member(parts, row.name)) is not None:
            commit, digest = rollback.wanted_commit, rollback.wanted_digest
            after = replace(after, wanted_commit=commit, wanted_digest=digest)
            rollout = parts.store.find_rollout(member.rollout)
            resumed = build_resumed_member(rollout, RolloutMember(member, after), now)
            writer.put(resumed.row)
            after = resumed.target or after
        elif head is not None:
            after = target_row_at_revision(after, head.commit, head.number, row.head_digest)
        writer.put(after)
        ended.append(row)
    return ended


def queue_rollback_message(parts: LoopParts, writer: StoreWriter, row: TargetRow) -> None:
    """Tell of a target that is rolled back, or remind of it, once a day."""
    rollback = row.rollback
    if rollback is None:
        return
    number = reminder_number(rollback.since, parts.clock.read_wall())
    finding = warning_finding(
        f"to {rollback.commit[:7]} by {rollback.who}: {rollback.reason}",
        f"The target stays there until a commit changes what {rollback.left_commit[:7]} declares "
        "for it.",
        Text("To end it earlier: ", Command("controller resume", str(row.name)), "."),
    )
    parts.queue_messages(
        writer,
        Event.PAUSED,
        f"rollback of {row.name} since {rollback.since}, day {number}",
        source=row.name.source,
        target=row.name,
        commit=rollback.commit,
        finding=finding,
        is_reminder=number > 0,
        page=build_target_path(row.name),
    )


def settle_rollback(
    parts: LoopParts, claimed: ClaimedTarget, rule: TargetRule
) -> ClaimedTarget | None:
    """Say whether a head with other inputs changes what a rolled back target left.

    It does where both have other rows against what is live: so neither a text beside the manifests
    nor another version of this program ends a rollback. None where it does, and the claim is over;
    else the target as it is now. While the head cannot be planned, nothing is decided.
    """
    row, mirror = claimed.row, parts.configured.mirrors.get(claimed.row.name.source)
    rollback = row.rollback
    if rollback is None or mirror is None or row.head_digest == rollback.left_digest:
        return claimed
    source = parts.store.find_source(row.name.source)
    head = _usable_head(_compared_revisions(parts, source))
    if head is None:
        return claimed

    def look(commit: str) -> set[tuple[str, str]] | None:
        at_commit = claimed._replace(row=replace(claimed.row, wanted_commit=commit))
        result = look_by_worker_and_wait(parts, at_commit, rule).result
        if result.outcome.is_failure:
            return None
        return {(one.digest, one.refusal) for one in list_rows_of_any_commit(result)}

    left, new = look(rollback.left_commit), look(head.commit)
    if new is None or parts.is_closing:
        return claimed
    if left is None:
        # A backend may have answered again since; a commit that is broken stays so.
        left = look(rollback.left_commit)
    try:
        digest = _digest_at(mirror, rollback.commit, row.name) or rollback.digest
    except SynapseApplyError:
        return claimed
    now = parts.clock.read_wall()
    with parts.write() as writer:
        row = parts.store.find_target(row.name) or row
        is_own = writer.is_claim_own(row.name, parts.holder, claimed.epoch)
        if not is_own or (row.rollback, row.head_digest) != (rollback, claimed.row.head_digest):
            return claimed
        if new == left:
            rollback = replace(rollback, left_commit=head.commit, left_digest=row.head_digest)
            rollback = replace(rollback, digest=digest)
            row = replace(row, rollback=rollback, wanted_digest=digest)
            writer.put(row)
            return claimed._replace(row=row)
        after = target_row_without_rollback(row, now, RunCause.PUSH)
        # A rollout moves it in its wave.
        if _find_member(parts, row.name) is None:
            after = target_row_at_revision(after, head.commit, head.number, row.head_digest)
        writer.put(after)
        _record_end(parts, writer, row, f"{head.commit} changes it")
        writer.release_claim(row.name, parts.holder, claimed.epoch)
        writer.count_change(row.name.source)
    return None


def record_rollbacks_of_removed(
    parts: LoopParts, writer: StoreWriter, before: Iterable[TargetRow], after: Iterable[TargetRow]
) -> None:
    """Write that the rollbacks of targets have ended which a head no longer declares."""
    present = {row.name for row in after if row.rollback is not None}
    for row in before:
        if row.rollback is not None and row.name not in present:
            _record_end(parts, writer, row, "the target was removed")


def _record_end(parts: LoopParts, writer: StoreWriter, row: TargetRow, why: str) -> None:
    detail = f"{why}; it was {row.rollback.phrase if row.rollback else ''}"
    now = parts.clock.read_wall()
    writer.append_audit(now, parts.who, "end rollback", str(row.name), detail)
    parts.log("info", "end rollback", target=row.name, detail=detail)


def _find_member(parts: LoopParts, name: TargetName) -> RolloutTargetRow | None:
    """What a target is in its rollout, None where it is in none."""
    return parts.store.find_rollout_target(name) if parts.settings.rollouts else None


def _compared_revisions(parts: LoopParts, source: SourceRow | None) -> list[RevisionRow]:
    """The revisions whose targets are known, newest first."""
    if source is None:
        return []
    revisions = parts.store.newest_revisions(source.name, _NEWEST_REVISIONS)
    return [one for one in revisions if one.number <= source.keyed_number]


def _usable_head(revisions: Iterable[RevisionRow]) -> RevisionRow | None:
    """The newest revision that targets could be brought to; `revisions` come newest first."""
    return next((one for one in revisions if one.finding is None), None)


def _digest_at(mirror: GitMirror, commit: str, name: TargetName) -> str:
    """The digest of a target's inputs at a commit, "" where that does not declare it."""
    targets = mirror.list_targets(commit)
    return next((one.digest for one in targets if one.name == name.target), "")


def _require_usable(mirror: GitMirror, revision: RevisionRow, head: RevisionRow) -> None:
    """SynapseApplyError for a revision that the controller may not apply."""
    if revision.finding is not None:
        raise ActionRefused.from_summary(
            "The controller cannot use the revision",
            f"{revision.commit[:12]}: {revision.finding.summary}.",
            "The revision's page shows the reason.",
        )
    mirror.require_signed(revision.commit, None)
    if not mirror.is_same_or_descendant(head.commit, revision.commit):
        raise ActionRefused.from_summary(
            "The revision was removed from the branch",
            f"{head.commit[:12]} does not contain {revision.commit[:12]}.",
            "Choose a revision that the branch contains.",
        )
