"""Which addresses a name on a command line stands for, the same in every command.

A name is an address; a series such as `release/yolo`, which stands for its declared members, or
the recorded ones where none is declared; a kind; a label as KEY=VALUE; a bare name such as
`yolo` or `yolo@1.2.0` where only one kind has it; or any of these with the wildcard `*`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Self

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.model.address import Address, has_wildcard, matches_pattern
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError, NameNotFound
from synapse_apply.model.phrases import suggest_words
from synapse_apply.model.resource import Desired
from synapse_apply.model.state import State

_MAX_LISTED = 10


class Names:
    """The addresses that are declared or recorded, in order, and what a name means among them."""

    def __init__(
        self,
        desired: Mapping[Address, Desired],
        recorded: Iterable[Address] = (),
        catalogue: Catalogue = CATALOGUE,
    ) -> None:
        self._desired, self._catalogue = desired, catalogue
        self.addresses = dict.fromkeys(sorted({*desired, *recorded}))

    @classmethod
    def of_state(cls, state: State) -> Self:
        """Those of a state alone: its records, and those with an open call."""
        return cls({}, (*state.records, *(intent.address for intent in state.open_intents)))

    def select(
        self, only: Sequence[str], exclude: Sequence[str], kinds: Collection[str] = ()
    ) -> frozenset[Address] | None:
        """The selected addresses, None for all; InputError with every name that matches nothing.

        `exclude` is subtracted from `only`, or from all addresses. A bare name must be of one of
        `kinds`, by default of any.
        """
        if not only and not exclude:
            return None
        findings: list[Diagnostic] = []

        def collect(names: Iterable[str]) -> set[Address]:
            addresses: set[Address] = set()
            for name in names:
                matches = self.find(name, kinds)
                is_pattern = any(mark in name for mark in "/=") or has_wildcard(name)
                is_bare = not is_pattern and not self.kinds_named(name)
                if not matches:
                    findings.append(self.no_match(name))
                elif is_bare and len({address.kind for address in matches}) > 1:
                    findings.append(_ambiguous(name, matches))
                else:
                    addresses.update(matches)
            return addresses

        # Both are resolved before anything is raised, so that every wrong name is told at once.
        selected = (collect(only) if only else set(self.addresses)) - collect(exclude)
        if findings:
            raise InputError(*findings)
        return frozenset(selected)

    def choose(self, name: str) -> Address:
        """The one address that a name means; InputError where it matches several or is malformed.

        A complete address is returned even where nothing has it: the command decides about that.
        """
        matches = self.find(name)
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InputError(_ambiguous(name, matches))
        if has_wildcard(name):
            raise NameNotFound(self.no_match(name))
        try:
            return Address.parse(name)
        except ValueError:
            raise NameNotFound(self.no_match(name)) from None

    def choose_all(
        self,
        names: Iterable[str],
        is_suitable: Callable[[Address], bool] = lambda _address: True,
        condition_text: str = "is declared or recorded",
    ) -> list[Address]:
        """The address of each name, and all that a name with `*` matches; InputError without any.

        Of the wildcard's matches, only those that are `is_suitable`; `condition_text` says so in
        the error.
        """
        chosen_addresses: dict[Address, None] = {}
        for name in names:
            # A resource may have a `*` in its name: it is meant before what it would match.
            if not has_wildcard(name) or self.has(name):
                chosen_addresses[self.choose(name)] = None
                continue
            if not (matches := self.find(name)):
                raise NameNotFound(self.no_match(name))
            suitable = [address for address in matches if is_suitable(address)]
            if not suitable:
                raise InputError.from_summary(
                    "Nothing matches the selection",
                    f"No resource that matches `{name}` {condition_text}.",
                )
            chosen_addresses.update(dict.fromkeys(suitable))
        return list(chosen_addresses)

    def has(self, name: str) -> bool:
        """Whether it is one of the addresses."""
        kind, _, address_name = name.partition("/")
        return Address(kind, address_name) in self.addresses

    def kinds_named(self, name: str) -> set[str]:
        """The prefixes of the kinds that have this name."""
        return {prefix for prefix, kind in self._catalogue.items() if name in (prefix, kind.kind)}

    def find(self, name: str, kinds: Collection[str] = ()) -> list[Address]:
        """All addresses that a name may stand for, sorted; a bare name may match several kinds.

        It must be of one of `kinds`, by default of any.
        """
        # An exact address comes first: its name may contain a `=`, as labels do.
        if self.has(name):
            return [Address.parse(name)]
        matches = self._members(name)
        if matches or "=" in name:  # keys of labels may have a `/`, names of addresses a `=`
            matches = matches or [
                address
                for address, resource in self._desired.items()
                if any(f"{key}={value}" == name for key, value in resource.labels.items())
            ]
            if matches or not has_wildcard(name):
                return matches
        if matched_kinds := self.kinds_named(name):
            return [address for address in self.addresses if address.kind in matched_kinds]
        if has_wildcard(name):
            return [
                address
                for address in self.addresses
                if matches_pattern(str(address) if "/" in name else address.name, name)
            ]
        if "/" in name:
            return []
        candidates = [one for one in self.addresses if not kinds or one.kind in kinds]
        matches = [address for address in candidates if address.name == name]
        # Only of kinds in which no resource has that very name, which is what was meant there.
        matched_kinds = {address.kind for address in matches}
        for kind in sorted({address.kind for address in candidates} - matched_kinds):
            matches += self._members(f"{kind}/{name}")
        return matches

    def _members(self, name: str) -> list[Address]:
        """The declared members of a series; the recorded ones where none is declared."""
        members = [
            address
            for address in self.addresses
            if f"{address.kind}/{address.name.rpartition('@')[0]}" == name
            and (kind := self._catalogue.get(address.kind)) is not None
            and kind.series_field
        ]
        return [address for address in members if address in self._desired] or members

    def no_match(self, name: str) -> Diagnostic:
        """The error that nothing has this name."""
        if self.kinds_named(name):
            other_kinds = ", ".join(sorted({address.kind for address in self.addresses}))
            return error_finding(
                "Nothing matches the selection",
                f"nothing of kind `{name}` is declared or recorded for this target",
                "declare it in a manifest first"
                + (f", or choose from: {other_kinds}" if other_kinds else ""),
            )
        words: set[str] = set()
        if "/" in name:
            words.update(map(str, self.addresses))
        if "=" in name:
            label_items = (resource.labels.items() for resource in self._desired.values())
            words.update(f"{key}={value}" for labels in label_items for key, value in labels)
        if "/" not in name and "=" not in name:
            words.update(self._catalogue, (address.name for address in self.addresses))
        return error_finding(
            "Nothing matches the selection",
            f"`{name}` is not an address, name, kind or label of a declared or recorded resource",
            suggest_words(name, sorted(words))
            or "write KIND/NAME, with `*` for several; a name, a kind, or KEY=VALUE of a label",
        )


def _ambiguous(name: str, matches: Sequence[Address]) -> Diagnostic:
    matches_text = ", ".join(map(str, matches[:_MAX_LISTED]))
    ellipsis_text = ", ..." if len(matches) > _MAX_LISTED else ""
    return error_finding(
        "Which one?", f"`{name}` may be {matches_text}{ellipsis_text}", "write the whole address"
    )
