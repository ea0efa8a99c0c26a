"""Which releases the state of another target vouches for, and when it is believed.

It must be the state of that target: of the url, the tenant and the data set that it has now, and
of the lineage that the project file pins. A run must be signed with the key in use for it: a state
is a file that whoever can write to the checkout could have written, a signature is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.errors import StateError, SynapseApplyError
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import Binding, Record, State
from synapse_apply.model.verification import Doubt, Elsewhere, LastRun, Verdict
from synapse_apply.secrets.keys import Keys, variable_of
from synapse_apply.secrets.signatures import RunSigner, Standing, key_id_of
from synapse_apply.session import state_file
from synapse_apply.session.embedded import data_set_of
from synapse_apply.session.last_seen import last_seen
from synapse_apply.session.surroundings import base_url


def elsewhere(project: Project, target: Target, environ: Mapping[str, str]) -> dict[str, Elsewhere]:
    """By name, the targets in which releases must have been verified before they are made here.

    Nothing is raised: a state that cannot be read vouches for nothing, and says why.
    """
    return {
        name: _told_by(project, project.targets[name], environ) for name in target.require_verified
    }


def _told_by(project: Project, target: Target, environ: Mapping[str, str]) -> Elsewhere:
    try:
        with closing(state_file.open_store(project, target, environ)) as store:
            if not store.exists():
                return Elsewhere(missing=True)
            state = store.read()
            check_other(project, target, state)
            seen = last_seen(project, target, environ)
            if seen.older(store, state.lineage, store.position(), target):
                raise StateError.of(
                    "This state is older than the last one seen here",
                    "it is older than the last one seen here",
                )
        return _vouches(state, target, state_file.keys(project, target, environ))
    except SynapseApplyError as failure:
        return Elsewhere(problem="; ".join(_why_not(failure)) or str(failure))


def _why_not(failure: SynapseApplyError) -> list[str]:
    return [(found.detail or found.summary).rstrip(".") for found in failure.diagnostics]


def check_other(project: Project, target: Target, state: State) -> None:
    """StateError where a state is not that of a target which this run does not connect to.

    What the project file leaves open (a url, a tenant) is compared with nothing: the environment
    fills holes of the target of a run alone.
    """
    pinned = target.state.lineage
    if pinned and state.lineage != pinned:
        raise StateError.of(
            "This state is not the one that the project file pins",
            f"the project file pins lineage {pinned}, and it has {state.lineage}",
        )
    has, wanted = state.binding, _binding_of_other(project, target, state.binding)
    if has != wanted:
        raise StateError.of(
            "This state belongs to another backend",
            f"it was made for {state_file.describe(has)}, and target {target.name} is "
            f"{state_file.describe(wanted)}",
        )


def _binding_of_other(project: Project, target: Target, has: Binding) -> Binding:
    if target.is_embedded:
        return Binding(state_file.EMBEDDED_URL, "", data_set_of(project.root))
    url = base_url(target.url) if target.url else has.url
    return Binding(url, target.tenant or has.tenant)


def _vouches(state: State, target: Target, keys: Keys) -> Elsewhere:
    records = {
        address: record
        for address, record in state.records.items()
        if (kind := CATALOGUE.get(address.kind)) is not None and kind.proof is not None
    }
    runs = {address: LastRun.of(record.verification) for address, record in records.items()}
    passed = [at for at, run in runs.items() if run and run.result is Verdict.PASSED]
    signer = RunSigner(keys, state.lineage)
    doubts = {address: _doubt(signer, records[address], target) for address in passed}
    return Elsewhere(
        digests={address: record.digest or "" for address, record in records.items()},
        runs={address: run for address, run in runs.items() if run is not None},
        doubts={address: doubt for address, doubt in doubts.items() if doubt is not None},
    )


def _doubt(signer: RunSigner, record: Record, target: Target) -> Doubt | None:
    """Why the record of a run that passed is not believed; None where it is."""
    shown, name = signer.standing(record), target.name
    if shown is Standing.GENUINE:
        return None
    if shown is Standing.UNSIGNED:
        return Doubt(
            "the record of its run there is not signed: an earlier version made it, or the state "
            f"key of target {name} was not at hand"
        )
    if shown is Standing.FORGED:
        return Doubt(
            "the signature of its run there is of something else: the record was changed, or "
            "copied from another one"
        )
    last = LastRun.of(record.verification)
    made_with = key_id_of(last.signature) if last else ""
    current = signer.keys.current
    now = f"the key here is {current.key_id} from {current.origin}" if current else "none is here"
    return Doubt(
        f"its run there is signed with state key {made_with}, and {now}",
        (f"give the state key of target {name}, as {variable_of(name)} for example",),
    )
