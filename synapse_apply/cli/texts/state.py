"""What the commands of `state` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.model.address import Address
from synapse_apply.model.codec import audit_entry_to_json
from synapse_apply.model.command import Command
from synapse_apply.model.errors import Exit
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.report import CheckStatus
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, Acceptance, IntentState
from synapse_apply.views.grammar import format_server_time, shorten_commit_and_suffix
from synapse_apply.views.json.documents import section_json
from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.findings import format_quoted_path
from synapse_apply.views.text.record import render_accepted, render_record
from synapse_apply.views.text.terminal import render_table

if TYPE_CHECKING:
    from synapse_apply import PastRun
    from synapse_apply.library import (
        AcceptableResource,
        BackendOffer,
        CreatedState,
        JournalContent,
        KeyInUse,
        SettledCall,
        SettledCalls,
    )

_DIGEST_LENGTH = 24
_RUN_FIELDS = frozenset({"plan_id", "run", "command", "dirty", "trace", "call", "put_back"})


def print_created_state(console: Console, created: CreatedState, offer: BackendOffer) -> int:
    """Print what was made, and what the backend offers; returns the exit code."""
    name, lineage = created.target, created.lineage
    if console.as_json:
        shared: JsonDocument = {}
        if (key := created.key) is not None:
            project_id, is_made = created.project_id, created.key_file is not None
            shared = {
                "project": {"id": project_id.text or None, "written": project_id.is_new},
                "key": {"id": key.key_id, "from": key.origin, "made": is_made},
            }
        backend = {
            "asked": not offer.unasked,
            "why_not": offer.unasked,
            "checks": section_json("Backend", offer.rows),  # in the form of `doctor --json`
        }
        console.write_or_keep_document(
            {"target": name, "lineage": lineage, **shared, "backend": backend}
        )
        return 0
    lines = [f"Created an empty state for target {name}, lineage {lineage}."]
    if not (created.is_pinned or created.is_of_list):
        lines.append(
            f"Pin the lineage in the project file: targets.{name}.state.lineage: {lineage}"
        )
    asked = f"The backend's features could not be read: {offer.unasked}."
    if offer.rows:
        rows = [f"{row.subject}: {row.summary}".removeprefix(": ") for row in offer.rows]
        asked = f"Backend: {'; '.join(rows)}."
        if any(row.status is not CheckStatus.OK for row in offer.rows):
            asked += f" {Command('doctor', target=name)} says more."
    console.write_output("".join(f"{line}\n" for line in (*lines, *created.steps)))
    console.write_once(f"{sanitize(asked)} {offer.empty_state_risk}\n")
    return 0


def print_key(console: Console, used: KeyInUse, copy: Path | None = None) -> int:
    """Print what is known of a state key, or where its `copy` is; returns the exit code."""
    key, state_keys = used.key, list(used.state_key_ids)
    others = [{"id": one.key_id, "from": one.origin} for one in used.other_keys]
    lines = [f"Target {used.target} has state key {key.key_id} from {key.origin}."]
    lines += [f"Key {one['id']} from {one['from']} can only verify signatures." for one in others]
    if used.is_of_another_state:
        lines.append(f"The state was created with a different key: {', '.join(state_keys)}.")
    elif state_keys:
        lines.append("The state was created with this key.")
    if used.ci_commands:
        command = Command("state key copy FILE", target=used.target)
        lines.append(
            f"Copy this file to the other machine, and run {command} there. For a pipeline:"
        )
        lines += [f"  {line}" for line in used.ci_commands]
    if copy is not None:
        lines = [f"State key {key.key_id} of target {used.target} is in {copy}."]
    document = {"target": used.target, "id": key.key_id, "from": key.origin, "others": others,
                "state_keys": state_keys, "copy": str(copy) if copy else None}  # fmt: skip
    console.show(document, "".join(f"{sanitize(line)}\n" for line in lines))
    return 0


def format_undone_acceptance(address: Address, acceptance: Acceptance) -> str:
    """What is no longer accepted."""
    names = ", ".join(sanitize(format_quoted_path(path)) for path in acceptance.paths)
    return f"No longer accepted for {address}: {names}. The next plan shows what differs.\n"


def show_acceptable(console: Console, acceptable: AcceptableResource) -> tuple[str, str]:
    """Print what would be accepted; returns question and detail, "" where nothing is asked."""
    address, fields = acceptable.resource.address, acceptable.differing_fields
    accepted = acceptable.accepted_fields
    console.write_output(
        render_accepted(address, fields, accepted, acceptable.notes, **console.layout)
    )
    console.write_findings(acceptable.findings)
    question = ""
    if fields:
        question = f"Accept {format_count_and_noun(len(fields), 'difference')} of {address}?"
    detail = (
        "Nothing is sent. Plans hide the difference until the live or the declared value changes."
    )
    if acceptable.record.is_package_untold:
        question = f"Is the published package of {address} yours? {question}".rstrip()
        detail += " You cannot undo the answer that the package is yours."
    return question, detail


def format_accepted(accepted: AcceptableResource, until: str = "") -> str:
    """What was accepted, and until the end of which day."""
    count = len(accepted.differing_fields)
    text = (
        f"Accepted {accepted.resource.address} with its live values: "
        f"{format_count_and_noun(count, 'difference') if count else 'no difference'}"
        f"{' not accepted before' if accepted.accepted_fields else ''}"
        f"{f', until the end of {until} (UTC)' if until else ''}.\n"
    )
    if accepted.record.is_package_untold:
        text += "Its published package is now treated as yours.\n"
    return text


def print_journal(console: Console, file: Path, journal: JournalContent) -> None:
    """Print all that a journal says which cannot be verified."""
    console.write_output(f"{file} cannot be verified: {journal.reason}.\nThe file says:\n")
    for number, ended_call in enumerate(journal.calls, start=1):
        intent, record = ended_call.intent, ended_call.record
        call = (
            f"{intent.verb} of {intent.address} (id {intent.remote_id or 'none'}): "
            f"{intent.state.value}, sent {intent.sent_at}, by {ended_call.audit_entry.who}"
        )
        text = "   It leaves no record.\n"
        if record is not None:
            text = render_record(record, color=console.is_output_colored)
        console.write_output(f"\n{number}. {sanitize(call)}\n{text}")


def print_runs_table(console: Console, runs: Sequence[PastRun]) -> int:
    """Print one row per run, the newest first; returns the exit code."""
    if console.as_json:
        console.write_or_keep_document({"runs": [build_run_document(run) for run in runs]})
    elif runs:
        rows = []
        for run in runs:
            # Who settled a call of another run stands beside who sent it.
            settled_by = [c.settled_by.partition(",")[0] for c in run.calls if c.settled_by]
            who = ", settled by ".join(dict.fromkeys([run.actor_name, *settled_by]))
            counts, commit = _format_call_counts(run), shorten_commit_and_suffix(run.commit_id)
            when = format_server_time(run.ended_at)
            rows.append((when, run.plan_id, run.command, counts, who, commit, run.run_url))
        headers = ("when", "plan", "command", "calls", "who", "commit", "run")
        console.write_output(render_table(headers, rows, color=console.is_output_colored))
    else:
        console.write_stderr("This state has no history yet.\n")
    return Exit.OK


def print_run_with_calls(console: Console, run: PastRun) -> int:
    """Print the facts of a run and one row per call, in order; returns the exit code."""
    if console.as_json:
        console.write_or_keep_document(build_run_document(run))
        return Exit.OK
    facts = {
        "plan": run.plan_id,
        "command": run.command,
        "calls": _format_call_counts(run),
        "who": run.actor_name,
        "run": run.run_url,
        "trace": run.trace_parent,
        "commit": run.commit_id,
        "differs from the commit": ", ".join(run.dirty_files),
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
        {name: fact for name, fact in audit_entry_to_json(call).items() if name not in _RUN_FIELDS}
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


def _format_call_counts(run: PastRun) -> str:
    return ", ".join(f"{count} {label}" for label, count in run.call_counts.items())


def print_settled_calls(console: Console, settled_calls: SettledCalls) -> int:
    """Print one line per call, and what to do about those still open; returns the exit code."""
    console.write_findings(settled_calls.findings)
    named = [(call, console.name_target(call.ways_out)) for call in settled_calls.calls]
    open_count = sum(call.resolved.is_open for call in settled_calls.calls)
    if console.as_json:
        document = {
            "calls": [_build_call_document(call, ways_out) for call, ways_out in named],
            "open": open_count,
            "diagnostics": [finding.to_json() for finding in settled_calls.findings],
        }
        console.write_or_keep_document(document)
    elif not named:
        console.write_output("No call is open.\n")
    else:
        console.write_output("".join(_format_call(call, ways_out) for call, ways_out in named))
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
        next_step = f"the next plan {'warns about that' if is_untold else 'shows what differs'}"
        if resolved.reason and intent.verb not in {CREATE_VERB, REPLACE_VERB}:  # its object is gone
            next_step = (
                "apply creates it again (with --recreate if no list proves that the object is gone)"
            )
        return (
            f"  {intent.address}: it is unknown whether {intent.verb} was done"
            f"{sanitize(resolved.reason and f' ({resolved.reason})')}; {next_step}\n{ways_text}"
        )
    option = " with --prune" if intent.verb == "delete" else ""
    next_step = f"the next apply{option} may repeat it"
    if resolved.reason:  # somebody else made its object
        next_step = f"{sanitize(resolved.reason)}; the next plan shows what differs"
    if resolved.record is None and intent.verb != CREATE_VERB:
        next_step = "the state has no record of this address"
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
