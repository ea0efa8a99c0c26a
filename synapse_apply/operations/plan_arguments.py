"""How the options of `plan` and `apply`, with the target's rules, become PlanOptions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import TYPE_CHECKING, Any, Self, cast

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError, OptionConflict
from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages import RULES_BY_ID, SECRET_RULES, Level
from synapse_apply.model.phrases import suggest_words
from synapse_apply.model.project import RULE_ID_PREFIX
from synapse_apply.operations.connection import require_names
from synapse_apply.planning.guards import GUARD_NAMES, overridable_rule_ids
from synapse_apply.planning.plan_input import PlanOptions

if TYPE_CHECKING:
    from synapse_apply.workspace.offline_target import OfflineTarget


@frozen
class PlanArguments:
    """The options that change what is planned; `adopt` is None where it was not given.

    InputError for a wrong type, and for an unknown guard. Names of policy rules are checked later,
    where the policy is known.
    """

    prune: bool = False
    recreate: bool = False
    resend_secrets: bool = False
    override_guards: Collection[str] = ()
    adopt: bool | None = None
    verify: bool = True
    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    revert_drift: bool = False
    allow_locked: bool = False
    allow_replace: bool = False
    no_package_check: Collection[str] = ()

    def __post_init__(self) -> None:
        for name in ("only", "exclude", "no_package_check", "override_guards"):
            object.__setattr__(self, name, require_names(name, getattr(self, name)))
        if unknown := list(filter(None, map(describe_unknown_guard, self.override_guards))):
            raise InputError.from_summary("This guard cannot be overridden", " ".join(unknown))

    @classmethod
    def of(cls, given: Mapping[str, Any], **more: Any) -> Self:
        """Those of the arguments that a method was given which are options of a plan."""
        names = {each.name for each in fields(cast("Any", cls))} & given.keys()
        return cls(**{name: given[name] for name in names}, **more)

    @property
    def typed(self) -> tuple[str, ...]:
        """The options as they are typed, a word each."""
        words: list[str] = []
        for each in fields(cast("Any", self)):
            value, option = getattr(self, each.name), "--" + each.name.replace("_", "-")
            if each.name == "verify":
                value, option = not value, "--no-verify"
            option = option.replace("-guards", "-guard")
            words += [option] if value is True else chain(*((option, one) for one in value or ()))
        return tuple(words)

    def build_plan_options(
        self, planned_target: OfflineTarget, *, will_ask: bool = False
    ) -> PlanOptions:
        """The options under the target's rules; `will_ask` allows what an option allows elsewhere.

        InputError when a selection or an override matches nothing. OptionConflict for options that
        exclude each other: with only some manifests, nobody knows what is no longer declared.
        """
        if self.prune and planned_target.partial:
            raise OptionConflict.from_summary(
                "--prune needs all manifests: with -f, it would delete what other files declare."
            )
        if self.allow_locked and not self.prune:
            raise OptionConflict.from_summary("--allow-locked only works with --prune: give both.")
        target = planned_target.target
        rules, findings = {rule.id: rule for rule in target.policy.rules}, []
        overridable_names = overridable_rule_ids(target.policy.rules)
        for name in self.override_guards:
            if not name.startswith(RULE_ID_PREFIX) or name in overridable_names:
                continue
            reason, hint = f"{name} only warns", "leave it out"
            if name not in rules:
                rule = name.removeprefix(RULE_ID_PREFIX)
                reason = f"the policy of this target has no rule `{rule}`"
                if overridable_names:
                    hint = f"there are {', '.join(overridable_names)}"
            elif rules[name].is_denying:
                reason = f"{name} applies to single resources"
                hint = "name a resource under its `except:` in the project file"
            findings.append(error_finding("This rule cannot be overridden", reason, hint))
        if findings:
            raise InputError(*findings)
        return PlanOptions(
            prune=self.prune,
            adopt=will_ask if self.adopt is None else self.adopt,
            recreate=self.recreate,
            resend_secrets=self.resend_secrets,
            verify=self.verify,
            overridden=frozenset(self.override_guards),
            selected=planned_target.names.select(self.only, self.exclude),
            revert_drift=self.revert_drift,
            allow_locked=self.allow_locked,
            allow_replace=self.allow_replace or will_ask,
            no_package_check=frozenset(map(_require_liftable_rule, self.no_package_check)),
            typed=self.typed,
        ).with_target_rules(target)


def _require_liftable_rule(name: str) -> str:
    """The id of a package's rule that may be lifted by its name; OptionConflict for any other."""
    rule = RULES_BY_ID.get(f"package:{name.removeprefix('package:')}")
    if rule is not None and rule.level is Level.REFUSED and rule.id not in SECRET_RULES:
        return rule.id
    if rule is None:
        known = [each.name for each in RULES_BY_ID.values() if each.level is Level.REFUSED]
        reason = f"there is no such rule; {suggest_words(name.removeprefix('package:'), known)}"
    elif rule.id in SECRET_RULES:
        reason = (
            "no option lifts a rule about secrets. `policy.allow_package_secrets` in the project "
            "file lets one finding pass, by its file and the package's digest, with a reason"
        )
    else:
        reason = "it refuses no release: leave it out"
    raise OptionConflict.from_summary(f"--no-package-check {name}: {reason}.")


def describe_unknown_guard(name: str) -> str:
    """A sentence about a name that is no guard's, "" for a guard's or a policy rule's.

    A typo must not look like an override.
    """
    if name in GUARD_NAMES or name.startswith(RULE_ID_PREFIX):
        return ""
    return f"{name!r} is not a guard; the guards are {', '.join(GUARD_NAMES)}."
