"""What `state settle` prints of open calls and of the ways to settle them."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.cli.console import Console
from synapse_apply.library import SettledCall, SettledCalls
from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.command import name_target_in_commands
from synapse_apply.model.errors import Exit
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, IntentState
from synapse_apply.views.sanitize import sanitize


def print_settled_calls(console: Console, settled_calls: SettledCalls) -> int:
    """Print one line per call, and what to do about those still open; returns the exit code."""
    console.write_findings(settled_calls.findings)
    open_count = sum(call.resolved.is_open for call in settled_calls.calls)
    if console.as_json:
        calls = [
            _build_call_document(call, name_target_in_commands(call.ways_out, console.typed_target))
            for call in settled_calls.calls
        ]
        findings = [finding.to_json() for finding in settled_calls.findings]
        console.write_or_keep_document(
            {"calls": calls, "open": open_count, "diagnostics": findings}
        )
    elif not settled_calls.calls:
        console.write_output("No call is open.\n")
    else:
        console.write_output(
            "".join(
                _format_call(call, name_target_in_commands(call.ways_out, console.typed_target))
                for call in settled_calls.calls
            )
        )
        settled_count = len(settled_calls.calls) - open_count
        console.write_output(f"\nSettled: {settled_count}. Still open: {open_count}.\n")
    return Exit.UNKNOWN if settled_calls.has_open_calls else Exit.OK


def _format_call(call: SettledCall, ways_out: Sequence[str]) -> str:
    resolved, intent = call.resolved, call.resolved.intent
    ways_text = "".join(f"        * {sanitize(way_out)}\n" for way_out in ways_out)
    if resolved.is_open:
        return (
            f"  ! {intent.address}: {intent.verb} of {intent.sent_at}: "
            f"{sanitize(resolved.reason)}\n"
            f"      Ways out:\n{ways_text}"
        )
    if resolved.is_done:
        doubt = resolved.reason and f"; {resolved.reason}"
        return (
            f"  {intent.address}: {intent.verb} was done (id {sanitize(intent.remote_id)}){doubt}\n"
            f"{ways_text}"
        )
    if intent.state is IntentState.UNKNOWN:
        next_step = "the next plan shows what differs"
        if resolved.reason and intent.verb != REPLACE_VERB:  # its object is gone
            next_step = (
                "apply creates it again (with --recreate where no list shows that it is gone)"
            )
        return (
            f"  {intent.address}: whether {intent.verb} was done cannot be told"
            f"{sanitize(resolved.reason and f' ({resolved.reason})')}; {next_step}\n"
            f"{ways_text}"
        )
    option = " with --prune" if intent.verb == "delete" else ""
    next_step = f"the next apply{option} may do it"
    if resolved.record is None and intent.verb != CREATE_VERB:
        next_step = "nothing is recorded under this address"
    return f"  {intent.address}: {intent.verb} was not done; {next_step}\n{ways_text}"


def _build_call_document(call: SettledCall, ways_out: Sequence[str]) -> JsonDocument:
    resolved, intent = call.resolved, call.resolved.intent
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
