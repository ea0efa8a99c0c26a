"""The policy of a target: what its rules ask, how much each weighs, and whom it spares."""

from __future__ import annotations

from dataclasses import field
from fnmatch import fnmatchcase

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.runtime.cron import Window

DENY, WARN, OFF = "deny", "warn", "off"
RULE_ID_PREFIX = "policy:"


@frozen
class PolicyRule:
    """One rule; `check` is the built-in it uses, the rest what that needs to know.

    `only` and `excepted` are addresses, patterns of them, or prefixes of kinds; an empty `only`
    is all. `severity` is deny or warn. `position` is its place in the project file; `is_default`:
    nobody wrote it.
    """

    check: str
    name: str
    severity: str = DENY
    only: tuple[str, ...] = ()
    excepted: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    limit: int = 0
    window: Window | None = None
    is_default: bool = False
    # Where it stands is not what it says: two files may have one rule.
    position: Position | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """Its name among refusals and guards."""
        return f"{RULE_ID_PREFIX}{self.name}"

    @property
    def is_denying(self) -> bool:
        return self.severity == DENY

    def applies_to(self, address: Address) -> bool:
        """Whether it holds for a resource.

        Labels never decide: a manifest could write itself an exception.
        """
        is_included = not self.only or _matches_any_pattern(address, self.only)
        return is_included and not _matches_any_pattern(address, self.excepted)


def _matches_any_pattern(address: Address, patterns: tuple[str, ...]) -> bool:
    return any(
        address.kind == pattern or fnmatchcase(str(address), pattern) for pattern in patterns
    )


# What holds for a target that is not embedded, unless its project says otherwise: the platform
# replaces a debug release by another upload of its version, so that nothing vouches for its bytes.
DEFAULT_RULES = (PolicyRule("no-debug-releases", "no-debug-releases", is_default=True),)


@frozen
class Policy:
    """Rules of the house; `unreleased_source` is note or refuse."""

    unreleased_source: str = "note"
    rules: tuple[PolicyRule, ...] = ()
