"""Which names a shell completes: from the project's files and local states, without network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from synapse_apply.manifests.decode.kinds import PLUGIN
from synapse_apply.manifests.project.targets import choose_and_fill_target, list_target_labels
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.project import EMBEDDED, Project, Target
from synapse_apply.model.resource import Desired
from synapse_apply.stores.state_urls import is_local_or_empty_url
from synapse_apply.workspace import configuration
from synapse_apply.workspace.invocation import Invocation


def list_target_names(invocation: Invocation) -> list[str]:
    """The project's targets, and `embedded`, which always exists."""
    return list(
        dict.fromkeys((*configuration.load_valid_project_or_defaults(invocation).targets, EMBEDDED))
    )


def list_labels_of_targets(invocation: Invocation) -> list[str]:
    """Every label of a target, as KEY=VALUE."""
    return list_target_labels(configuration.load_valid_project_or_defaults(invocation))


def list_declared_addresses(invocation: Invocation) -> list[str]:
    """The addresses that the chosen target declares; those of all targets without a choice."""
    return sorted({str(resource.address) for resource in _iter_declared(invocation)})


def list_local_addresses(invocation: Invocation) -> list[str]:
    """The addresses with a record or an open call in states that are local files."""
    # Here, not above: most of what is typed asks no state.
    from synapse_apply.workspace.target_session import TargetSession

    session, addresses = TargetSession(invocation), set[str]()
    for target in _chosen_targets(invocation, session.project):
        url = target.state.url
        if isinstance(url, str) and is_local_or_empty_url(url):
            with suppress(SynapseApplyError), session.session_of(target) as other:
                addresses.update(map(str, other.known_addresses_of_state()))
    return sorted(addresses)


def list_plugin_names(invocation: Invocation) -> list[str]:
    """The names that manifests give to plugins."""
    return sorted(
        {
            resource.address.name
            for resource in _iter_declared(invocation)
            if resource.address.kind == PLUGIN
        }
    )


def list_resource_labels(invocation: Invocation) -> list[str]:
    """Every label of a declared resource, as KEY=VALUE."""
    return sorted(
        {
            f"{key}={value}"
            for resource in _iter_declared(invocation)
            for key, value in resource.labels.items()
        }
    )


def _iter_declared(invocation: Invocation) -> Iterator[Desired]:
    """What can be decoded; a manifest with an error hides no other."""
    project = configuration.load_valid_project_or_defaults(invocation)
    for target in _chosen_targets(invocation, project):
        yield from configuration.load_target_manifests(invocation, project, target).desired.values()


def _chosen_targets(invocation: Invocation, project: Project) -> list[Target]:
    try:
        return [
            choose_and_fill_target(
                project, invocation.target, invocation.environ, invocation.on_terminal
            )
        ]
    except SynapseApplyError:
        return list(project.targets.values())
