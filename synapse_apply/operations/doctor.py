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
    LazyTargetParts,
    UncheckedError,
)
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession


@frozen
class DoctorCheck:
    """A function that yields result rows, and the name of the row when it cannot."""

    name: str
    iter_results: Callable[[LazyTargetParts], Iterator[CheckResult]]


# In the order in which one thing needs another. The clock comes last of what is asked of the
# backend: it is told by the answers to all the rest.
SECTIONS: tuple[tuple[str, tuple[DoctorCheck, ...]], ...] = (
    (
        "Project",
        (
            DoctorCheck("tool", manifests.report_tool_and_system_versions),
            DoctorCheck("project", manifests.check_project_file),
            DoctorCheck("repository", manifests.check_git_repository_of_project),
            DoctorCheck("target", manifests.check_target_can_be_chosen),
            DoctorCheck("manifests", manifests.check_manifests_in_one_row),
            DoctorCheck("secrets", manifests.check_what_opens_each_secret_source),
        ),
    ),
    (
        "Backend",
        (
            DoctorCheck("url", backend.check_url_source_and_encryption),
            DoctorCheck("hosts", backend.check_host_may_get_token),
            DoctorCheck("token", backend.check_token_source_and_login_file),
            DoctorCheck("backend", backend.check_backend_answer),
            DoctorCheck("tenant", backend.report_requested_tenant),
            DoctorCheck("api", backend.report_api_versions_of_kinds),
            DoctorCheck("capability", backend.check_list_capabilities),
            DoctorCheck("agents", agents.check_agents_named_by_target),
            DoctorCheck("clock", backend.check_clock_against_server),
        ),
    ),
    (
        "State",
        (
            DoctorCheck("folder", state.check_own_folder_is_trusted_and_writable),
            DoctorCheck("state", state.check_state_exists_and_is_not_older),
            DoctorCheck("bucket", state_bucket.check_bucket_by_making_and_deleting_an_object),
            DoctorCheck("binding", state.check_state_identity),
            DoctorCheck("sharing", state.check_state_is_bound_to_project),
            DoctorCheck("lineage", state.check_pinned_lineage),
            DoctorCheck("key", state.check_state_key),
            DoctorCheck("lock", state.check_lock_is_free),
            DoctorCheck("accepted", state.report_accepted_fields_still_differing),
            DoctorCheck("calls", state.check_open_and_journaled_calls),
            DoctorCheck("twins", state.check_live_duplicates_of_records),
        ),
    ),
)


def run_all_checks(invocation: Invocation, *, probe_bucket: bool = True) -> Checkup:
    """Run every check, whatever the others say; sends only reads to backends, and changes nothing.

    With `probe_bucket` one object is made in the bucket of a state, and deleted.
    Never raises for anything that is wrong with the target.
    """
    with TargetSession(invocation, read_only=True, retries=CHECK_RETRIES) as session:
        checkup = LazyTargetParts(session)
        sections = tuple(
            (
                title,
                tuple(
                    result
                    for check in checks
                    if probe_bucket or check.name != "bucket"
                    for result in _run_check_turning_errors_into_rows(check, checkup)
                ),
            )
            for title, checks in SECTIONS
        )
        return Checkup(_get_target_name_or_empty(checkup), sections).with_target(
            invocation.target or ""
        )


def _run_check_turning_errors_into_rows(
    check: DoctorCheck, checkup: LazyTargetParts
) -> list[CheckResult]:
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
        # Type and place of an unexpected exception, without its text, which may hold a secret.
        frames = traceback.extract_tb(problem.__traceback__)
        position_text = (
            f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        )
        reason = (
            f": {problem.strerror}" if isinstance(problem, OSError) and problem.strerror else ""
        )
        results.append(
            CheckResult.from_finding(
                check.name,
                error_finding(
                    "This check failed",
                    f"{type(problem).__qualname__}{position_text}{reason}. Please report it: it is "
                    "our defect.",
                ),
            )
        )
    return results


def _get_target_name_or_empty(checkup: LazyTargetParts) -> str:
    try:
        return checkup.target.get_or_raise_unchecked_error().name
    except UncheckedError:
        return ""
