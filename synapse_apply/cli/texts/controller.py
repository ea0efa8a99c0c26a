"""What is asked of a running controller, decided there and printed of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from synapse_apply.cli.console import Console, ask_approval
from synapse_apply.controller.remote.controller_api import (
    TOKEN_VARIABLE,
    URL_VARIABLE,
    ControllerApi,
    ControllerUnavailable,
    NotSettledInTime,
    settled_exit_code,
    wait_until_settled,
)
from synapse_apply.controller.rows import COUNT_WORDS, describe_first_checks, say
from synapse_apply.controller.rules.processes import describe_role_counts
from synapse_apply.controller.rules.revisions import describe_holds
from synapse_apply.controller.verbs import APPROVE, ROLL_BACK
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import (
    Exit,
    InputError,
    NotApproved,
    Refused,
    Stale,
    SynapseApplyError,
)
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.views.grammar import format_duration
from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.findings import format_quoted_path
from synapse_apply.views.text.terminal import render_table

if TYPE_CHECKING:
    from synapse_apply.controller.api_types import Hold, ListedRollout, RollbackPlan, Wave
    from synapse_apply.controller.audit_report import AuditReport
    from synapse_apply.controller.remote.answers import ShownField
    from synapse_apply.controller.verbs import Verb


def open_controller_api(console: Console, url: str) -> ControllerApi:
    """The API of the controller at a URL, with the token of the environment.

    UsageError where no URL is given, InputError for one that cannot be used.
    """
    if not url:
        raise click.UsageError(f"Specify the controller with --url URL or {URL_VARIABLE}.")
    return ControllerApi(url, console.environ.get(TOKEN_VARIABLE, ""))


def choose_controller_url(url: str) -> str:
    """The URL that is asked, "" where a data folder is read; UsageError where both are typed."""
    context = click.get_current_context()
    if context.get_parameter_source("data") is not ParameterSource.COMMANDLINE:
        return url
    if context.get_parameter_source("url") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--data and --url cannot be combined.")
    return ""


def request_each(console: Console, names: Iterable[str], ask: Callable[[str], str]) -> int:
    """Ask for one thing after the other, and print what was done; the worst exit code.

    `ask` returns that, in lines. A refusal of one does not keep the others from being asked for.
    """
    codes = [Exit.OK]
    for name in names:
        try:
            console.write_output(_text(ask(name).splitlines()))
        except ControllerUnavailable:
            raise
        except SynapseApplyError as problem:
            console.write_findings(problem.diagnostics)
            codes.append(problem.exit_code)
    return Exit.select_exit_code(*codes)


def list_matching(patterns: Sequence[str], match: Callable[[str], Sequence[str]]) -> list[str]:
    """What the patterns match, each once; InputError for one that matches nothing."""
    found = {pattern: match(pattern) for pattern in patterns}
    if missing := [pattern for pattern, names in found.items() if not names]:
        raise no_target_error(missing)
    return list(dict.fromkeys(name for names in found.values() for name in names))


def no_target_error(patterns: Sequence[str]) -> InputError:
    return InputError.from_summary(
        "No target matches",
        f"The controller has no target that matches {', '.join(patterns)}.",
        Text("List the targets with ", Command("controller status"), "."),
    )


def wait_for_targets(
    console: Console, api: ControllerApi, names: Sequence[str], span: timedelta
) -> int:
    """Wait until nothing is done with targets or due, and print them; the worst exit code.

    Those that were not in time are findings, and count as errors.
    """
    end, codes = time.monotonic() + span.total_seconds(), [Exit.OK]
    told: set[str] = set()

    def tell(item: Mapping[str, Any]) -> None:
        lines = [line for line in _iter_running_lines(item) if line not in told]
        told.update(lines)
        console.write_output(_text(lines))

    targets: list[Mapping[str, Any]] = []
    source_findings: dict[str, Mapping[str, Any]] = {}
    for name in names:
        remaining = max(0.0, end - time.monotonic())
        try:
            target = wait_until_settled(
                api, name, remaining, read_counter=time.monotonic, sleep=time.sleep, tell=tell
            )
        except NotSettledInTime as problem:
            console.write_findings(problem.diagnostics)
            codes.append(Exit.ERROR)
            continue
        targets.append(target.item)
        source_findings |= {str(entry["source"]): entry for entry in target.source_findings}
        codes.append(settled_exit_code(api, name, target))
    if targets:
        print_target_list(
            console, {"items": targets, "source_findings": [*source_findings.values()]}
        )
    return Exit.select_exit_code(*codes)


def choose_rows_by_target(
    console: Console, api: ControllerApi, pattern: str, row_digests: Sequence[str], verb: Verb
) -> dict[str, list[Hold]]:
    """The rows that somebody decides on: those with these digests, else all, after a question.

    Of many targets those are shown together whose rows say the same.

    None, with a line that says so, where there is nothing to decide. Raises Stale for a digest that
    does not wait any more, Refused for one that nobody can approve, InputError where no target
    matches and where nobody can be asked, NotApproved where the answer is no.
    """
    is_approval = verb == APPROVE  # others may be said of rows that nobody can approve, too
    rows_by_target = {
        name: [
            row
            for row in api.list_held_rows(name)
            if not (is_approval and row.reason == "approved")
            # What was rejected keeps its reason, unless its digest says so.
            if row_digests
            or not (row.reason == "applying" or (row.rejected_by and not is_approval))
        ]
        for name in list_matching([pattern], api.names_matching)
    }
    rows = [row for of_target in rows_by_target.values() for row in of_target]
    if row_digests:
        chosen = _select_rows(rows, pattern, row_digests, verb)
    else:
        chosen = [row for row in rows if _is_yours(row) or not is_approval]
        shown = {name: some for name, some in rows_by_target.items() if some}
        alike: dict[tuple[object, ...], tuple[tuple[str, ...], list[str]]] = {}
        for name, some in shown.items():
            # What the plans that held the rows say of their fields; nothing of one too large.
            fields: ShownFields = {}
            for run in {row.run for row in some if row.run}:
                with suppress(ControllerUnavailable):
                    fields[run] = api.read_planned_fields(run)
            # A script has to name the digests, which no two targets share.
            has_digests = len(shown) == 1 or not console.is_interactive
            is_short = console.is_interactive
            lines = tuple(
                _iter_held_lines(some, fields, has_digests=has_digests, is_short=is_short)
            )
            # By whole values, as lines cut long ones; what cannot be read may differ.
            values = [_fields_of(row, fields) for row in some]
            key = (lines, name) if None in values else (lines, *values)
            alike.setdefault(key, (lines, []))[1].append(name)
        for lines, names in alike.values():
            console.write_output(format_held_rows(names, api.url, len(shown[names[0]]), lines))
        if not shown:
            console.write_output(sanitize(f"No row of {pattern} awaits approval.") + "\n")
        if chosen:
            count = format_count_and_noun(len(chosen), "row")
            _ask_of_shown(
                console,
                verb,
                "the digest of each row",
                "Add --row DIGEST for each row that you have reviewed.",
                f"{verb.name.capitalize()} {count} of {pattern}?",
                "The rows above that can be approved."
                if len(chosen) < len(rows)
                else "The rows above.",
                _PAST[verb.name],
            )
    digests = {row.digest for row in chosen}
    by_target = {
        name: [row for row in some if row.digest in digests]
        for name, some in rows_by_target.items()
    }
    return {name: some for name, some in by_target.items() if some}


def _select_rows(
    rows: Sequence[Hold], target: str, row_digests: Sequence[str], verb: Verb
) -> list[Hold]:
    rows_by_digest = {row.digest: row for row in rows}
    if gone_digests := [digest for digest in row_digests if digest not in rows_by_digest]:
        raise Stale.from_summary(
            "The rows have changed",
            f"{target} no longer has {', '.join(gone_digests)}: the row is applied or has changed.",
            f"Review the current rows, then {verb.name} them.",
        )
    named_rows = [rows_by_digest[digest] for digest in dict.fromkeys(row_digests)]
    fixed = [row for row in named_rows if not (row.can_be_approved or row.reason == "applying")]
    if verb == APPROVE and fixed:
        names = ", ".join(row.address for row in fixed)
        raise Refused.from_summary(
            "You cannot approve a row",
            f"{names}: the row depends on another row, or a policy stops it.",
            "Approve the row that it depends on, or change the manifests.",
        )
    return named_rows


def _ask_of_shown(
    console: Console, verb: Verb, needed: str, hint: str, question: str, detail: str, past: str
) -> None:
    """InputError where nobody can be asked, NotApproved where the answer is no."""
    if not console.is_interactive:
        raise InputError.from_summary(
            "There is no terminal to ask for confirmation",
            f"Without a terminal, `{verb.name}` needs {needed}.",
            hint,
        )
    if not ask_approval(console, sanitize(question), sanitize(detail)):
        raise NotApproved.from_summary(f"Nothing was {past}", "The answer was not `yes`.")


_PAST = {"approve": "approved", "reject": "rejected"}


def decide_on_rollout(
    console: Console,
    verb: Verb,
    *,
    url: str,
    name: str,
    revision: str | None,
    wave: int | None = None,
    reason: str = "",
) -> int:
    """Ask a controller for a decision on the revision and wave that are shown, or were seen.

    Raises Stale where it has another revision or wave than those that were named, Refused where
    this cannot be asked of it, InputError where nobody can be asked, NotApproved where the answer
    is no.
    """
    is_of_wave = "wave" in verb.subject.value
    if is_of_wave and bool(revision) != bool(wave):
        raise click.UsageError("Specify both --revision and --wave.")
    api = open_controller_api(console, url)
    rollout = api.read_rollout(name).document
    # One that could be asked of it in several states is refused by the controller in the others.
    only, *others = (state.value for state in verb.states)
    is_over = rollout.state in {"done", "aborted", "not begun"}
    if is_over or not (others or rollout.state == only):
        requirement = (
            f"`{verb.name}` needs a rollout that is {'in progress' if others else say(only)}."
        )
        raise Refused.from_summary(
            f"The rollout is {say(rollout.state)}",
            f"{rollout.name}: {rollout.description or rollout.state}. {requirement}",
        )
    if revision:
        if rollout.commit != revision:
            raise Stale.from_summary(
                "The rollout now has a different revision",
                f"{rollout.name} has {rollout.commit}, not {revision}.",
                "Review the rollout, then decide.",
            )
        if wave not in {None, rollout.wave}:
            raise Stale.from_summary(
                "The rollout is now at a different wave",
                f"{rollout.name} is at wave {rollout.wave} of {rollout.wave_count}, not at {wave}.",
                "Review the rollout, then decide.",
            )
    else:
        console.write_output(format_rollout(rollout, color=console.is_output_colored))
        _ask_of_shown(
            console,
            verb,
            "the revision that you saw",
            f"Add --revision COMMIT{' --wave N' * is_of_wave}, as `rollout status` shows.",
            f"{verb.question.format(wave=rollout.wave)} of rollout {rollout.name}?",
            f"Revision {rollout.commit[:12]}, as above.",
            "decided",
        )
    asked_wave = rollout.wave if is_of_wave else 0
    result = api.ask_rollout(name, verb, rollout.number, asked_wave, reason)
    text = verb.result.format(
        wave=rollout.wave, name=rollout.name, commit=rollout.commit[:12], who=result.who
    )
    console.write_output(escape_ci_commands(f"{sanitize(text)}\n"))
    return 0


_PLANNING_SECONDS = 1.0
_EFFECTS = {
    "refused": "cannot go back",
    "stays": "stays, and is no longer managed",
    "held": "needs approval",
    "waiting": "waits",
    "applied": "is applied",
}


def roll_back(
    console: Console, *, url: str, pattern: str, revision: str, reason: str, is_asking: bool
) -> int:
    """Show what the rollback of targets does, ask, and have it done; the worst exit code.

    Raises Stale where a plan is another by then, Refused where the controller may not apply the
    revision there, InputError where nobody can be asked, NotApproved where the answer is no.
    """
    api = open_controller_api(console, url)
    plans = []
    for name in list_matching([pattern], api.names_matching):
        while not (plan := api.plan_rollback(name, revision, reason)).digest:
            time.sleep(_PLANNING_SECONDS)
        plans.append(plan)
        console.write_output(_format_planned_rollback(plan))
    if is_asking:
        _ask_of_shown(
            console,
            ROLL_BACK,
            "--auto-approve",
            "Add --auto-approve after you have reviewed what the rollback does.",
            f"Roll {pattern} back to {plans[0].commit[:12]}?",
            "As above.",
            "rolled back",
        )

    def ask(plan: RollbackPlan) -> str:
        while not api.is_rolled_back(plan, reason):
            time.sleep(_PLANNING_SECONDS)
        return ROLL_BACK.result.format(target=plan.target, commit=plan.commit[:12])

    by_name = {plan.target: plan for plan in plans}
    return request_each(console, by_name, lambda name: ask(by_name[name]))


def _format_planned_rollback(plan: RollbackPlan) -> str:
    """What a rollback does, row by row, what cannot go back first."""
    lines = [f"{plan.target} back to {plan.commit[:12]}:"]
    for row in plan.rows:
        lines.append(f"  {_EFFECTS.get(row.effect, row.effect)}: {row.address}: {row.summary}")
        lines += [f"      {row.detail}"] * bool(row.detail)
    return _text(lines if plan.rows else [f"{lines[0]} there is nothing to change."])


def print_target_list(console: Console, document: Mapping[str, Any]) -> None:
    """Print a TargetList of the controller's API, as its JSON or as a table."""
    if console.as_json:
        console.write_or_keep_document(document)
        return
    color = console.is_output_colored
    # A table of what is wrong with sources, and an empty line after it; nothing for none.
    findings = [(one["source"], one["finding"]) for one in document.get("source_findings", ())]
    wrong = [
        (source, finding["summary"], str(finding.get("detail") or "-").partition("\n")[0])
        for source, finding in findings
    ]
    if wrong:
        heads = ("source", "what is wrong", "detail")
        console.write_output(render_table(heads, wrong, color=color) + "\n")
    if not document["items"]:
        console.write_output(
            "There is no target to list: none matches the given names, the controller has read no"
            " source yet, or no rule of `sources.NAME.targets` matches a target. The controller's "
            "log, and the sources on its page, show what is wrong.\n"
        )
        return
    rows = [
        (
            say(item["state"]),
            item["name"],
            *((item.get(f"{name}_commit") or "-")[:7] for name in ("applied", "wanted")),
            ", ".join(
                f"{item['counts'][name]} {words}"
                for name, words in COUNT_WORDS.items()
                if item["counts"].get(name)
            )
            or "-",
            item.get("looked_at") or "-",
            _target_reason(item),
        )
        for item in document["items"]
    ]
    headers = ("condition", "target", "live", "target revision", "plan", "checked", "reason")
    console.write_output(render_table(headers, rows, color=color))
    if lines := [line for item in document["items"] for line in _iter_running_lines(item)]:
        console.write_output("\n" + _text(lines))
    unchecked = sum(item["state"] == "not looked at" for item in document["items"])
    if progress := describe_first_checks(unchecked, len(rows)):
        console.write_output(f"\n{progress}\n")
    if pauses := document.get("pauses"):
        line = "{scope} is paused by {who} until {until}: {reason}"
        console.write_output("\n" + _text(line.format_map(pause) for pause in pauses))
    _print_processes(console, document.get("processes", ()))


def _iter_running_lines(item: Mapping[str, Any]) -> Iterator[str]:
    """What a target's apply has begun while it runs, a line for each row as it stands."""
    for call in item.get("running_calls") or ():
        end = (
            f"{call['result']} ({format_duration(call['seconds'])})"
            if call["result"]
            else "running"
        )
        row = f"row {call['number']} of {call['total']}"
        yield f"{item['name']}, {row}: {call['action']} {call['address']}: {end}"


def _print_processes(console: Console, processes: Sequence[Mapping[str, Any]]) -> None:
    """How many processes share the work, and which differ; nothing where it is one alone."""
    if not processes:
        return
    leader = next((item for item in processes if item["is_leading"]), None)
    roles = describe_role_counts([item["role"] for item in processes])
    lead = (
        f"{leader['host']} (process {leader['process_id']}) leads" if leader else "no process leads"
    )
    lines = [f"{roles}; {lead}."]
    lines += [
        f"{item['host']} (process {item['process_id']}) has {item['difference']}."
        for item in processes
        if item["difference"]
    ]
    console.write_output("\n" + "".join(f"{sanitize(line)}\n" for line in lines))


def _target_reason(item: Mapping[str, Any]) -> str:
    """Why a target is in its state: its finding, what waits for a person, what it waits for."""
    if finding := item.get("finding"):
        match finding.get("range"):
            case {"filename": str(file), "start": {"line": int(line)}}:
                place = f" ({file}:{line})"
            case _:
                place = ""
        cause = str(finding.get("detail") or "").partition("\n")[0]
        reason = item.get("waiting_reason")
        return "; ".join(
            filter(None, (f"{finding['summary']}{place}{f': {cause}' if cause else ''}", reason))
        )
    counts = (item.get(f"{name}_count") or 0 for name in ("hold", "held_guard", "applying"))
    hold_phrase = describe_holds(*counts)
    unknown_phrase = "the outcome of a call is unknown" if item["state"] == "unknown" else ""
    return "; ".join(filter(None, (unknown_phrase, hold_phrase, item.get("waiting_reason"))))


# What the rows of a run's plan change, by the run and by address.
ShownFields = dict[str, dict[str, "tuple[ShownField, ...]"]]
_MAX_VALUE_LENGTH = 2000
# Of rows whose detail says nothing more.
_REASON_PHRASES = {
    "approval": "in mode approve, every row needs approval",
    "guard": "the guard stops the plan",
    "approved": "the row is approved, but not applied yet",
    "applying": "the controller is applying the row",
}


def format_held_rows(names: Sequence[str], url: str, count: int, lines: Iterable[str]) -> str:
    """The `count` rows of a target, or of each of several, as `_iter_held_lines` has them."""
    verb = "awaits" if count * len(names) == 1 else "await"
    of_whom = f"each of {len(names)} targets" if len(names) > 1 else names[0]
    head = f"{format_count_and_noun(count, 'row')} of {of_whom} {verb} approval:"
    plan = "The whole plan" if len(names) == 1 else "The whole plan of the first"
    targets = [f"  {name}" for name in names] if len(names) > 1 else []
    return _text([head, *targets, *lines, "", f"{plan}: {url}/targets/{names[0]}"])


def _iter_held_lines(
    rows: Sequence[Hold], fields: ShownFields, *, has_digests: bool, is_short: bool
) -> Iterator[str]:
    """The rows with their fields, why each waits, and the digest of each that can be approved."""
    commit = ""
    for row in rows:
        yield ""
        yield from _iter_row_lines(row, _fields_of(row, fields) or ())
        if row.can_be_approved and has_digests:
            yield f"    {_shorten_digests(row.digest) if is_short else row.digest}"
        if not _is_yours(row):
            yield f"    cannot be approved{'' if row.is_yours else ' by you'}"
        if row.commit not in {"", commit}:
            yield f"    at: {row.commit[:12]}"
            commit = row.commit
    if any(_fields_of(row, fields) is None for row in rows):
        yield ""
        yield "The command could not read what some rows change. Review them on the page first."


def _fields_of(row: Hold, fields: ShownFields) -> Sequence[ShownField] | None:
    """What a row changes, nothing of a guard; None where it could not be read."""
    return () if row.action == "guard" else fields.get(row.run, {}).get(row.address)


def _is_yours(row: Hold) -> bool:
    return row.can_be_approved and row.is_yours


def _text(lines: Iterable[str]) -> str:
    return escape_ci_commands("".join(f"{sanitize(line)}\n" for line in lines))


def format_row_result(
    verb: Verb, target: str, rows: Sequence[Hold], who: str, rows_left: Sequence[Hold] = ()
) -> str:
    """What was decided, and what is still needed of the rows that wait after it."""
    count = format_count_and_noun(len(rows), "row")
    lines = [verb.result.format(rows=count, target=target, who=who)]
    digests = {row.digest for row in rows}
    for row in rows_left:
        if row.digest in digests:
            lines += _approval_lines(row, who)
    return "\n".join(map(sanitize, lines))


def _iter_row_lines(row: Hold, fields: Sequence[ShownField]) -> Iterator[str]:
    name = f"guard {row.address}" if row.action == "guard" else row.address
    yield f"  {name}: {row.summary or row.action}"
    for field in fields:
        values = [_cut_value(value) for value in (field.before, field.after) if value]
        if field.path == ("package",):
            values = [_REST_OF_PACKAGE.sub("...", value) for value in values]
        yield f"      {format_quoted_path(field.path)}: {' -> '.join(values)}"
    yield f"    reason: {row.detail or _REASON_PHRASES.get(row.reason, row.reason)}"
    if row.causes:
        yield f"    causes: {', '.join(row.causes)}"
    if row.is_irreversible:
        yield "    cannot be undone"
    if row.approvers:
        yield f"    needs: {row.approvers}"
    if names := ", ".join(approval.who for approval in row.approvals if not approval.reason):
        yield f"    approved by: {names} ({row.approvals_needed} needed)"
    for given in row.approvals:
        if given.approved_reason:
            yield f"    reason of {given.who}: {given.approved_reason}"
    if row.rejected_by:
        yield f"    rejected by: {row.rejected_by}: {row.rejected_reason}"


def _cut_value(value: str) -> str:
    """A value on one line, as it is or with what is left out of a very long one."""
    if len(value) <= _MAX_VALUE_LENGTH:
        return value
    return f"{value[:_MAX_VALUE_LENGTH]} ... ({len(value) - _MAX_VALUE_LENGTH:,} more characters)"


def _approval_lines(row: Hold, who: str) -> Iterator[str]:
    counting = {approval.who for approval in row.approvals if not approval.reason}
    missing_count = row.approvals_needed - len(counting)
    own_reasons = (approval.reason for approval in row.approvals if approval.who == who)
    if reason := next(filter(None, own_reasons), ""):
        yield f"  {row.address}: your approval does not count: {reason}."
    if missing_count > 0:
        yield f"  {row.address}: {format_count_and_noun(missing_count, 'more approval')} needed."


_SHOWN = "shown"


def format_rollout_list(rollouts: Sequence[ListedRollout], *, color: bool) -> str:
    """A table of rollouts, or a sentence where there is none."""
    if not rollouts:
        return (
            "There is no rollout: `rollouts` in controller.yaml is empty, or you may not read any"
            " target of a rollout.\n"
        )
    rows = [
        (say(one.state), one.name, one.commit[:7] or "-", one.state_since or "-", one.description)
        for one in rollouts
    ]
    headers = ("state", "rollout", "commit", "since", "progress")
    return render_table(headers, rows, color=color)


def format_rollout(rollout: ListedRollout, *, color: bool) -> str:
    """What a rollout brings and how far it is, and a table of its waves."""
    if not rollout.commit:
        return sanitize(f"{rollout.name} has not started to roll out a revision.") + "\n"
    subject = f" {rollout.subject}" if rollout.subject else ""
    head = f"{rollout.name}: revision {rollout.commit}{subject}"
    rows = [
        (
            f"{wave.wave}",
            say(wave.state),
            f"{wave.target_states.get(_SHOWN, 0)} of {wave.target_count}",
            ", ".join(
                f"{share.commit[:7] or 'none'} ({share.target_count})" for share in wave.revisions
            ),
            _describe_wave_or_dash(wave),
        )
        for wave in rollout.waves
    ]
    headers = ("wave", "state", "healthy", "revisions", "targets")
    text = _text([head, rollout.description or rollout.state])
    return f"{text}\n{render_table(headers, rows, color=color)}"


def _describe_wave_or_dash(wave: Wave) -> str:
    """How many targets are in which state, and what people said of the wave."""
    parts = [
        f"{count} {say(state)}" for state, count in wave.target_states.items() if state != _SHOWN
    ]
    if wave.failed_count and wave.max_failures is not None:
        parts.append(f"{wave.failed_count} failed, {wave.max_failures} allowed")
    if wave.approved_by:
        parts.append(f"approved by {wave.approved_by}")
    if wave.closed_by:
        parts.append(f"{wave.state} by {wave.closed_by}: {wave.reason}")
    return "; ".join(parts) or "-"


_REST_OF_PACKAGE = re.compile(r"(?<=:[0-9a-f]{12})[0-9a-f]{52}\Z")
# The rest of a row's digest, and of a commit's id.
_REST = re.compile(r"(?<=\brow1:[0-9a-f]{12})[0-9a-f]{52}\b|(?<=\b[0-9a-f]{12})[0-9a-f]{28}\b")


def _shorten_digests(text: str) -> str:
    return _REST.sub("", text)


def print_audit_report(
    console: Console, report: AuditReport, mask: Callable[[str], str] = str
) -> int:
    """Print the rows and what is wrong with the chain; ERROR for a chain that does not hold.

    `mask` takes the token out of what another server says.
    """
    newest, wrong = report.newest_row, report.first_wrong_row
    findings: list[Diagnostic] = []
    if wrong is not None:
        detail = (
            f"Row {wrong.number} of {_format_time(wrong.time)} does not match the rows before "
            "it: the row was changed, or earlier rows were removed."
        )
        hint = "Compare it with a backup, and with the digests in the controller's log."
        findings.append(error_finding("The audit was changed", detail, hint))
    if not report.has_expected_digest:
        detail = f"None of the {format_count_and_noun(report.row_count, 'row')} has this digest."
        hint = (
            "The end of the audit was removed, or this is the audit of another controller. "
            "Compare it with a backup."
        )
        summary = "The audit has no row with the expected digest"
        findings.append(error_finding(summary, detail, hint))
    code = Exit.ERROR if findings else Exit.OK
    if console.as_json:
        items = [
            {
                "number": row.number,
                "time": _format_time(row.time),
                **{name: mask(text) for name, text in asdict(row).items() if isinstance(text, str)},
            }
            for row in report.rows
        ]
        console.write_or_keep_document(
            {
                "apiVersion": "synapse-apply/v1",
                "kind": "AuditReport",
                "items": items,
                "total": report.row_count,
                "newest": newest and {"number": newest.number, "digest": mask(newest.digest)},
                "first_wrong": wrong and wrong.number,
                "diagnostics": [finding.to_json() for finding in findings],
                "exit_code": code,
            }
        )
        return code
    rows = [
        (
            row.number,
            _format_time(row.time),
            *map(mask, (row.who, row.action, row.subject, _shorten_digests(row.detail))),
        )
        for row in report.rows
    ]
    headers = ("row", "when", "who", "what", "target", "detail")
    table = render_table(headers, rows, color=console.is_output_colored) + "\n"
    console.write_output(table if rows else "No row of the audit matches.\n")
    console.write_findings(findings)
    if not findings:
        end = f", the newest of {_format_time(newest.time)} {newest.digest}" if newest else ""
        count = format_count_and_noun(report.row_count, "row")
        console.write_output(f"The chain is intact: {count}{end}.\n")
    return code


def _format_time(when: float) -> str:
    """A time in UTC, to the second; the number itself where no calendar has it."""
    try:
        return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{when}"
