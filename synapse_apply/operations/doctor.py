"""Which checks `doctor` makes, in which order, and what becomes of one that fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import PurePath

from synapse_apply.model.checkup import CheckResult, Checkup
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import RemoteError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.operations.checks import agents, backend, manifests, state, state_bucket
from synapse_apply.operations.checks.target_checkup import (
    CHECK_RETRIES,
    TargetCheckup,
    UncheckedError,
)
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession


@frozen
class DoctorCheck:
    """A function that yields result rows, and the name of the row when it cannot."""

    name: str
    iter_results: Callable[[TargetCheckup], Iterator[CheckResult]]


# In the order in which one thing needs another. The clock comes last of what is asked of the
# backend: it is told by the answers to all the rest.
SECTIONS: tuple[tuple[str, tuple[DoctorCheck, ...]], ...] = (
    (
        "Project",
        (
            DoctorCheck("tool", manifests.check_tool_version),
            DoctorCheck("project", manifests.check_project_file),
            DoctorCheck("repository", manifests.check_repository),
            DoctorCheck("target", manifests.check_target),
            DoctorCheck("manifests", manifests.check_manifests),
            DoctorCheck("secrets", manifests.check_secret_sources),
        ),
    ),
    (
        "Backend",
        (
            DoctorCheck("url", backend.check_url_is_set_and_encrypted),
            DoctorCheck("hosts", backend.check_allowed_hosts),
            DoctorCheck("token", backend.check_token),
            DoctorCheck("backend", backend.check_backend_answer),
            DoctorCheck("tenant", backend.check_tenant),
            DoctorCheck("api", backend.check_api_versions),
            DoctorCheck("capability", backend.check_capabilities),
            DoctorCheck("agents", agents.check_target_agents),
            DoctorCheck("clock", backend.check_clock),
        ),
    ),
    (
        "State",
        (
            DoctorCheck("folder", state.check_own_folder_trust),
            DoctorCheck("state", state.check_state),
            DoctorCheck("bucket", state_bucket.check_bucket),
            DoctorCheck("binding", state.check_state_identity),
            DoctorCheck("sharing", state.check_state_is_bound_to_project),
            DoctorCheck("lineage", state.check_lineage),
            DoctorCheck("key", state.check_state_key),
            DoctorCheck("lock", state.check_lock),
            DoctorCheck("accepted", state.check_accepted_differences),
            DoctorCheck("calls", state.check_open_calls),
            DoctorCheck("twins", state.check_duplicates),
        ),
    ),
)


def run_all_checks(invocation: Invocation) -> Checkup:
    """Run every check, whatever the others say; sends only reads to backends, and changes nothing.

    In the bucket of a state one object is made and deleted.
    Never raises for anything that is wrong with the target.
    """
    with TargetSession(invocation, read_only=True, retries=CHECK_RETRIES) as session:
        checkup = TargetCheckup(session)
        sections = tuple(
            (title, tuple(result for check in checks for result in _run_check(check, checkup)))
            for title, checks in SECTIONS
        )
        return Checkup(_get_target_name_or_empty(checkup), sections).with_target(
            invocation.target or ""
        )


def _run_check(check: DoctorCheck, checkup: TargetCheckup) -> list[CheckResult]:
    """The rows of one check; an exception becomes its last row."""
    results: list[CheckResult] = []
    try:
        for result in check.iter_results(checkup):
            results.append(result)  # noqa: PERF402 - what came before an exception is kept
    except UncheckedError as missing:
        results.append(CheckResult.build_unchecked(check.name, f"{missing}"))
    except SynapseApplyError as problem:
        results.extend(
            CheckResult.from_finding(check.name, finding) for finding in problem.diagnostics
        )
    except RemoteError as failure:
        finding = error_finding(
            "A call to the backend failed", f"{failure}", request_id=failure.request_id
        )
        results.append(CheckResult.from_finding(check.name, finding))
    except Exception as problem:  # noqa: BLE001 - a defect of one check must not hide the others
        results.append(
            CheckResult.from_finding(
                check.name,
                error_finding("This check failed", _describe_exception_without_text(problem)),
            )
        )
    return results


def _describe_exception_without_text(problem: Exception) -> str:
    """Type and place of an unexpected exception, without its text, which may hold a secret."""
    frames = traceback.extract_tb(problem.__traceback__)
    position_text = (
        f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    )
    reason = f": {problem.strerror}" if isinstance(problem, OSError) and problem.strerror else ""
    return (
        f"{type(problem).__qualname__}{position_text}{reason}. Please report it: it is our defect."
    )


def _get_target_name_or_empty(checkup: TargetCheckup) -> str:
    try:
        return checkup.target.get_or_raise_unchecked().name
    except UncheckedError:
        return ""
