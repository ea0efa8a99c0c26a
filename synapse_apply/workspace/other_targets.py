"""Which verified releases of another target count, and when its state is trusted.

The state must have the url, tenant and data set of that target, and the lineage that the
project file pins. A run must be signed with its current key: anyone who can write to the
checkout can write a state file, but not a signature.
"""

from __future__ import annotations

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.errors import StateError, SynapseApplyError
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import BackendIdentity, Record, State
from synapse_apply.model.verification import LastRun, OtherTargetRuns, RunDoubt, RunStatus
from synapse_apply.secrets.keys import StateKeys, format_key_variable_name_of_target
from synapse_apply.secrets.signatures import (
    RunSigner,
    SignatureStatus,
    parse_unverified_key_id_of_signature,
)
from synapse_apply.workspace import state_access
from synapse_apply.workspace.embedded import find_trusted_data_set_id_or_empty
from synapse_apply.workspace.environment import normalize_base_url
from synapse_apply.workspace.sharing.project_binding import build_project_binding_findings
from synapse_apply.workspace.target_session import TargetSession


def read_runs_or_problem_by_required_target(session: TargetSession) -> dict[str, OtherTargetRuns]:
    """By target name, the runs recorded in each target of `require_verified`.

    Raises nothing: a state that cannot be read has no runs, and a problem that says why.
    """
    return {
        name: _read_runs_with_doubts_or_problem(
            session.build_session_of_other_target(session.project.targets[name])
        )
        for name in session.target.require_verified
    }


def _read_runs_with_doubts_or_problem(other_session: TargetSession) -> OtherTargetRuns:
    try:
        with other_session:
            target, store = other_session.target, other_session.store
            if not store.exists():
                return OtherTargetRuns(missing=True)
            # Before the state is read: what seems older may be a copy that was replaced since.
            if other_session.last_seen_files.build_findings_if_state_is_older(store, target):
                raise StateError.from_summary(
                    "This state is older than the last one seen here",
                    "it is older than the last one seen here",
                )
            state = store.read_state()
            require_state_belongs_to_target(other_session.project, target, state)
            _require_no_other_project_owns_state(other_session)
            return _collect_runs_and_doubts_of_records(state, target, other_session.state_keys)
    # One target that cannot be read must not stop a plan that may not need it.
    except SynapseApplyError as failure:
        return OtherTargetRuns(problem="; ".join(_list_diagnostic_details(failure)) or str(failure))


def _require_no_other_project_owns_state(other_session: TargetSession) -> None:
    shared_ids = other_session.read_project_and_key_ids_or_none_if_unshared()
    if shared_ids is not None:
        state_access.require_no_error_and_return_warnings(
            build_project_binding_findings(shared_ids, other_session.project, other_session.target)
        )


def _list_diagnostic_details(failure: SynapseApplyError) -> list[str]:
    return [
        (diagnostic.detail or diagnostic.summary).rstrip(".") for diagnostic in failure.diagnostics
    ]


def require_state_belongs_to_target(project: Project, target: Target, state: State) -> None:
    """StateError where a state does not belong to a target that this run does not connect to.

    A url or tenant that the project file leaves open is not compared, because the environment
    completes only the target of the run.
    """
    pinned_lineage = target.state.lineage
    if pinned_lineage and state.lineage != pinned_lineage:
        raise StateError.from_summary(
            "This state is not the one that the project file pins",
            f"the project file pins lineage {pinned_lineage}, and it has {state.lineage}",
        )
    recorded_identity, expected_identity = (
        state.binding,
        _build_declared_or_recorded_identity(project, target, state.binding),
    )
    if recorded_identity != expected_identity:
        raise StateError.from_summary(
            "This state belongs to another backend",
            f"it was made for {state_access.describe_state_identity(recorded_identity)}, and "
            f"target {target.name} is {state_access.describe_state_identity(expected_identity)}",
        )


def _build_declared_or_recorded_identity(
    project: Project, target: Target, recorded_identity: BackendIdentity
) -> BackendIdentity:
    if target.is_embedded:
        return BackendIdentity(
            state_access.EMBEDDED_URL, "", find_trusted_data_set_id_or_empty(project.root)
        )
    url = normalize_base_url(target.url) if target.url else recorded_identity.url
    return BackendIdentity(url, target.tenant or recorded_identity.tenant)


def _collect_runs_and_doubts_of_records(
    state: State, target: Target, keys: StateKeys
) -> OtherTargetRuns:
    records = {
        address: record
        for address, record in state.records.items()
        if (kind := CATALOGUE.get(address.kind)) is not None and kind.verification_spec is not None
    }
    runs = {
        address: LastRun.from_json_or_none(record.verification)
        for address, record in records.items()
    }
    passed_addresses = [
        passed_address
        for passed_address, run in runs.items()
        if run and run.result is RunStatus.PASSED
    ]
    signer = RunSigner(keys, state.lineage)
    doubts = {
        address: _find_doubt_about_passed_run_or_none(signer, records[address], target)
        for address in passed_addresses
    }
    doubts |= {
        address: RunDoubt("its package was replaced there, so that no run of it proves anything")
        for address, record in records.items()
        if record.replaced_at
    }
    return OtherTargetRuns(
        digests={address: record.digest or "" for address, record in records.items()},
        runs={address: run for address, run in runs.items() if run is not None},
        doubts={address: doubt for address, doubt in doubts.items() if doubt is not None},
    )


def _find_doubt_about_passed_run_or_none(
    signer: RunSigner, record: Record, target: Target
) -> RunDoubt | None:
    """Why a recorded, passed run is not trusted; None where it is."""
    status, target_name = signer.verify_last_run_signature(record), target.name
    if status is SignatureStatus.GENUINE:
        return None
    if status is SignatureStatus.UNSIGNED:
        return RunDoubt(
            "the record of its run there is not signed: an earlier version made it, or the state "
            f"key of target {target_name} was not at hand"
        )
    if status is SignatureStatus.FORGED:
        return RunDoubt(
            "the signature of its run there is of something else: the record was changed, or "
            "copied from another one"
        )
    last_run = LastRun.from_json_or_none(record.verification)
    key_id = parse_unverified_key_id_of_signature(last_run.signature) if last_run else ""
    current_key = signer.keys.current_key
    current_text = (
        f"the key here is {current_key.key_id} from {current_key.origin}"
        if current_key
        else "none is here"
    )
    return RunDoubt(
        f"its run there is signed with state key {key_id}, and {current_text}",
        (
            (
                f"give the state key of target {target_name}, "
                f"as {format_key_variable_name_of_target(target_name)} for example"
            ),
        ),
    )
