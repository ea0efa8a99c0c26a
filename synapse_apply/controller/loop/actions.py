"""What people ask of targets and rollouts: checked, done and in the audit in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase

from synapse_apply.controller import verbs
from synapse_apply.controller.loop.brakes import describe_brakes, release_brakes
from synapse_apply.controller.loop.deciding import (
    end_approval,
    find_rule_of_now,
    find_strictest_rule,
    find_target_rule,
    list_pauses_and_abort,
    list_rows_to_apply,
)
from synapse_apply.controller.loop.hourly import (
    list_targets_in_scope,
    make_targets_due_soon,
    queue_pause_messages,
)
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.rollbacks import (
    PlannedRollback,
    RollbackPlans,
    choose_rollback,
    end_rollbacks,
    write_rollback,
)
from synapse_apply.controller.loop.rollouts import audit_and_log_step, queue_rollout_news
from synapse_apply.controller.outbox.messages import format_utc_time
from synapse_apply.controller.planned_rows import HeldRow, HoldReason, RowAction
from synapse_apply.controller.ports import ActionRefused, SourceUnavailable
from synapse_apply.controller.rows import (
    APPLY_NOW,
    END_OF_PAUSE,
    ApprovalRow,
    HoldRow,
    PauseRow,
    RolloutRow,
    RunCause,
    SessionRow,
    TargetCondition,
    TargetName,
    TargetRow,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.rules import rollouts
from synapse_apply.controller.rules.access import (
    Person,
    add_approved_rows,
    build_apply_terms,
    can_approve,
    count_approvals_of_row,
    format_approvers,
    is_approval_stale,
    is_author,
)
from synapse_apply.controller.rules.assessment import CONDITIONS_OF_PEOPLE
from synapse_apply.controller.rules.judging import build_rejected_hold, is_moved_row
from synapse_apply.controller.rules.permits import (
    find_apply_block,
    is_pause_active,
    longest_active_pause,
)
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.controller.verbs import MAX_PAUSE_SECONDS, Verb
from synapse_apply.model.command import Command, Text
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import format_count_and_noun

_MAX_SCOPE_LENGTH = 400
# A row of the audit stays readable; the approvals themselves are kept for `defaults.keep`.
_MAX_AUDITED_ROWS = 500
# Whose words a pause changes: something is to be done there.
_STATES_THAT_A_PAUSE_CHANGES = frozenset(
    {
        TargetCondition.WAITING,
        TargetCondition.PAUSED,
        TargetCondition.HELD,
        TargetCondition.REFUSED,
        TargetCondition.DRIFTED,
        TargetCondition.PENDING,
    }
)
# Where `waiting_reason` may be that it is paused.
_STATES_THAT_SAY_A_PAUSE = CONDITIONS_OF_PEOPLE | {TargetCondition.PAUSED}


class PeopleActions:
    """What people can ask of targets and rollouts; `who` is `proxy:NAME` or `token:NAME`.

    Whether they may is decided before (`rules/access.py`). Each is in the audit, in the transaction
    that does it. Methods may be called from any thread, and raise ActionRefused.
    """

    def __init__(
        self,
        parts: LoopParts,
        fetch_soon: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        """`wake` begins the loop's next round."""
        self._parts = parts
        self._poll_soon = fetch_soon
        self._wake_loop = wake
        self._rollback_plans = RollbackPlans(parts)

    def log_in(self, who: str, session: SessionRow, old_digest: str) -> None:
        """Begin a session of the page, and end the one that the browser had, if any."""
        with self._parts.write() as writer:
            writer.delete_session(old_digest)
            writer.put_session(session)
            self._append_audit_and_log(writer, who, "log in", "", "")

    def log_out(self, who: str, digest: str) -> None:
        """End a session of the page."""
        with self._parts.write() as writer:
            writer.delete_session(digest)
            self._append_audit_and_log(writer, who, "log out", "", "")

    def reconcile_soon_or_refuse(self, who: str, name: TargetName) -> None:
        """Fetch the source and look at the target at once; a failing one is tried again."""
        parts = self._parts
        with parts.write() as writer:
            row = self._present_target(name)
            self._put_target_due_now(writer, row, RunCause.ASKED)
            self._append_audit_and_log(writer, who, verbs.RECONCILE, str(name))
        self._poll_soon(name.source)

    def pause_scope_or_refuse(self, who: str, scope: str, reason: str, until: float) -> PauseRow:
        """Apply nothing to the targets that match `scope` until a wall-clock time.

        Refused for a scope that matches no target, and for a time that has passed or is more
        than a year away.
        """
        parts = self._parts
        with parts.write() as writer:
            now = parts.clock.read_wall()
            # The targets that match a scope; refused where none does.
            matching: Sequence[TargetRow] = ()
            if len(scope) <= _MAX_SCOPE_LENGTH and scope.isprintable():
                matching = list_targets_in_scope(parts, scope)
            if not matching:
                raise ActionRefused.from_summary(
                    "No target matches",
                    f"No target matches `{scope[:_MAX_SCOPE_LENGTH]}`.",
                    "Write SOURCE/TARGET, where * matches any text: `acme/prod-*`.",
                )
            # Refused for an end that has passed, or is too far away.
            if not now < until <= now + MAX_PAUSE_SECONDS:
                raise ActionRefused.from_summary(
                    "Invalid end of the pause",
                    "The end is in the past."
                    if until <= now
                    else "The pause would last more than a year.",
                    "Choose a time in the future. For a permanent pause, set `paused` in "
                    "controller.yaml.",
                )
            row = PauseRow(scope, who, normalize_reason(reason), now, until)
            writer.put_pause(row)
            queue_pause_messages(parts, writer, row)
            detail = f"until {format_utc_time(until)}" + (f": {row.reason}" if row.reason else "")
            self._append_audit_and_log(writer, who, verbs.PAUSE, scope, detail)
        # Only what is said of them changes: each is looked at, and not applied.
        affected_targets = [
            target
            for target in matching
            if target.state in _STATES_THAT_A_PAUSE_CHANGES and target.mode is not Mode.OBSERVE
        ]
        make_targets_due_soon(parts, affected_targets, RunCause.ASKED)
        self._mark_changed([target.name for target in affected_targets])
        return row

    def roll_back_or_refuse(
        self, who: str, name: TargetName, revision: str, plan: str, reason: str
    ) -> PlannedRollback | None:
        """Roll a target back to a revision, None; or what that would do, which is to be seen first.

        `plan` is the digest of what was seen. Refused where the controller may not apply the
        revision there, and where its plan is another by now.
        """
        parts, reason = self._parts, normalize_reason(reason)
        rollback, rule = choose_rollback(parts, self._present_target(name), revision, who, reason)
        planned = self._rollback_plans.plan(self._present_target(name), rollback, rule)
        if not plan or planned.result is None:
            return planned
        if plan != planned.digest:
            raise ActionRefused.from_summary(
                "The plan of the rollback has changed",
                f"At {rollback.commit[:12]}, the rollback of {name} would no longer do what the "
                "plan showed.",
                "Review the plan again, then decide.",
            )
        with parts.write() as writer:
            write_rollback(parts, writer, self._present_target(name), rollback)
            detail = f"to {rollback.commit} from {rollback.left_commit}: {reason}"
            self._append_audit_and_log(writer, who, verbs.ROLL_BACK, str(name), detail)
        self._rollback_plans.forget((name, rollback.commit, rollback.digest))
        self._mark_changed([name])
        return None

    def resume_scope_or_refuse(self, who: str, scope: str) -> None:
        """End the pause of this scope, or else the rollbacks of targets that it matches.

        Where there is none of both, their brakes; refused where there is none either.
        """
        parts = self._parts
        with parts.write() as writer:
            now = parts.clock.read_wall()
            pause = next(
                (row for row in parts.store.list_pauses() if row.scope == scope),
                None,
            )
            if pause is not None and is_pause_active(pause, now):
                writer.delete_pause(scope)
                detail = f"paused by {pause.who}"
                self._append_audit_and_log(writer, who, verbs.RESUME, scope, detail)
            else:
                ended = end_rollbacks(parts, writer, scope) or release_brakes(parts, writer, scope)
                if not ended:
                    raise self._build_no_pause_error(scope, now)
                for row in ended:
                    detail = row.rollback.phrase if row.rollback else describe_brakes(row)
                    self._append_audit_and_log(writer, who, verbs.RESUME, str(row.name), detail)
        if pause is None or not is_pause_active(pause, now):
            self._mark_changed([row.name for row in ended])
            return
        paused = [
            row
            for row in list_targets_in_scope(parts, scope)
            if row.state in _STATES_THAT_SAY_A_PAUSE and row.waiting_reason
        ]
        make_targets_due_soon(parts, paused, RunCause.RESUMED, END_OF_PAUSE)
        self._mark_changed([row.name for row in paused])

    def approve_rows_or_refuse(
        self,
        who: str,
        name: TargetName,
        row_digests: Sequence[str],
        groups: Sequence[str] = (),
        reason: str = "",
    ) -> None:
        """Approve rows of a target that wait; all or none. Whoever has approved one already has.

        `groups` are those that they are in: whether they may approve is asked again at the apply.

        Refused where one does not wait any more as it was shown, or cannot be approved, in mode
        observe, and for an author where that counts.
        """
        parts = self._parts
        self._read_counting_authors(name)
        with parts.write() as writer:
            now = parts.clock.read_wall()
            row = self._present_target(name)
            rule = self._approval_rule(name, row_digests)
            approvals = list(parts.store.list_approvals(name))
            waiting = parts.store.list_holds(name)
            known = add_approved_rows(waiting, approvals, now, row)
            holds = self._require_holds(name, row_digests, known)
            person = Person(who, frozenset(groups))
            for hold in holds:
                _require_approvable(hold, rule, person)
            authors = self._counting_authors(who, row, rule)
            for hold in holds:
                if not any(
                    approval.who == who
                    and approval.groups == tuple(groups)
                    and approval.row_digest == hold.row_digest
                    and reason in {"", approval.approved_reason}
                    and not (approval.used_at or approval.is_of_now)
                    and not is_approval_stale(approval, now)
                    for approval in approvals
                ):
                    approval = self._approve(hold, who, now, groups, reason)
                    writer.put_approval(approval)
                    approvals.append(approval)
            detail = _describe_holds(holds, reason)
            self._append_audit_and_log(writer, who, verbs.APPROVE, str(name), detail)
            # Of what was rejected, these are all approvals since.
            approved_digests = {
                hold.row_digest
                for hold in holds
                if count_approvals_of_row(
                    rule,
                    approvals,
                    hold.held_row.row,
                    now=now,
                    access=parts.settings.access,
                    authors=authors,
                ).is_enough
            }
            if approved_digests:
                decided = _reject_holds(waiting, approved_digests)
                writer.replace_holds(name, decided)
                self._put_target_due_now(writer, row, RunCause.APPROVED)
        self._mark_changed([name])

    def apply_now_or_refuse(
        self, who: str, name: TargetName, row_digests: Sequence[str], groups: Sequence[str] = ()
    ) -> None:
        """Apply rows of a target in mode observe, once: those that its page shows, and no others.

        Refused where one is not in the newest plan, or something keeps the target from being
        applied now; the rest as `approve_rows_or_refuse`. Who asks again before the check asks for
        these rows in place of the earlier ones.
        """
        parts = self._parts
        self._read_counting_authors(name)
        # A large plan is read in seconds: before the transaction, in which others wait.
        shown = list_rows_to_apply(parts.store, self._present_target(name))
        with parts.write() as writer:
            now, row = parts.clock.read_wall(), self._present_target(name)
            rule = find_rule_of_now(parts, name)
            if rule is None:
                raise ActionRefused.from_summary(
                    "Only a target in mode observe is applied on request",
                    f"Target {name} is in a different mode.",
                    "Approve its rows, or check it now.",
                )
            if row.begun_apply is not None:
                raise ActionRefused.from_summary(
                    "The controller is applying the target", hint="Wait for the result."
                )
            block = find_apply_block(rule, list_pauses_and_abort(parts, name), name, now)
            if block is not None:
                raise ActionRefused.from_summary(
                    "The controller may not apply the target now", f"{name} is {block.phrase}."
                )
            newest = [hold for hold in shown if hold.run == row.last_run]
            holds = self._require_holds(name, row_digests, newest)
            for hold in holds:
                _require_approvable(hold, rule, Person(who, frozenset(groups)))
            authors, access = self._counting_authors(who, row, rule), parts.settings.access
            for old in parts.store.list_approvals(name):
                if not (old.used_at or is_moved_row(old.row)):
                    end_approval(parts, writer, old, "another apply was asked for", now)
            given = [self._approve(hold, who, now, groups).as_of_now() for hold in holds]
            rows = [hold.held_row.row for hold in holds]
            terms = build_apply_terms(rule, given, rows, now=now, access=access, authors=authors)
            if terms.approvals.keys() != {hold.row_digest for hold in holds}:
                raise ActionRefused.from_summary(
                    "One approval is not enough",
                    f"The rule for {name} requires approvals from several people.",
                    "Set `mode: approve` for it in controller.yaml.",
                )
            for approval in given:
                writer.put_approval(approval)
            self._put_target_due_now(writer, row, RunCause.APPROVED, APPLY_NOW)
            self._append_audit_and_log(
                writer, who, verbs.APPLY_NOW, str(name), _describe_holds(holds)
            )
        self._mark_changed([name])

    def reject_rows_or_refuse(
        self, who: str, name: TargetName, row_digests: Sequence[str], reason: str
    ) -> None:
        """Say that rows of a target are not to be done, and take their approvals back."""
        parts = self._parts
        with parts.write() as writer:
            row, now = self._present_target(name), parts.clock.read_wall()
            reason = normalize_reason(reason)
            approvals = parts.store.list_approvals(name)
            known = add_approved_rows(parts.store.list_holds(name), approvals, now, None)
            holds = self._require_holds(name, row_digests, known)
            digests = {hold.row_digest for hold in holds}
            for digest in sorted(digests):
                writer.delete_unused_approvals_of_row(name, digest)
            writer.replace_holds(name, _reject_holds(known, digests, who, reason))
            if any(hold.held_row.reason is HoldReason.APPROVED for hold in holds):
                # What is said of it changes: it waits for a person again.
                self._put_target_due_now(writer, row, RunCause.ASKED)
            detail = _describe_holds(holds, reason)
            self._append_audit_and_log(writer, who, verbs.REJECT, str(name), detail)
        self._mark_changed([name])

    def _approve(
        self, hold: HoldRow, who: str, now: float, groups: Sequence[str], reason: str = ""
    ) -> ApprovalRow:
        return ApprovalRow(
            self._parts.make_id(), hold.target, hold.row_digest, hold.held_row.row, who, now,
            groups=tuple(groups), approved_reason=reason,
        )  # fmt: skip

    def _put_target_due_now(
        self, writer: StoreWriter, row: TargetRow, cause: RunCause, detail: str = ""
    ) -> None:
        now = self._parts.clock.read_wall()
        writer.put(replace(row, due_at=now, due_cause=cause, due_detail=detail))

    def _append_audit_and_log(
        self, writer: StoreWriter, who: str, verb: Verb | str, subject: str, detail: str = ""
    ) -> None:
        action = verb if isinstance(verb, str) else verb.action
        writer.append_audit(self._parts.clock.read_wall(), who, action, subject, detail)
        self._parts.log("info", action, who=who, subject=subject, detail=detail)

    def _mark_changed(self, names: Collection[TargetName]) -> None:
        """Have the ends of revisions told anew, and the next round begin at once."""
        with self._parts.write() as writer:
            for source in {name.source for name in names}:
                writer.count_change(source)
        self._wake_loop()

    # What is asked for, if it can be done

    def _present_target(self, name: TargetName) -> TargetRow:
        row = self._parts.store.find_target(name)
        if row is None or row.is_gone or name.source not in self._parts.settings.sources:
            raise ActionRefused.from_summary(
                "Target not found",
                f"The head of its source does not declare {name}, or no rule matches it.",
                "The overview lists all targets.",
            )
        return row

    def _approval_rule(self, name: TargetName, digests: Sequence[str]) -> TargetRule:
        """The rule of a target; refused in mode observe, but for what the target means now."""
        rule, holds = find_strictest_rule(self._parts, name), self._parts.store.list_holds(name)
        moves = [hold.row_digest for hold in holds if is_moved_row(hold.held_row.row)]
        if rule is None or (rule.mode is Mode.OBSERVE and list(digests) != moves):
            raise ActionRefused.from_summary(
                "You cannot approve rows in mode observe",
                f"The controller applies {name} on request only.",
                "Apply its rows on its page, or set `mode: approve` or `mode: auto` for it in "
                "controller.yaml.",
            )
        return rule

    def _build_no_pause_error(self, scope: str, now: float) -> ActionRefused:
        """Why a scope cannot be resumed; names the patterns that pause the target, as its page."""
        parts = self._parts
        shown = scope[:_MAX_SCOPE_LENGTH]
        detail = f"Nobody has paused `{shown}`."
        source, _, target = scope.partition("/")
        name = TargetName(source, target)
        pause = longest_active_pause(find_target_rule(parts, name), (), name, now)
        hint = "Specify the exact scope of the pause."
        covering = [
            row
            for row in parts.store.list_pauses()
            if is_pause_active(row, now) and fnmatchcase(scope, row.scope)
        ]
        member = parts.store.find_rollout_target(name) if parts.settings.rollouts else None
        abort = rollouts.find_pause_of_abort(member) if member else None
        if abort is not None:
            detail = (
                f"`{shown}` is paused by {abort.who}, which was aborted while the target changed."
            )
            hint = "Push a later commit, or roll the target back: either ends the pause."
        if covering:
            detail = f"{covering[0].who} paused `{covering[0].scope}`, which includes `{shown}`."
            hint = Text(
                "To end the pause for all targets that the pattern matches, run ",
                Command("controller resume", covering[0].scope),
                ".",
            )
        if pause is not None:
            detail += f" controller.yaml pauses it: {pause.reason or 'without a reason'}."
            hint = "Remove `paused` from controller.yaml, and send SIGHUP to the controller."
        return ActionRefused.from_summary("Pause not found", detail, hint)

    def _require_holds(
        self, name: TargetName, row_digests: Sequence[str], known: Sequence[HoldRow]
    ) -> list[HoldRow]:
        """Those with these digests; refused unless there is one and all of them are known."""
        holds = {hold.row_digest: hold for hold in known}
        missing = [digest for digest in row_digests if digest not in holds]
        if missing or not row_digests:
            raise ActionRefused.from_summary(
                "The rows have changed" if missing else "No row was selected",
                f"{len(missing) or 'None'} of {len(row_digests)} rows of {name} "
                f"{'were' if len(missing) > 1 else 'was'} applied, removed or changed."
                if missing
                else f"{name} has {len(holds)} rows awaiting approval.",
                "Review the current rows, then decide.",
            )
        return [holds[digest] for digest in dict.fromkeys(row_digests)]

    def _read_counting_authors(self, name: TargetName) -> None:
        """Ask Git for the authors that count before the transaction, in which others wait."""
        parts = self._parts
        row, rule = parts.store.find_target(name), find_strictest_rule(parts, name)
        if row is not None and rule is not None and rule.not_author:
            with suppress(SourceUnavailable):
                parts.fetch_wanted_commit(row)
            parts.commits.authors_to_apply(row)

    def _counting_authors(self, who: str, row: TargetRow, rule: TargetRule) -> tuple[str, ...]:
        """The authors of what would be applied, () where they do not count; refused for one."""
        if not rule.not_author:
            return ()
        authors = self._parts.commits.authors_to_apply(row)
        if authors is None:
            raise ActionRefused.from_summary(
                "The controller cannot read the authors of the commits",
                f"{row.name} does not accept approvals of commit authors (`not_author`), and the "
                f"mirror of {row.name.source} does not show who they are.",
                "Try again after the next successful fetch of the source.",
            )
        if is_author(self._parts.settings.access, who, authors):
            raise ActionRefused.from_summary(
                "An author cannot approve",
                f"{who} is an author of commits that {row.name} would apply.",
                "Ask somebody else to approve: controller.yaml sets `not_author`.",
            )
        return authors

    # What is asked for of rollouts. `number` is that of the revision that was shown: refused where
    # the rollout has another by now. The next round of the loop goes on from what is written.

    def approve_wave_or_refuse(self, who: str, rollout: str, number: int, wave: int) -> None:
        """Let a wave begin; refused where it does not wait for that."""
        with self._deciding(who, rollout, verbs.APPROVE_WAVE) as (writer, row, say):
            wave_row = self._read_wave_or_blank(row, wave)
            writer.put(rollouts.approve_wave(row, wave_row, number=number, who=who))
            say(f"wave {wave} of {row.wave_count}")

    def resume_rollout_or_refuse(self, who: str, rollout: str, number: int) -> None:
        """Go on with a rollout that is stopped: what failed is tried again, and counts anew.

        The targets that failed are looked at soon.
        """
        parts = self._parts
        with self._deciding(who, rollout, verbs.RESUME_ROLLOUT) as (writer, row, say):
            now = parts.clock.read_wall()
            targets = parts.store.list_rollout_targets(row.name, row.wave)
            after, failed = rollouts.resume_rollout(row, targets, number=number, who=who, now=now)
            writer.put(after, *failed)
            cause, detail = RunCause.RESUMED, f"the rollout {rollout}, which continues"
            for one in failed:
                target = parts.store.find_target(one.target)
                if target is not None and not target.is_gone:
                    writer.put(replace(target, due_at=now, due_cause=cause, due_detail=detail))
            say(f"{format_count_and_noun(len(failed), 'target')} retried")
            queue_rollout_news(parts, writer, row, after)

    def skip_wave_or_refuse(
        self, who: str, rollout: str, number: int, wave: int, reason: str
    ) -> None:
        """Close the open wave without evidence; its targets that wait for others are moved now."""
        with self._deciding(who, rollout, verbs.SKIP_WAVE) as (writer, row, say):
            reason, now = normalize_reason(reason), self._parts.clock.read_wall()
            wave_row = self._read_wave_or_blank(row, wave)
            after, wave_row = rollouts.skip_wave(
                row, wave_row, number=number, who=who, reason=reason, now=now
            )
            writer.put(after, wave_row)
            say(f"wave {wave} of {row.wave_count}", reason)
            queue_rollout_news(self._parts, writer, row, after)

    def abort_rollout_or_refuse(self, who: str, rollout: str, number: int, reason: str) -> None:
        """Bring this revision no further: targets stay where they are until the next head.

        What was moved and not seen to have the revision is held, and an apply that runs is ended.
        """
        with self._deciding(who, rollout, verbs.ABORT_ROLLOUT) as (writer, row, say):
            reason, now = normalize_reason(reason), self._parts.clock.read_wall()
            after = rollouts.abort_rollout(row, number=number, who=who, reason=reason, now=now)
            targets = self._parts.store.list_rollout_targets(row.name)
            writer.put(after, *rollouts.hold_targets_in_change(targets))
            wave = self._read_wave_or_blank(row, row.wave)
            if wave.end is WaveEnd.NONE:
                writer.put(replace(wave, closed_at=now, closed_by=who, reason=reason))
            queue_rollout_news(self._parts, writer, row, after)
            say(f"in wave {row.wave} of {row.wave_count}", reason)

    @contextmanager
    def _deciding(
        self, who: str, rollout: str, verb: Verb
    ) -> Iterator[tuple[StoreWriter, RolloutRow, Callable[..., None]]]:
        """A transaction over a begun rollout; `say` has the audit tell what was decided, and why.

        The next round begins at its end.
        """
        with self._parts.write() as writer:
            row = self._begun_rollout(rollout)

            def say(detail: str, reason: str = "") -> None:
                text = f"{detail}: {reason}" if reason else detail
                audit_and_log_step(self._parts, writer, row, verb.action, text, who=who)
                writer.count_change(row.source)

            yield writer, row, say
        self._parts.add_changed_source(row.source)
        self._wake_loop()

    def _begun_rollout(self, name: str) -> RolloutRow:
        row = self._parts.store.find_rollout(name)
        rollout = self._parts.settings.rollouts.get(name)
        if row is None or rollout is None or rollout.source != row.source:
            raise ActionRefused.from_summary(
                "Rollout not found",
                "controller.yaml has no rollout of this name, or it has not started to roll out a "
                "revision.",
                "The page Rollouts lists all rollouts.",
            )
        return row

    def _read_wave_or_blank(self, row: RolloutRow, wave: int) -> WaveRow:
        """What was said of a wave so far."""
        rows = self._parts.store.list_waves(row.name, row.number)
        blank = WaveRow(row.source, row.name, row.number, wave)
        return {row.wave: row for row in rows}.get(wave, blank)


def _reject_holds(
    holds: Sequence[HoldRow], digests: Collection[str], who: str = "", reason: str = ""
) -> list[HoldRow]:
    """Holds of a target to be stored, those of these digests rejected by `who` ("": by nobody)."""
    decided = []
    for number, hold in enumerate(holds):
        if hold.row_digest in digests:
            held_row = hold.held_row
            # As the next look judges it, so that it can be approved before that, too.
            if held_row.row.action is RowAction.GUARD:
                held_row = HeldRow(held_row.row, HoldReason.GUARD, held_row.detail)
            elif who:
                held_row = build_rejected_hold(held_row.row)
            decided.append(
                replace(
                    hold, held_row=held_row, number=number, rejected_by=who, rejected_reason=reason
                )
            )
        elif hold.held_row.reason is not HoldReason.APPROVED:
            decided.append(hold)
    return decided


def _require_approvable(hold: HoldRow, rule: TargetRule, person: Person) -> None:
    held_row = hold.held_row
    if held_row.can_be_approved:
        if not can_approve(rule, held_row.row, person):
            approvers = format_approvers(rule, held_row.row)
            raise ActionRefused.from_summary(
                "You cannot approve this row",
                f"{held_row.row} needs approval from {approvers}, and {person.identity} is not one "
                "of them.",
                "Ask one of them to approve it: `approvals` in controller.yaml lists them.",
            )
        return
    reasons = {
        HoldReason.DEPENDENCY: (
            "Approve the row that it depends on: the controller then applies both."
        ),
        HoldReason.GUARD: "Approve the guard that stops it, if you can.",
        HoldReason.APPLYING: (
            "The controller is applying it with its current approvals: wait for the result."
        ),
    }
    if held_row.row.address.startswith("policy:"):
        reasons[HoldReason.GUARD] = "Change the manifests or the policy: nobody can approve this."
    raise ActionRefused.from_summary(
        "You cannot approve this row",
        f"{held_row.row}" + (f": {held_row.detail}" if held_row.detail else "") + ".",
        reasons.get(held_row.reason, ""),
    )


def _describe_holds(holds: Sequence[HoldRow], reason: str = "") -> str:
    """The rows as the audit has them: what they do, their digests, and why."""
    rows = [f"{hold.held_row.row} ({hold.row_digest})" for hold in holds[:_MAX_AUDITED_ROWS]]
    if len(holds) > len(rows):
        rows.append(f"{len(holds) - len(rows)} more")
    return ", ".join(rows) + (f"; {reason}" if reason else "")


_MAX_REASON_LENGTH = 1000


def normalize_reason(reason: str) -> str:
    """A reason in one line; refused for one that is too long."""
    if len(reason) > _MAX_REASON_LENGTH:
        raise ActionRefused.from_summary(
            "The reason is too long",
            f"It has {len(reason)} characters; the limit is {_MAX_REASON_LENGTH}.",
            "Shorten the reason, or link to a page with the full reason.",
        )
    return " ".join("".join(c if c.isprintable() else " " for c in reason).split())
