"""What `state history` and `state settle` print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.model.codec import audit_entry_to_json
from synapse_apply.model.command import name_target_in_commands
from synapse_apply.model.errors import Exit
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, IntentState
from synapse_apply.views.grammar import format_server_time, shorten_commit_and_suffix
from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.terminal import render_table

if TYPE_CHECKING:
    from synapse_apply import PastRun
    from synapse_apply.library import SettledCall, SettledCalls

_DIGEST_LENGTH = 24
_RUN_FIELDS = frozenset({"plan_id", "run", "command", "dirty", "trace"})


def print_runs_table(console: Console, runs: Sequence[PastRun]) -> int:
    """Print one row per run, the newest first; returns the exit code."""
    if console.as_json:
        console.write_or_keep_document({"runs": [build_run_document(run) for run in runs]})
    elif runs:
        rows = [
            (
                *(
                    format_server_time(run.ended_at),
                    run.plan_id,
                    run.command,
                    _format_call_counts(run.call_counts),
                ),
                # Who settled a call of another run stands beside who sent it.
                ", settled by ".join(
                    dict.fromkeys(
                        [run.actor_name]
                        + [c.settled_by.partition(",")[0] for c in run.calls if c.settled_by]
                    )
                ),
                *(shorten_commit_and_suffix(run.commit_id), run.run_url),
            )
            for run in runs
        ]
        headers = ("when", "plan", "command", "calls", "who", "commit", "run")
        console.write_output(render_table(headers, rows, color=console.is_output_colored))
    else:
        console.write_stderr("Nothing was done with this state yet.\n")
    return Exit.OK


def print_run_with_calls(console: Console, run: PastRun) -> int:
    """Print the facts of a run and one row per call, in order; returns the exit code."""
    if console.as_json:
        console.write_or_keep_document(build_run_document(run))
        return Exit.OK
    facts = {
        "plan": run.plan_id,
        "command": run.command,
        "calls": _format_call_counts(run.call_counts),
        "who": run.actor_name,
        "run": run.run_url,
        "trace": run.trace_parent,
        "commit": run.commit_id,
        "not as in the commit": ", ".join(run.dirty_files),
    }
    facts_text = "".join(f"{name}: {sanitize(fact)}\n" for name, fact in facts.items() if fact)
    console.write_output(escape_ci_commands(facts_text))
    rows = [
        (
            format_server_time(call.at),
            call.address,
            call.verb,
            call.remote_id,
            call.request_id,
            call.digest[:_DIGEST_LENGTH],
            f"{call.result}, by {call.settled_by}" if call.settled_by else call.result,
        )
        for call in run.calls
    ]
    headers = ("when", "address", "call", "id", "request", "digest", "result")
    console.write_output("\n" + render_table(headers, rows, color=console.is_output_colored))
    return Exit.OK


def build_run_document(run: PastRun) -> JsonDocument:
    """A run with its calls, as JSON."""
    calls = [
        {
            name: value
            for name, value in audit_entry_to_json(call).items()
            if name not in _RUN_FIELDS
        }
        for call in run.calls
    ]
    return {
        "plan_id": run.plan_id,
        "at": run.ended_at,
        "who": run.actor_name,
        "run": run.run_url,
        **({"traceparent": run.trace_parent} if run.trace_parent else {}),
        "commit": run.commit_id,
        "dirty_files": list(run.dirty_files),
        "command": run.command,
        "counts": run.call_counts,
        "results": run.result_counts,
        "calls": calls,
    }


def _format_call_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {label}" for label, count in counts.items())


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
        is_untold = resolved.record is not None and resolved.record.is_package_untold
        next_step = f"the next plan {'warns of that' if is_untold else 'shows what differs'}"
        if resolved.reason and intent.verb not in {CREATE_VERB, REPLACE_VERB}:  # its object is gone
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
