"""What names on a command line stand for: one spelling for every command.

A name is an address; a series, as `release/yolo`, which is its declared members, or those that are
recorded where none is declared; a kind; a label as KEY=VALUE; a bare name such as `yolo` or
`yolo@1.2.0` where only one kind has it; or any of these with `*` for whatever stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.manifests.wording import did_you_mean
from synapse_apply.model.address import Address, fits_pattern, in_order, is_pattern
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import State

_MOST_LISTED = 10

Known = Mapping[Address, None]
"""All addresses there are, in order."""


class Selectable(Protocol):
    """What addresses are chosen from."""

    @property
    def desired(self) -> Mapping[Address, Desired]: ...
    @property
    def catalogue(self) -> Catalogue: ...
    def recorded(self) -> Iterable[Address]: ...


@frozen
class Choosable:
    """What is chosen from where there is no whole context: a state alone, or manifests alone."""

    desired: Mapping[Address, Desired] = field(default_factory=dict)
    addresses: Collection[Address] = ()
    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)

    def recorded(self) -> Iterable[Address]:
        """The addresses beside those that are declared."""
        return self.addresses


def in_state(state: State) -> Choosable:
    """What a state knows: its records, and what has a call open."""
    return Choosable({}, {*state.records, *(one.address for one in state.open_intents)})


def selection(
    context: Selectable,
    only: Sequence[str],
    exclude: Sequence[str],
    kinds: Collection[str] = (),
) -> frozenset[Address] | None:
    """The selected addresses, None for all; InputError with every name that fits nothing.

    What `exclude` names is taken out of what `only` names, or of all. `kinds` are those that a
    bare name can be of, by default every one.
    """
    if not only and not exclude:
        return None
    known = _known(context)
    findings: list[Diagnostic] = []

    def chosen(names: Iterable[str]) -> set[Address]:
        found: set[Address] = set()
        for name in names:
            fitting = find_fitting(context, name, kinds, known)
            several = _kinds_of(fitting) if _is_bare(context, name) else ()
            if not fitting:
                findings.append(_nothing(name, known, context))
            elif len(several) > 1:
                findings.append(_which(name, fitting))
            else:
                found.update(fitting)
        return found

    selected = (chosen(only) if only else set(known)) - chosen(exclude)
    if findings:
        raise InputError(*findings)
    return frozenset(selected)


def choose_one(
    context: Selectable, name: str, kinds: Collection[str] = (), known: Known | None = None
) -> Address:
    """The one address that is meant; InputError where none or several fit.

    A whole address is taken as it stands, also where nothing has it: the command knows what that
    means.
    """
    known = _known(context) if known is None else known
    fitting = find_fitting(context, name, kinds, known)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InputError(_which(name, fitting))
    return _as_address(name, known, context)


def choose_each(
    context: Selectable,
    names: Iterable[str],
    fits: Callable[[Address], bool] = lambda _address: True,
    what: str = "is declared or recorded",
) -> list[Address]:
    """The address of each name, and all that a name with `*` fits; InputError as of one.

    `fits` says which of these the command can be about, `what` says so to people.
    """
    known = _known(context)
    chosen: dict[Address, None] = {}
    for name in names:
        if not is_pattern(name) or _is_exact(name, known):
            chosen[choose_one(context, name, (), known)] = None
            continue
        there = find_fitting(context, name, (), known)
        if not there:
            raise InputError(_nothing(name, known, context))
        fitting = [at for at in there if fits(at)]
        if not fitting:
            raise InputError.of("The selection fits nothing", f"Nothing that `{name}` fits {what}.")
        chosen.update(dict.fromkeys(fitting))
    return list(chosen)


def find_fitting(
    context: Selectable,
    name: str,
    kinds: Collection[str] = (),
    known: Known | None = None,
) -> list[Address]:
    """All that a name may mean, in order; of several kinds where a bare name does."""
    known = _known(context) if known is None else known
    if _is_exact(name, known):
        return [Address.parse(name)]
    found = _of_series(name, known, context)
    if found or "=" in name:  # keys of labels may have a `/`, names of addresses a `=`
        found = found or [at for at, one in context.desired.items() if _has_label(one, name)]
        if found or not is_pattern(name):
            return found
    of_kind = _kinds(name, context.catalogue)
    if of_kind:
        return [at for at in known if at.kind in of_kind]
    if is_pattern(name):
        return [at for at in known if fits_pattern(str(at) if "/" in name else at.name, name)]
    return _of_bare_name(name, known, context, kinds) if "/" not in name else []


def _known(context: Selectable) -> Known:
    return dict.fromkeys(in_order({*context.desired, *context.recorded()}))


def _is_exact(name: str, known: Known) -> bool:
    kind, _, rest = name.partition("/")
    return Address(kind, rest) in known


def _of_series(name: str, known: Known, context: Selectable) -> list[Address]:
    """The declared members of a series, else the recorded ones."""
    members = [at for at in known if _has_series(at, context) and _series(at) == name]
    return [at for at in members if at in context.desired] or members


def _of_bare_name(
    name: str, known: Known, context: Selectable, kinds: Collection[str]
) -> list[Address]:
    there = dict.fromkeys(at for at in known if not kinds or at.kind in kinds)
    named = [at for at in there if at.name == name]
    for kind in sorted(_kinds_of(there) - _kinds_of(named)):
        of_kind = dict.fromkeys(at for at in there if at.kind == kind)
        named += _of_series(f"{kind}/{name}", of_kind, context)
    return named


def _has_series(address: Address, context: Selectable) -> bool:
    kind = context.catalogue.get(address.kind)
    return kind is not None and bool(kind.series)


def _is_bare(context: Selectable, name: str) -> bool:
    is_kind = bool(_kinds(name, context.catalogue))
    return not is_kind and not is_pattern(name) and "/" not in name and "=" not in name


def _kinds_of(addresses: Iterable[Address]) -> set[str]:
    return {at.kind for at in addresses}


def _has_label(one: Desired, name: str) -> bool:
    return any(f"{key}={value}" == name for key, value in one.labels.items())


def _kinds(name: str, catalogue: Catalogue) -> set[str]:
    return {prefix for prefix, kind in catalogue.items() if name in (prefix, kind.kind)}


def _series(address: Address) -> str:
    return f"{address.kind}/{address.name.rpartition('@')[0]}"


def _as_address(name: str, known: Known, context: Selectable) -> Address:
    if is_pattern(name):
        raise InputError(_nothing(name, known, context))
    try:
        return Address.parse(name)
    except ValueError:
        raise InputError(_nothing(name, known, context)) from None


def _which(name: str, fitting: Sequence[Address]) -> Diagnostic:
    several = ", ".join(map(str, fitting[:_MOST_LISTED]))
    more = ", ..." if len(fitting) > _MOST_LISTED else ""
    return error("Which one?", f"`{name}` may be {several}{more}", "write the whole address")


def _nothing(name: str, known: Known, context: Selectable) -> Diagnostic:
    if _kinds(name, context.catalogue):
        return _none_of_kind(name, known)
    words: set[str] = set()
    if "/" in name:
        words.update(map(str, known))
    if "=" in name:
        labelled = (one.labels.items() for one in context.desired.values())
        words.update(f"{key}={value}" for labels in labelled for key, value in labels)
    if "/" not in name and "=" not in name:
        words.update(context.catalogue, (at.name for at in known))
    return error(
        "The selection fits nothing",
        f"`{name}` is no address, name, kind or label of what is declared or recorded",
        did_you_mean(name, sorted(words))
        or "write KIND/NAME, with `*` for several; a name, a kind, or KEY=VALUE of a label",
    )


def _none_of_kind(name: str, known: Known) -> Diagnostic:
    others = ", ".join(sorted({at.kind for at in known}))
    return error(
        "The selection fits nothing",
        f"nothing of kind `{name}` is declared or recorded for this target",
        "declare it in a manifest first" + (f", or choose from: {others}" if others else ""),
    )
