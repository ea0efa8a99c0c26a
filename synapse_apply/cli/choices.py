"""What a plan is asked for: the command's options, and the target's own rules."""

from __future__ import annotations

from typing import Protocol

import click

from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.policy import PREFIX, Policy
from synapse_apply.model.project import Target
from synapse_apply.planning.policy_stops import overridable
from synapse_apply.planning.situation import Choices
from synapse_apply.session.select import Selectable, selection


class Planned(Selectable, Protocol):
    """What a plan is made of."""

    @property
    def target(self) -> Target: ...
    @property
    def partial(self) -> bool: ...


@frozen
class Asked:
    """The options of `plan` and `apply` that change what is planned; None where `adopt` is open."""

    prune: bool
    recreate: bool
    resend_secrets: bool
    overridden: tuple[str, ...]
    adopt: bool | None
    no_verify: bool = False
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    revert_drift: bool = False
    allow_locked: bool = False

    def choices(self, context: Planned, *, asks: bool = False) -> Choices:
        """With the rules of the target; what is to be adopted is shown where somebody is asked.

        InputError when a selection or an override fits nothing. A usage error for what cannot be
        meant: of a part of the manifests nobody can tell what is declared no more.
        """
        if self.prune and context.partial:
            raise click.UsageError(
                "--prune needs all manifests: with -f, what other files declare would be deleted."
            )
        if self.allow_locked and not self.prune:
            raise click.UsageError("--allow-locked is for what --prune deletes: give both.")
        target = context.target
        _check(self.overridden, target.policy)
        return Choices(
            prune=self.prune,
            adopt=asks if self.adopt is None else self.adopt,
            recreate=self.recreate,
            resend_secrets=self.resend_secrets,
            verify=not self.no_verify,
            overridden=frozenset(self.overridden),
            selected=selection(context, self.only, self.exclude),
            revert_drift=self.revert_drift,
            allow_locked=self.allow_locked,
        ).under(target)


def _check(overridden: tuple[str, ...], policy: Policy) -> None:
    """What is mistyped, or cannot be overridden, must not look as if it were."""
    may = overridable(policy.rules)
    rules = {rule.id: rule for rule in policy.rules}
    findings = []
    for name in overridden:
        if not name.startswith(PREFIX) or name in may:
            continue
        if name not in rules:
            why = f"the policy of this target has no rule `{name.removeprefix(PREFIX)}`"
            hint = f"there are {', '.join(may)}" if may else "leave it out"
        elif rules[name].denies:
            why = f"{name} speaks of single resources"
            hint = "name a resource under its `except:` in the project file"
        else:
            why, hint = f"{name} only warns", "leave it out"
        findings.append(error("This rule cannot be overridden", why, hint))
    if findings:
        raise InputError(*findings)
