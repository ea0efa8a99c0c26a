"""Which releases `verify` runs and when it refuses to, and how it compares published packages.

It makes no other call.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from synapse_apply.live.packages import read_published
from synapse_apply.model import errors
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, Severity, error_finding, warning_finding
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.plan import Action, Change
from synapse_apply.model.report import Report
from synapse_apply.model.state import Record
from synapse_apply.operations.apply import ApplyRun
from synapse_apply.operations.apply_observer import ApplyObserver
from synapse_apply.operations.plan import plan as make_plan
from synapse_apply.planning.plan_input import PlanOptions, ResourceState
from synapse_apply.workspace.target_session import PlanResult, TargetSession


def select_releases(session: TargetSession, names: Sequence[str]) -> frozenset[Address]:
    """The addresses that names match, none without names; InputError for names without a match.

    What of them can be run is checked by `narrow_to_runs`.
    """
    kinds = {
        prefix for prefix, kind in session.catalogue.items() if kind.verification_spec is not None
    }
    return session.names.select(names, (), kinds) or frozenset()


def verify_releases(
    session: TargetSession,
    names: Sequence[str],
    observer: ApplyObserver | None,
    *,
    timeout: float | None = None,
) -> Report:
    """As `OpenTarget.verify`; takes the state's lock, and raises also as `narrow_to_runs`."""
    selected = select_releases(session, names)
    # All of these are to be run, whatever their last result.
    options = PlanOptions(selected=selected, verify_now=selected, allow_replace=True)
    options = options.with_target_rules(session.target)
    apply_run = ApplyRun(session, options, observer, operation="verify")
    with session.lock_state_of_own_project("verify"):
        plan_result = narrow_to_runs(make_plan(session, options), timeout)
        apply_run.observer.show_warnings(plan_result.plan.diagnostics)
        return apply_run.apply_under_lock(plan_result)


def narrow_to_runs(plan_result: PlanResult, timeout: float | None = None) -> PlanResult:
    """The plan with its runs alone: nothing else is called or recorded.

    `timeout` (seconds) takes precedence over the manifests'. InputError, with every finding, for a
    release that is not published from here yet, and where nothing that was named can be run.
    """
    changes, findings = [], []
    for change in plan_result.plan.changes:
        finding = _reason_not_to_run(change, plan_result.resources.get(change.address))
        if finding is not None:
            findings.append(finding)
            continue
        verification = change.verification
        if verification is not None and timeout is not None:
            verification = replace(verification, timeout=timeout)
        run = replace(change, verification=verification, rebase=False, after=change.before)
        changes.append(replace(run, fields=(), notes=(), extras={}, reason=""))
    problems = [diagnostic for diagnostic in plan_result.plan.diagnostics if diagnostic.is_error]
    problems += [diagnostic for diagnostic in findings if diagnostic.is_error or not changes]
    if problems:
        raise errors.InputError(
            *(diagnostic.with_changes(severity=Severity.ERROR) for diagnostic in problems)
        )
    run_addresses = {str(change.address) for change in changes}
    findings += [
        diagnostic
        for diagnostic in plan_result.plan.diagnostics
        if diagnostic.address in run_addresses
    ]
    plan = replace(plan_result.plan, changes=tuple(changes), guards=(), diagnostics=tuple(findings))
    return replace(plan_result, plan=plan)


def _reason_not_to_run(change: Change, resource: ResourceState | None) -> Diagnostic | None:
    """Why the resource cannot be run: an error where it should be runnable, else a warning."""
    address = str(change.address)
    if any(refusal.outcome_unknown for refusal in change.refusals):
        return None
    if resource is None or resource.type.verification_spec is None or resource.desired is None:
        detail = f"{address} is not declared, or no run verifies it."
        return warning_finding("Nothing to run", detail, "Name a release.", address=address)
    if resource.desired.verify is None:
        position, hint = resource.desired.position, "Add `verify:` to its spec."
        detail = f"{address} does not declare how to verify it."
        return warning_finding("Nothing to run", detail, hint, address=address, position=position)
    if change.action not in {Action.NO_OP, Action.UPDATE}:
        detail = f"{address} is not published from here yet."
        return error_finding(
            "Not applied yet", detail, Text(Command("apply"), " first."), address=address
        )
    if change.verification is None and not change.is_refused:
        detail = f"A newer version than {address} is declared, and a run would use that version."
        return warning_finding(
            "Nothing to run", detail, "Specify the newer version.", address=address
        )
    return None


# How it stands in the audit.
READ_BYTES_VERB = "read-bytes"


class BytesResult(Enum):
    """The outcome of a comparison. LEARNED: no digest was recorded before."""

    SAME = "same"
    LEARNED = "learned"
    DIFFERENT = "different"
    UNREAD = "unread"


@frozen
class ComparedBytes:
    """One release: the recorded digest and the published package's; "" where there is none."""

    address: Address
    result: BytesResult
    recorded_digest: str = ""
    published_digest: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def has_expected_digest(self) -> bool:
        return self.result in {BytesResult.SAME, BytesResult.LEARNED}


def compare_published(session: TargetSession, names: Sequence[str]) -> list[ComparedBytes]:
    """As `OpenTarget.compare_published_bytes`; Unauthorized, which would fail further reads."""
    addresses = select_releases(session, names)
    with session.lock_state_of_own_project("verify"):
        records = session.store.read_state().records
        return [
            _compare_release(session, address, records.get(address))
            for address in sorted(addresses)
        ]


def _compare_release(
    session: TargetSession, address: Address, record: Record | None
) -> ComparedBytes:
    recorded_digest = (record.digest if record else None) or ""

    def unread(summary: str, detail: str, hint: str) -> ComparedBytes:
        diagnostic = error_finding(summary, detail, hint, address=str(address))
        return ComparedBytes(address, BytesResult.UNREAD, recorded_digest, "", (diagnostic,))

    kind, binding = session.catalogue[address.kind], session.select_binding(address.kind)
    if not kind.carries_package:
        return unread("Nothing to compare", f"A {kind.prefix} has no package.", "Name a release.")
    if record is None or record.api != binding.api:
        detail = f"{address} is not published from here yet."
        return unread("Not applied yet", detail, Text(Command("apply"), " first."))
    try:
        raw = binding.read_object(session.api, record.remote_id)
        published = read_published(session, binding, raw, address)
    # A wrong token would fail every further release in the same way.
    except errors.Unauthorized:
        raise
    except errors.NotFound:
        detail = f"The backend has no release with id {record.remote_id}, or hides it."
        return unread("The release is missing", detail, "Run plan to see why.")
    except errors.RemoteError as failure:
        detail = f"{address}: {str(failure).removesuffix('.')}."
        return unread("The published bytes cannot be read", detail, "Try again.")
    except errors.SynapseApplyError as problem:
        diagnostics = tuple(
            diagnostic.with_changes(address=str(address)) for diagnostic in problem.diagnostics
        )
        return ComparedBytes(address, BytesResult.UNREAD, recorded_digest, "", diagnostics)
    if published is None:
        detail = f"The backend shows no URL of the package of {address}."
        return unread("The published bytes cannot be read", detail, "")
    if recorded_digest not in {"", published.digest}:
        diagnostic = error_finding(
            "The published bytes differ from the recorded bytes",
            f"{address} (id {record.remote_id}): the backend returned {published.digest}, "
            f"but the state has {recorded_digest}.",
            "Somebody replaced the published package, or the backend changes uploads. "
            "Publish a new version from files that you trust.",
            address=str(address),
        )
        return ComparedBytes(
            address, BytesResult.DIFFERENT, recorded_digest, published.digest, (diagnostic,)
        )
    moment = session.clock.utc_now()
    session.store.write_records(
        replace(
            record,
            digest=published.digest,
            files=record.files or published.files,
            proven={"digest": published.digest, "at": moment},
        )
    )
    session.note_in_audit([(address, READ_BYTES_VERB, record.remote_id)], moment=moment)
    result = BytesResult.SAME if recorded_digest else BytesResult.LEARNED
    return ComparedBytes(address, result, recorded_digest, published.digest)
