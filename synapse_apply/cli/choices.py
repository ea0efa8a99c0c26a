"""What a plan is asked for: the command's options, and the target's own rules."""

from __future__ import annotations

from dataclasses import dataclass

from synapse_apply.model.project import Target
from synapse_apply.planning.situation import Choices


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `plan` and `apply` that change what is planned."""

    prune: bool
    recreate: bool
    resend_secrets: bool
    overridden: tuple[str, ...]
    adopt: bool

    def choices(self, target: Target) -> Choices:
        """With the rules of the target in the project file."""
        return Choices(
            prune=self.prune,
            adopt=self.adopt,
            recreate=self.recreate,
            resend_secrets=self.resend_secrets,
            overridden=frozenset(self.overridden),
            guards=target.guards,
            policy=target.policy,
            on_drift=target.on_drift,
        )
