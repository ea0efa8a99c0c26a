"""Use case: run releases now to see that they work, and do nothing else."""

from __future__ import annotations

from dataclasses import replace

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Severity, error, warning
from synapse_apply.model.errors import InputError
from synapse_apply.model.plan import Action, Change
from synapse_apply.planning.situation import Choices, Item
from synapse_apply.session.context import Context, Planned


def choices_of(context: Context, selected: frozenset[Address]) -> Choices:
    """What to plan with: the runs of these addresses are due, whatever their last one was."""
    return Choices(selected=selected, verify_now=selected).under(context.target)


def only_runs(planned: Planned, timeout: float | None = None) -> Planned:
    """The plan cut down to its runs: no other call is made and no record brought up to date.

    `timeout` (seconds) goes before that of the manifests. InputError, with every finding, for what
    is not published from here yet, and where nothing that was named can be run.
    """
    changes, findings = [], []
    for change in planned.plan.changes:
        finding = _obstacle(change, planned.items.get(change.address))
        if finding is None:
            changes.append(_run_of(change, timeout))
        else:
            findings.append(finding)
    problems = [one for one in planned.plan.diagnostics if one.is_error]
    problems += [one for one in findings if one.is_error or not changes]
    if problems:
        raise InputError(*(one.with_(severity=Severity.ERROR) for one in problems))
    named = {str(change.address) for change in changes}
    findings += [one for one in planned.plan.diagnostics if one.address in named]
    plan = replace(planned.plan, changes=tuple(changes), guards=(), diagnostics=tuple(findings))
    return replace(planned, plan=plan)


def _run_of(change: Change, timeout: float | None) -> Change:
    due = change.verification
    if due is not None and timeout is not None:
        due = replace(due, timeout=timeout)
    kept = replace(change, fields=(), notes=(), rebase=False, after=change.before)
    return replace(kept, verification=due) if due is not None else kept


def _obstacle(change: Change, item: Item | None) -> Diagnostic | None:
    """Why nothing can be run for it: an error where it should be, else a warning."""
    address = str(change.address)
    if any(refusal.outcome_unknown for refusal in change.refusals):
        return None
    if item is None or item.type.proof is None or item.desired is None:
        detail = f"{address} is no declared resource that is verified by a run."
        return warning("Nothing to run", detail, "Name a release.", address=address)
    if item.desired.verify is None:
        place, hint = item.desired.position, "Add `verify:` to its spec."
        detail = f"{address} does not say how it is verified."
        return warning("Nothing to run", detail, hint, address=address, position=place)
    if change.action not in {Action.NO_OP, Action.UPDATE}:
        detail = f"{address} is not published from here yet."
        return error("Not applied yet", detail, "`synapse-apply apply` first.", address=address)
    if change.verification is None and not change.refused:
        detail = f"A newer version than {address} is declared: a run would show that one's work."
        return warning("Nothing to run", detail, "Name the newer one.", address=address)
    return None
