"""What is known of a target from the project's files alone: no backend, no state.

An offline plan imports whatever is imported here, and a hook runs it before each commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ApiBinding, Catalogue
from synapse_apply.manifests.decode.loading import LoadedManifests
from synapse_apply.manifests.project.targets import choose_and_fill_target
from synapse_apply.model.address import Address
from synapse_apply.model.dated_exception import DatedException
from synapse_apply.model.errors import InputError, ManifestError
from synapse_apply.model.frozen import replace
from synapse_apply.model.ports import Clock
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import Desired
from synapse_apply.workspace import configuration
from synapse_apply.workspace.environment import CheckoutState, SystemClock, read_checkout
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.selection import Names

# What pre-commit gives a hook is all that stands in `args`.
_HOOK_HINT = (
    "name it in .pre-commit-config.yaml, `args: [--against, git:HEAD, -t, NAME]`, "
    "or set default_target in synapse-apply.yaml"
)


class OfflineTarget:
    """One target as the project's files declare it; reads no environment and sends nothing.

    `typed_target` is the target's name where printed commands must name it. `paths` are the
    manifests named on the command line; with `partial`, only these count.
    """

    def __init__(self, invocation: Invocation) -> None:
        self.invocation = invocation
        self.catalogue: Catalogue = CATALOGUE
        self.typed_target = invocation.target or ""
        self.paths = tuple(map(str, invocation.paths))
        self.partial = bool(self.paths)
        self.clock: Clock = SystemClock()

    @cached_property
    def today(self) -> str:
        """The day (UTC) by which exceptions have ended or hold."""
        return self.clock.utc_now()[:10]

    @property
    def exceptions(self) -> tuple[DatedException, ...]:
        """What the project file and the manifests let pass until a day."""
        target = self.project.targets.get(self.target.name, self.target)
        lists = (one.lifecycle.exceptions for _, one in sorted(self.desired.items()))
        return (*target.policy.exceptions, *chain.from_iterable(lists))

    @cached_property
    def project(self) -> Project:
        """The project file's settings; InputError with every finding."""
        return configuration.load_valid_project_or_defaults(self.invocation)

    @cached_property
    def target(self) -> Target:
        """The chosen target, without values of the environment; InputError without one."""
        try:
            target = choose_and_fill_target(
                self.project, self.invocation.target, {}, is_interactive=True
            )
            return replace(target, policy=target.policy.at(self.today))
        except InputError as problem:
            if self.invocation.target or not self.invocation.environ.get("PRE_COMMIT"):
                raise
            raise InputError(
                *(finding.with_changes(hint=_HOOK_HINT) for finding in problem.diagnostics)
            ) from None

    @cached_property
    def declared_target(self) -> configuration.DeclaredTarget:
        """Manifests and packages with every finding; must not be used where one is an error."""
        declared = configuration.read_declared_target(self.invocation, self.project, self.target)
        today, desired = self.today, declared.desired
        dated = {
            address: replace(one, lifecycle=one.lifecycle.at(today))
            for address, one in desired.items()
            if one.lifecycle.exceptions
        }
        return replace(declared, desired={**desired, **dated}) if dated else declared

    @cached_property
    def manifests_alone(self) -> LoadedManifests:
        """The manifests with every finding, without reading packages."""
        return configuration.load_target_manifests(self.invocation, self.project, self.target)

    @cached_property
    def desired(self) -> Mapping[Address, Desired]:
        """The declared resources, packages inspected; ManifestError with every finding."""
        if any(finding.is_error for finding in self.declared_target.diagnostics):
            raise ManifestError(*self.declared_target.diagnostics)
        return self.declared_target.desired

    def known_addresses_of_state(self) -> Iterable[Address]:
        """The addresses that count as recorded: none, without a state."""
        return ()

    @property
    def names(self) -> Names:
        """What a name means among the addresses that are declared or recorded now."""
        return Names(self.desired, self.known_addresses_of_state(), self.catalogue)

    def select_binding(self, prefix: str) -> ApiBinding:
        """The operations of a kind in the API version that the target uses for it."""
        return self.catalogue[prefix].select_newest_binding(self.target.api)

    def read_checkout(self) -> CheckoutState:
        """The checked-out commit, and which of the files that were read differ from it."""
        read_files = configuration.iter_read_paths(self.project, self.declared_target)
        return read_checkout(self.project.root, read_files)
