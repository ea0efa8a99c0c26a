"""What a policy rule says, and which resources it applies to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.frozen import frozen

if TYPE_CHECKING:
    from synapse_apply.model.runtime.cron import Window

DENY, WARN, OFF = "deny", "warn", "off"
RULE_ID_PREFIX = "policy:"


@frozen
class PolicyRule:
    """One rule; `check` is the built-in check that it uses, the rest are that check's parameters.

    `only` and `excepted` are addresses, patterns of addresses, or prefixes of kinds; an empty
    `only` means all. `severity` is deny or warn. `position` is in the project file; `is_default`:
    it is not written there.
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
    # Not compared: two files may hold the same rule at different positions.
    position: Position | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """The rule's id in refusals, guards and findings."""
        return f"{RULE_ID_PREFIX}{self.name}"

    @property
    def is_denying(self) -> bool:
        return self.severity == DENY

    def applies_to(self, *addresses: Address) -> bool:
        """Whether the rule applies to a resource, by the addresses that it has.

        Labels never count, since a manifest could exempt itself by one. So is it with an id in
        the place of a name, where the resource has an address by name.
        """
        is_included = not self.only or any(
            _matches_any_pattern(address, self.only) for address in addresses
        )
        return is_included and not _matches_any_pattern(choose_named(addresses), self.excepted)


def choose_named(addresses: Sequence[Address]) -> Address:
    """The first address that has no id in the place of a name; else the first one."""
    return next((one for one in addresses if not one.name.startswith("id=")), addresses[0])


def _matches_any_pattern(address: Address, patterns: tuple[str, ...]) -> bool:
    return any(
        address.kind == pattern or fnmatchcase(str(address), pattern) for pattern in patterns
    )


# Rules of every target that is not embedded, unless its project replaces them: the platform
# lets a debug release be uploaded again under the same version, so its content is not fixed.
DEFAULT_RULES = (PolicyRule("no-debug-releases", "no-debug-releases", is_default=True),)


@frozen
class AllowedSecret:
    """A finding that may be published; `line` may be 0 where its file has no other one."""

    file: str
    digest: str
    reason: str
    line: int = 0


@frozen
class Policy:
    """The rules of a target, and findings they let pass; `unreleased_source` is note or refuse."""

    unreleased_source: str = "note"
    rules: tuple[PolicyRule, ...] = ()
    allow_package_secrets: tuple[AllowedSecret, ...] = ()
