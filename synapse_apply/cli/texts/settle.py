"""What `state settle` prints of open calls and of the ways to settle them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synapse_apply.applying.settle import ResolvedIntent
from synapse_apply.cli.console import Console
from synapse_apply.cli.flows.countdown import build_wait_callback
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import Exit
from synapse_apply.model.phrases import format_short_list
from synapse_apply.operations.wait_for_outcomes import wait_and_settle
from synapse_apply.planning.open_call_refusals import build_outcome_unknown_refusal
from synapse_apply.views.sanitize import sanitize
from synapse_apply.workspace.recovery_journal import JournalFile
from synapse_apply.workspace.target_session import TargetSession


def wait_settle_and_warn(
    console: Console, session: TargetSession, resolved_intents: Sequence[ResolvedIntent]
) -> list[ResolvedIntent]:
    """Wait for calls that are too recent and settle them; warns of calls that others settled."""
    settled_intents, settled_by_others = wait_and_settle(
        session, resolved_intents, build_wait_callback(console, session.pause)
    )
    if settled_by_others:
        detail = f"{format_short_list(settled_by_others)}: the state knows how they ended."
        console.write_findings([warning_finding("Another run settled calls meanwhile", detail)])
    return settled_intents


def print_resolved_intents(
    console: Console,
    resolved_intents: Sequence[ResolvedIntent],
    journal_files: Mapping[str, JournalFile],
    journal_findings: Sequence[Diagnostic] = (),
) -> int:
    """Print one line per call, and what to do about those still open; returns the exit code.

    `journal_files` are recovery journals that say an open call was done, by the call's id;
    `journal_findings` are warnings about such files.
    """
    console.write_findings(journal_findings)
    open_intents = [resolved for resolved in resolved_intents if resolved.is_open]
    if console.as_json:
        calls = [
            _build_call_document(
                resolved,
                _list_ways_to_settle(resolved, journal_files, console.typed_target),
            )
            for resolved in resolved_intents
        ]
        findings = [finding.to_json() for finding in journal_findings]
        console.write_document({"calls": calls, "open": len(open_intents), "diagnostics": findings})
    elif not resolved_intents:
        console.write_output("No call is open.\n")
    else:
        console.write_output(
            "".join(
                _format_resolved_intent(
                    resolved,
                    _list_ways_to_settle(resolved, journal_files, console.typed_target),
                )
                for resolved in resolved_intents
            )
        )
        settled_count = len(resolved_intents) - len(open_intents)
        console.write_output(f"\nSettled: {settled_count}. Still open: {len(open_intents)}.\n")
    return Exit.UNKNOWN if open_intents else Exit.OK


def _format_resolved_intent(resolved: ResolvedIntent, ways_out: Sequence[str]) -> str:
    intent = resolved.intent
    if resolved.is_open:
        ways_text = "".join(f"        * {sanitize(way_out)}\n" for way_out in ways_out)
        return (
            f"  ! {intent.address}: {intent.verb} of {intent.sent_at}: "
            f"{sanitize(resolved.reason)}\n"
            f"      Ways out:\n{ways_text}"
        )
    if resolved.is_done:
        return f"  {intent.address}: {intent.verb} was done (id {sanitize(intent.remote_id)})\n"
    return f"  {intent.address}: {intent.verb} was not done; the next apply may do it\n"


def _list_ways_to_settle(
    resolved: ResolvedIntent, journal_files: Mapping[str, JournalFile], typed_target: str
) -> tuple[str, ...]:
    """How an open call can be settled; () for a settled one."""
    if not resolved.is_open:
        return ()
    recovery_hint = (
        journal_files[resolved.intent.id].recovery_hint
        if resolved.intent.id in journal_files
        else ""
    )
    refusal = build_outcome_unknown_refusal(
        resolved.intent, resolved.seconds_until_resolvable, recovery_hint
    )
    return refusal.with_target(typed_target).ways_out


def _build_call_document(resolved: ResolvedIntent, ways_out: Sequence[str]) -> dict[str, Any]:
    intent = resolved.intent
    return {
        "address": str(intent.address),
        "verb": intent.verb,
        "sent_at": intent.sent_at,
        "plan_id": intent.plan_id,
        "result": intent.state.value,
        "id": intent.remote_id or None,
        "why": resolved.reason or None,
        "ways_out": list(ways_out),
    }
