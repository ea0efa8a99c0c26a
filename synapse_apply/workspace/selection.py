"""Which addresses a name on a command line stands for, the same in every command.

A name is an address; a series such as `release/yolo`, which stands for its declared members, or
the recorded ones where none is declared; a kind; a label as KEY=VALUE; a bare name such as
`yolo` or `yolo@1.2.0` where only one kind has it; or any of these with the wildcard `*`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.model.address import Address, has_wildcard, matches_pattern
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError, NameNotFound
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import suggest_words
from synapse_apply.model.resource import Desired
from synapse_apply.model.state import State

_MAX_LISTED = 10

KnownAddresses = Mapping[Address, None]
"""All addresses there are, in order."""


class Selectable(Protocol):
    """The declared and recorded addresses that names are matched with."""

    @property
    def desired(self) -> Mapping[Address, Desired]: ...
    @property
    def catalogue(self) -> Catalogue: ...
    def known_addresses_of_state(self) -> Iterable[Address]: ...


@frozen
class SelectableAddresses:
    """A Selectable from a state alone, or from manifests alone."""

    desired: Mapping[Address, Desired] = field(default_factory=dict)
    addresses: Collection[Address] = ()
    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)

    def known_addresses_of_state(self) -> Iterable[Address]:
        """The addresses that are not declared."""
        return self.addresses


def state_selectable(state: State) -> SelectableAddresses:
    """The addresses of a state: its records, and those with an open call."""
    return SelectableAddresses(
        {}, {*state.records, *(intent.address for intent in state.open_intents)}
    )


def select_addresses(
    selectable: Selectable, only: Sequence[str], exclude: Sequence[str], kinds: Collection[str] = ()
) -> frozenset[Address] | None:
    """The selected addresses, None for all; InputError with every name that matches nothing.

    `exclude` is subtracted from `only`, or from all addresses. A bare name must be of one of
    `kinds`, by default of any.
    """
    if not only and not exclude:
        return None
    known_addresses = _all_addresses(selectable)
    findings: list[Diagnostic] = []

    def collect(names: Iterable[str]) -> set[Address]:
        addresses: set[Address] = set()
        for name in names:
            matches = find_addresses(selectable, name, kinds, known_addresses)
            matched_kinds = _collect_kinds(matches) if _is_bare_name(selectable, name) else ()
            if not matches:
                findings.append(_build_no_match_finding(name, known_addresses, selectable))
            elif len(matched_kinds) > 1:
                findings.append(_ambiguous(name, matches))
            else:
                addresses.update(matches)
        return addresses

    # Both are resolved before anything is raised, so that every wrong name is told at once.
    selected = (collect(only) if only else set(known_addresses)) - collect(exclude)
    if findings:
        raise InputError(*findings)
    return frozenset(selected)


def choose_address(
    selectable: Selectable,
    name: str,
    kinds: Collection[str] = (),
    known_addresses: KnownAddresses | None = None,
) -> Address:
    """The one address that a name stands for; InputError where it matches several or is malformed.

    A complete address is returned even where nothing has it: the command decides about that.
    """
    known_addresses = _all_addresses(selectable) if known_addresses is None else known_addresses
    matches = find_addresses(selectable, name, kinds, known_addresses)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InputError(_ambiguous(name, matches))
    if has_wildcard(name):
        raise NameNotFound(_build_no_match_finding(name, known_addresses, selectable))
    try:
        return Address.parse(name)
    except ValueError:
        raise NameNotFound(_build_no_match_finding(name, known_addresses, selectable)) from None


def choose_addresses(
    selectable: Selectable,
    names: Iterable[str],
    is_suitable: Callable[[Address], bool] = lambda _address: True,
    condition_text: str = "is declared or recorded",
) -> list[Address]:
    """The address of each name, and all that a name with `*` matches; InputError without a match.

    Of the wildcard's matches, only those that are `is_suitable`; `condition_text` says so in the
    error.
    """
    known_addresses = _all_addresses(selectable)
    chosen_addresses: dict[Address, None] = {}
    for name in names:
        # A resource may have a `*` in its name: it is meant before what it would match.
        if not has_wildcard(name) or _is_known_address(name, known_addresses):
            chosen_addresses[choose_address(selectable, name, (), known_addresses)] = None
            continue
        matches = find_addresses(selectable, name, (), known_addresses)
        if not matches:
            raise NameNotFound(_build_no_match_finding(name, known_addresses, selectable))
        suitable = [address for address in matches if is_suitable(address)]
        if not suitable:
            raise InputError.from_summary(
                "Nothing matches the selection", f"Nothing that `{name}` fits {condition_text}."
            )
        chosen_addresses.update(dict.fromkeys(suitable))
    return list(chosen_addresses)


def find_addresses(
    selectable: Selectable,
    name: str,
    kinds: Collection[str] = (),
    known_addresses: KnownAddresses | None = None,
) -> list[Address]:
    """All addresses that a name may stand for, sorted; a bare name may match several kinds."""
    known_addresses = _all_addresses(selectable) if known_addresses is None else known_addresses
    # An exact address comes first: its name may contain a `=`, as labels do.
    if _is_known_address(name, known_addresses):
        return [Address.parse(name)]
    matches = _find_members(name, known_addresses, selectable)
    if matches or "=" in name:  # keys of labels may have a `/`, names of addresses a `=`
        matches = matches or [
            address
            for address, resource in selectable.desired.items()
            if any(f"{key}={value}" == name for key, value in resource.labels.items())
        ]
        if matches or not has_wildcard(name):
            return matches
    matched_kinds = _find_kinds(name, selectable.catalogue)
    if matched_kinds:
        return [address for address in known_addresses if address.kind in matched_kinds]
    if has_wildcard(name):
        return [
            address
            for address in known_addresses
            if matches_pattern(str(address) if "/" in name else address.name, name)
        ]
    return _find_by_bare_name(name, known_addresses, selectable, kinds) if "/" not in name else []


def _all_addresses(selectable: Selectable) -> KnownAddresses:
    return dict.fromkeys(sorted({*selectable.desired, *selectable.known_addresses_of_state()}))


def _is_known_address(name: str, known_addresses: KnownAddresses) -> bool:
    kind, _, address_name = name.partition("/")
    return Address(kind, address_name) in known_addresses


def _find_members(
    name: str, known_addresses: KnownAddresses, selectable: Selectable
) -> list[Address]:
    """The declared members of a series; the recorded ones where none is declared."""
    members = [
        address
        for address in known_addresses
        if _belongs_to_series(address, selectable)
        and (f"{address.kind}/{address.name.rpartition('@')[0]}") == name
    ]
    return [address for address in members if address in selectable.desired] or members


def _find_by_bare_name(
    name: str, known_addresses: KnownAddresses, selectable: Selectable, kinds: Collection[str]
) -> list[Address]:
    candidates = dict.fromkeys(
        address for address in known_addresses if not kinds or address.kind in kinds
    )
    matches = [address for address in candidates if address.name == name]
    # Only of kinds in which no resource has that very name, which is what was meant there.
    for kind in sorted(_collect_kinds(candidates) - _collect_kinds(matches)):
        kind_addresses = dict.fromkeys(address for address in candidates if address.kind == kind)
        matches += _find_members(f"{kind}/{name}", kind_addresses, selectable)
    return matches


def _belongs_to_series(address: Address, selectable: Selectable) -> bool:
    kind = selectable.catalogue.get(address.kind)
    return kind is not None and bool(kind.series_field)


def _is_bare_name(selectable: Selectable, name: str) -> bool:
    is_kind = bool(_find_kinds(name, selectable.catalogue))
    return not is_kind and not has_wildcard(name) and "/" not in name and "=" not in name


def _collect_kinds(addresses: Iterable[Address]) -> set[str]:
    return {address.kind for address in addresses}


def _find_kinds(name: str, catalogue: Catalogue) -> set[str]:
    return {prefix for prefix, kind in catalogue.items() if name in (prefix, kind.kind)}


def _ambiguous(name: str, matches: Sequence[Address]) -> Diagnostic:
    matches_text = ", ".join(map(str, matches[:_MAX_LISTED]))
    ellipsis_text = ", ..." if len(matches) > _MAX_LISTED else ""
    return error_finding(
        "Which one?", f"`{name}` may be {matches_text}{ellipsis_text}", "write the whole address"
    )


def _build_no_match_finding(
    name: str, known_addresses: KnownAddresses, selectable: Selectable
) -> Diagnostic:
    if _find_kinds(name, selectable.catalogue):
        other_kinds = ", ".join(sorted({address.kind for address in known_addresses}))
        return error_finding(
            "Nothing matches the selection",
            f"nothing of kind `{name}` is declared or recorded for this target",
            "declare it in a manifest first"
            + (f", or choose from: {other_kinds}" if other_kinds else ""),
        )
    words: set[str] = set()
    if "/" in name:
        words.update(map(str, known_addresses))
    if "=" in name:
        label_items = (resource.labels.items() for resource in selectable.desired.values())
        words.update(f"{key}={value}" for labels in label_items for key, value in labels)
    if "/" not in name and "=" not in name:
        words.update(selectable.catalogue, (address.name for address in known_addresses))
    return error_finding(
        "Nothing matches the selection",
        f"`{name}` is not an address, name, kind or label of what is declared or recorded",
        suggest_words(name, sorted(words))
        or "write KIND/NAME, with `*` for several; a name, a kind, or KEY=VALUE of a label",
    )
