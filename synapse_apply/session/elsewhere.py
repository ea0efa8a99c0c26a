"""What the states of other targets tell of what they verified; read, never written."""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.errors import StateError, SynapseApplyError
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import State
from synapse_apply.model.verification import Elsewhere, LastRun
from synapse_apply.session.state_file import open_store


def elsewhere(project: Project, target: Target, environ: Mapping[str, str]) -> dict[str, Elsewhere]:
    """By name, the targets in which releases must have been verified before they are made here.

    Nothing is raised: a state that cannot be read vouches for nothing, and says why.
    """
    return {
        name: _told(project, project.targets[name], environ) for name in target.require_verified
    }


def _told(project: Project, target: Target, environ: Mapping[str, str]) -> Elsewhere:
    try:
        store = open_store(project, target, environ)
        try:
            return _read(store.read(), target) if store.exists() else Elsewhere(missing=True)
        finally:
            store.close()
    except SynapseApplyError as failure:
        return Elsewhere(problem="; ".join(_why(failure)) or str(failure))


def _why(failure: SynapseApplyError) -> list[str]:
    return [(found.detail or found.summary).rstrip(".") for found in failure.diagnostics]


def _read(state: State, target: Target) -> Elsewhere:
    pinned = target.state.lineage
    if pinned and state.lineage != pinned:
        raise StateError.of(
            "This state is not the one that the project file pins",
            f"the project file pins lineage {pinned}, and it has {state.lineage}",
        )
    records = {
        address: record
        for address, record in state.records.items()
        if (kind := CATALOGUE.get(address.kind)) is not None and kind.proof is not None
    }
    runs = {address: LastRun.of(record.verification) for address, record in records.items()}
    return Elsewhere(
        digests={address: record.digest or "" for address, record in records.items()},
        runs={address: run for address, run in runs.items() if run is not None},
    )
