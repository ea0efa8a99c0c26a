"""Which names a shell completes: from the project's files and local states, without network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from synapse_apply.manifests.decode.kinds import PLUGIN
from synapse_apply.manifests.project.targets import choose_and_fill_target, list_target_labels
from synapse_apply.model.address import Address
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.project import EMBEDDED, Project, Target
from synapse_apply.model.resource import Desired
from synapse_apply.stores.state_urls import is_local_or_empty_url
from synapse_apply.workspace import configuration
from synapse_apply.workspace.invocation import Invocation

if TYPE_CHECKING:
    from synapse_apply.workspace.target_session import TargetSession


def list_target_names_and_embedded(invocation: Invocation) -> list[str]:
    """The project's targets, and `embedded`, which always exists."""
    return list(
        dict.fromkeys((*configuration.load_valid_project_or_defaults(invocation).targets, EMBEDDED))
    )


def list_labels_of_targets(invocation: Invocation) -> list[str]:
    """Every label of a target, as KEY=VALUE."""
    return list_target_labels(configuration.load_valid_project_or_defaults(invocation))


def list_addresses_declared_by_chosen_or_all(invocation: Invocation) -> list[str]:
    """The addresses that the chosen target declares; those of all targets without a choice."""
    return sorted(
        {
            str(resource.address)
            for resource in _iter_decodable_resources_of_chosen_or_all(invocation)
        }
    )


def list_addresses_of_local_states(invocation: Invocation) -> list[str]:
    """The addresses with a record or an open call in states that are local files."""
    # Here, not above: most of what is typed asks no state.
    from synapse_apply.workspace.target_session import TargetSession

    session = TargetSession(invocation)
    return sorted(
        {
            str(address)
            for target in _choose_target_or_all_on_error(invocation, session.project)
            for address in _read_addresses_of_local_state_or_empty(
                session.build_session_of_other_target(target)
            )
        }
    )


def list_declared_plugin_names(invocation: Invocation) -> list[str]:
    """The names that manifests give to plugins."""
    return sorted(
        {
            resource.address.name
            for resource in _iter_decodable_resources_of_chosen_or_all(invocation)
            if resource.address.kind == PLUGIN
        }
    )


def list_labels_of_declared_resources(invocation: Invocation) -> list[str]:
    """Every label of a declared resource, as KEY=VALUE."""
    return sorted(
        {
            f"{key}={value}"
            for resource in _iter_decodable_resources_of_chosen_or_all(invocation)
            for key, value in resource.labels.items()
        }
    )


def _iter_decodable_resources_of_chosen_or_all(invocation: Invocation) -> Iterator[Desired]:
    """What can be decoded; a manifest with an error hides no other."""
    project = configuration.load_valid_project_or_defaults(invocation)
    for target in _choose_target_or_all_on_error(invocation, project):
        yield from configuration.load_target_manifests_with_findings(
            invocation, project, target
        ).desired.values()


def _read_addresses_of_local_state_or_empty(session: TargetSession) -> set[Address]:
    url = session.target.state.url
    if not isinstance(url, str) or not is_local_or_empty_url(url):
        return set()
    try:
        with session:
            return session.list_recorded_and_open_addresses()
    except SynapseApplyError:
        return set()


def _choose_target_or_all_on_error(invocation: Invocation, project: Project) -> list[Target]:
    try:
        return [
            choose_and_fill_target(
                project, invocation.target, invocation.environ, invocation.on_terminal
            )
        ]
    except SynapseApplyError:
        return list(project.targets.values())
