"""Use case: names that could be typed, as a shell completes them. Files alone, no network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from synapse_apply.manifests.plugin import PREFIX
from synapse_apply.manifests.targets import choose_target
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.project import EMBEDDED, Project, Target
from synapse_apply.session import declare
from synapse_apply.session.where import Where
from synapse_apply.stores.postgres_url import is_postgres


def targets(where: Where) -> list[str]:
    """The project's targets, and the one that is always there."""
    return list(dict.fromkeys((*declare.project_of(where).targets, EMBEDDED)))


def addresses(where: Where) -> list[str]:
    """What the manifests declare for the target that is meant, or for any where none is."""
    return sorted({str(one.address) for one in _declared(where)})


def recorded(where: Where) -> list[str]:
    """What is recorded, or a call of it is open, in the states that are files here."""
    project = declare.project_of(where)
    return sorted({str(at) for target in _meant(where, project) for at in _known(project, target)})


def plugins(where: Where) -> list[str]:
    """The names that manifests give to plugins."""
    return sorted({one.address.name for one in _declared(where) if one.address.kind == PREFIX})


def labels(where: Where) -> list[str]:
    """Every label, as KEY=VALUE."""
    return sorted(
        {f"{key}={value}" for one in _declared(where) for key, value in one.labels.items()}
    )


def _declared(where: Where) -> Iterator[Desired]:
    """What can be read of it: a manifest with an error hides no other."""
    project = declare.project_of(where)
    for target in _meant(where, project):
        yield from declare.loaded(where, project, target).desired.values()


def _known(project: Project, target: Target) -> set[Address]:
    # Here, not above: most of what is typed asks no state.
    from synapse_apply.session.state_file import existing_store

    url = target.state.url
    if not isinstance(url, str) or is_postgres(url):
        return set()
    try:
        with closing(existing_store(project, target, {})) as store:
            state = store.read()
    except SynapseApplyError:
        return set()
    return {*state.records, *(intent.address for intent in state.open_intents)}


def _meant(where: Where, project: Project) -> list[Target]:
    try:
        return [choose_target(project, where.target, where.environ, where.on_terminal)]
    except SynapseApplyError:
        return list(project.targets.values())
