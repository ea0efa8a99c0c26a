"""What a plan is asked for: the command's options, and the target's own rules."""

from __future__ import annotations

from dataclasses import dataclass

from synapse_apply.planning.situation import Choices
from synapse_apply.session.context import Context
from synapse_apply.session.select import selection


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
    revert_drift: bool = False

    def choices(self, context: Context) -> Choices:
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
            revert_drift=self.revert_drift,
        )
