"""How a run is recorded, in one transaction: run, target, holds, approvals, audit, messages."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.controller.loop.brakes import count_restored, is_known_drift
from synapse_apply.controller.loop.claiming import ClaimedTarget, FinishedRun
from synapse_apply.controller.loop.deciding import TargetDecision, end_approval
from synapse_apply.controller.loop.parts import LARGE_CHARACTERS, LargeDocuments, LoopParts
from synapse_apply.controller.loop.rollouts import record_evidence
from synapse_apply.controller.page.addresses import build_run_path, build_target_path
from synapse_apply.controller.planned_rows import RowAction
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import (
    HoldRow,
    RunCause,
    RunOutcome,
    RunRow,
    RunVerb,
    TargetCondition,
    TargetRow,
)
from synapse_apply.controller.rules.assessment import Assessment
from synapse_apply.controller.rules.due import HELD_UP_SECONDS
from synapse_apply.controller.rules.judging import is_moved_row
from synapse_apply.controller.rules.revisions import list_target_events
from synapse_apply.controller.rules.targets import is_same_as_last_run, target_row_after_run
from synapse_apply.controller.settings import Event, Mode
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.model.frozen import replace


class RunRecord:
    """One run of a claimed target, what was decided of it, and how it is written."""

    def __init__(
        self,
        parts: LoopParts,
        claimed: ClaimedTarget,
        run: FinishedRun,
        decision: TargetDecision,
        assessment: Assessment,
    ) -> None:
        self._parts, self._claimed, self._looked = parts, claimed, claimed.row
        self._run, self._result = run, run.result
        self._decision, self._assessment = decision, assessment

    def write(self) -> None:
        """Write what a look found, or an apply did, unless the claim is another's by now."""
        try:
            self._write()
        except BaseException:
            # The store may have kept what was to be emptied: it is asked again.
            self._parts.large_documents.pop(self._looked.name.source, None)
            raise

    def _write(self) -> None:
        parts, name = self._parts, self._looked.name
        size = len(self._result.plan_json) + len(self._result.report_json)
        if size >= LARGE_CHARACTERS and name.source not in parts.large_documents:
            # It reads all of the source: before the transaction, in which others wait.
            stored = parts.store.list_document_sizes(name.source, LARGE_CHARACTERS)
            parts.large_documents.setdefault(name.source, LargeDocuments(stored))
        with parts.write() as writer:
            row = parts.store.find_target(name)
            if row is None or not writer.is_claim_own(name, parts.holder, self._claimed.epoch):
                return
            if self._result.held_up_by_run:
                # Another run is at work: what was seen in its middle would be told as drift.
                parts.count_postponed_run()
                due_at = parts.clock.read_wall() + HELD_UP_SECONDS
                writer.put(replace(row, due_at=due_at, begun_apply=None))
                event, reason = f"{self._run.verb.value} postponed", "another run has the lock"
                parts.log("info", event, target=name, reason=reason)
            else:
                self._write_run(writer, row)
            if row.begun_apply:
                writer.delete_apply_log(name)
            writer.release_claim(name, parts.holder, self._claimed.epoch)
            writer.count_change(name.source)

    def _write_run(self, writer: StoreWriter, before: TargetRow) -> None:
        parts, looked, run = self._parts, self._looked, self._run
        begun, row = before.begun_apply, replace(before, begun_apply=None)
        run_row = self._build_run_row()
        if begun is not None and run_row.outcome is RunOutcome.WORKER_LOST:
            run_row = replace(run_row, approved_by=begun.approved_by)
        last = next(iter(parts.store.newest_runs(row.name, 1)), None)
        has_same_inputs = row.input_digest == looked.wanted_digest
        run_id = run.id
        if (
            last is not None
            and run.verb is last.verb is RunVerb.LOOK
            and is_same_as_last_run(last, run_row, has_same_inputs=has_same_inputs)
        ):
            run_id = last.id
            writer.count_repeated_look(last.id, run.ended_at)
        else:
            writer.put(run_row)
            if documents := parts.large_documents.get(row.name.source):
                for old_run in documents.add_and_take_superfluous(run_row):
                    writer.empty_documents(old_run)
        holds_before = holds = parts.store.list_holds(row.name)
        # A run that failed before it had a plan says nothing of its rows.
        if self._result.rows or not self._result.outcome.is_failure:
            holds = self._build_holds(holds_before, run_id)
            if holds != holds_before:
                writer.replace_holds(row.name, holds)
        guard_count = sum(hold.held_row.row.action is RowAction.GUARD for hold in holds)
        after = target_row_after_run(
            row,
            looked,
            run_id,
            self._result,
            replace(self._assessment, hold_count=len(holds), held_guard_count=guard_count),
            verb=run.verb,
            now=parts.clock.read_wall(),
            rule=self._decision.rule,
            defaults=parts.settings.defaults,
            chance=parts.clock.draw_fraction(),
        )
        after = record_evidence(
            parts, writer, after, self._claimed, run, self._decision, self._assessment
        )
        after = count_restored(parts, writer, row, after, self._run, self._decision)
        writer.put(after)
        writer.mark_approvals_used(self._result.used_approvals, run.id, run.ended_at)
        self._end_approvals(writer, last)
        self._end_approvals_of_now(writer)
        calls = run_row.calls
        if run.verb is RunVerb.APPLY:
            detail = f"run {run.id} of {run_row.commit}: {run_row.outcome.value}"
            detail += f", {calls.done} done"
            for word in ("failed", "unknown", "skipped"):
                detail += f", {count} {word}" if (count := getattr(calls, word)) else ""
            if run_row.approved_by:
                detail += f"; approved by {', '.join(run_row.approved_by)}"
            writer.append_audit(run.ended_at, parts.who, "apply", str(row.name), detail)
        # A warning of the plan is no reason for what is told.
        error = next((finding for finding in run_row.findings if finding.is_error), None)
        events = list_target_events(row, after)
        # Of what was restored often people are told once.
        if is_known_drift(after, self._decision):
            events = [event for event in events if event is not Event.DRIFT]
        # What a person has to decide is more than before, though the word is the same.
        new_holds = {one.row_digest for one in holds} - {one.row_digest for one in holds_before}
        if not events and after.state is TargetCondition.HELD and new_holds:
            events = [Event.HELD]
        for event in events:
            is_of_holds = event is Event.HELD and bool(holds)
            page = build_target_path(row.name) if is_of_holds else build_run_path(after.last_run)
            parts.queue_messages(
                writer,
                event,
                f"{after.name} {after.state.value} in {run.id}",
                source=after.name.source,
                target=after.name,
                commit=run_row.commit,
                finding=error,
                counts=run_row.counts,
                holds=holds if is_of_holds else (),
                failure_count=after.failures if event is Event.FAILED else 0,
                page=page,
            )
        if run_id != run.id:
            return
        self._wake_waiting(writer)
        parts.log(
            "warn" if run_row.outcome.is_failure else "info",
            run.verb.value,
            target=row.name,
            run=run.id,
            cause=run_row.cause.value,
            commit=run_row.commit,
            outcome=run_row.outcome.value,
            state=after.state.value,
            changes=run_row.counts.row_count_without_guards,
            drifted=run_row.counts.drifted,
            held=after.hold_count or "",
            done=calls.done if run.verb is RunVerb.APPLY else "",
            failed=calls.failed or "",
            unknown=calls.unknown or "",
            skipped=calls.skipped or "",
            approved_by=", ".join(run_row.approved_by),
            stopped=run_row.stop_reason,
            seconds=run.ended_at - run.began_at,
            summary=error.summary if error else "",
        )

    def _build_run_row(self) -> RunRow:
        looked, run, result = self._looked, self._run, self._result
        cause = looked.due_cause
        # An approval may come while a look for another reason is under way.
        if result.used_approvals:
            cause = RunCause.APPROVED
        elif cause is RunCause.APPROVED and run.verb is RunVerb.LOOK:
            # Where nothing approved is left, an apply has just done it.
            cause = cause if self._decision.terms.approvals else RunCause.APPLIED
        return RunRow(
            id=run.id,
            target=looked.name,
            commit=looked.wanted_commit,
            cause=cause,
            began_at=run.began_at,
            ended_at=run.ended_at,
            outcome=result.outcome,
            counts=result.counts,
            findings=result.findings,
            plan_json=result.plan_json,
            result_digest=result.result_digest,
            verb=run.verb,
            calls=result.calls,
            approved_by=self._decision.approvers_by_ids(result.used_approvals),
            stop_reason=result.stop_reason,
            report_json=result.report_json,
            cause_detail=looked.due_detail if cause is RunCause.RESUMED else "",
        )

    def _build_holds(self, before: Sequence[HoldRow], run_id: str) -> list[HoldRow]:
        """The rows that wait after a run; one that waited before waits since then.

        In mode observe there is none but that of another backend.
        """
        looked, judgement = self._looked, self._decision.judgement
        is_observed = self._decision.rule.mode is Mode.OBSERVE
        old_holds = {hold.row_digest: hold for hold in before}
        holds: dict[str, HoldRow] = {}
        for held_row in judgement.held_rows:
            if is_observed and not is_moved_row(held_row.row):
                continue
            digest, number = held_row.row.digest, len(holds)
            new = HoldRow(looked.name, digest, held_row, "", "", self._run.ended_at)
            hold = replace(
                old_holds.get(digest) or new,
                held_row=held_row,
                commit=looked.wanted_commit,
                run=run_id,
                number=number,
            )
            holds.setdefault(digest, hold)
        # What is refused now, was applied in part, or could not be planned, may be the same row
        # again.
        is_known = self._run.verb is RunVerb.LOOK and not self._result.outcome.is_failure
        addresses = {row.address for row in (*judgement.refused_rows, *judgement.waiting_rows)}
        # Somebody has rejected one of these since that was decided.
        permitted = {row.digest for row in judgement.permitted_rows}
        permitted |= judgement.used_approvals.keys()
        for old in before:
            is_there = old.held_row.row.address in addresses or old.row_digest in permitted
            if old.rejected_by and (not is_known or is_there):
                holds.setdefault(old.row_digest, replace(old, number=len(holds)))
        return list(holds.values())

    def _end_approvals(self, writer: StoreWriter, last: RunRow | None) -> None:
        """Delete unused approvals of rows that a plan has no more: the same rows may come again.

        A plan with errors lacks rows that are there, and a run that ended before its plan has none.
        `last` is the run before: of an apply that was lost nobody has told which it used.
        """
        parts, name, now = self._parts, self._looked.name, self._run.ended_at
        lost = last.approved_by if last and last.outcome is RunOutcome.WORKER_LOST else ()
        outcome, digests = self._result.outcome, {row.digest for row in self._result.rows}
        if outcome is RunOutcome.PLAN_ERROR or not (digests or outcome is RunOutcome.IN_SYNC):
            return
        for approval in parts.store.list_approvals(name):
            is_returned = approval.id in self._result.returned_approvals
            if approval.used_at and is_returned:
                writer.put_approval(replace(approval, used_at=0.0, used_by_run=""))
                row = f"{approval.row} ({approval.row_digest})"
                text = f"its call was not done: {row}; approved by {approval.who}"
                writer.append_audit(now, parts.who, "return approval", str(name), text)
            is_used = approval.used_at and not is_returned
            is_used = is_used or approval.id in self._result.used_approvals
            if not is_used and approval.row_digest not in digests:
                is_lost = approval.who in lost
                why = "an apply that was cut short may have used it" if is_lost else "gone"
                end_approval(parts, writer, approval, why, now)

    def _end_approvals_of_now(self, writer: StoreWriter) -> None:
        """Delete what an apply of now has left, also where the check was not for that apply.

        In mode observe no approval waits, but of an apply that was asked for since.
        """
        parts, looked = self._parts, self._looked
        is_observed = self._decision.rule.mode is Mode.OBSERVE
        for approval in parts.store.list_approvals(looked.name):
            is_left = approval.is_of_now or (is_observed and not is_moved_row(approval.row))
            is_used = approval.used_at or approval.id in self._result.used_approvals
            is_later = is_observed and approval.approved_at > looked.due_at
            if is_left and not (is_used or is_later):
                why = "the apply that it was for has ended"
                end_approval(parts, writer, approval, why, self._run.ended_at)

    def _wake_waiting(self, writer: StoreWriter) -> None:
        """Have targets of the source due at once that wait for a verification in this one.

        It is found by the words of the refusal (`planning/verification.py`): one that is found for
        nothing is looked at once too often.
        """
        name, now = self._looked.name, self._parts.clock.read_wall()
        waiting = TargetFilter(name.source, TargetCondition.WAITING)
        cause, detail = RunCause.RESUMED, f"a verification in {name}"
        for row in self._parts.store.list_targets(waiting):
            if row.name != name and f"target {name.target} " in row.waiting_reason:
                writer.put(replace(row, due_at=now, due_cause=cause, due_detail=detail))
