"""What a plan is asked for: the command's options, and the target's own rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from synapse_apply.model.project import Target
from synapse_apply.planning.situation import Choices
from synapse_apply.session.select import Selectable, selection


class Planned(Selectable, Protocol):
    """What a plan is made of."""

    @property
    def target(self) -> Target: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `plan` and `apply` that change what is planned."""

    prune: bool
    recreate: bool
    resend_secrets: bool
    overridden: tuple[str, ...]
    adopt: bool
    no_verify: bool = False
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def choices(self, context: Planned) -> Choices:
        """With the rules of the target; InputError when a selection fits nothing."""
        target = context.target
        return Choices(
            prune=self.prune,
            adopt=self.adopt,
            recreate=self.recreate,
            resend_secrets=self.resend_secrets,
            verify=not self.no_verify,
            overridden=frozenset(self.overridden),
            selected=selection(context, self.only, self.exclude),
            guards=target.guards,
            policy=target.policy,
            on_drift=target.on_drift,
        )
