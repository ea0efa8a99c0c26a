"""Which addresses a plan is limited to: what `--only` and `--exclude` name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.manifests.wording import did_you_mean
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import InputError


class Selectable(Protocol):
    """What addresses are chosen from."""

    @property
    def desired(self) -> Mapping[Address, Desired]: ...
    @property
    def catalogue(self) -> Catalogue: ...
    def recorded(self) -> Iterable[Address]: ...


def selection(
    context: Selectable, only: Sequence[str], exclude: Sequence[str]
) -> frozenset[Address] | None:
    """The selected addresses, None for all; InputError with every name that fits nothing.

    A name is an address, a kind, a label as KEY=VALUE, or a series (`release/yolo`: its declared
    members). What `exclude` names is taken out of what `only` names, or of all.
    """
    if not only and not exclude:
        return None
    known = sorted({*context.desired, *context.recorded()})
    findings: list[Diagnostic] = []

    def chosen(names: Iterable[str]) -> set[Address]:
        found: set[Address] = set()
        for name in names:
            fitting = _fitting(name, known, context.desired, context.catalogue)
            found.update(fitting)
            if not fitting:
                findings.append(_nothing(name, known, context))
        return found

    selected = (chosen(only) if only else set(known)) - chosen(exclude)
    if findings:
        raise InputError(*findings)
    return frozenset(selected)


def _fitting(
    name: str,
    known: Sequence[Address],
    desired: Mapping[Address, Desired],
    catalogue: Catalogue,
) -> list[Address]:
    found = [at for at in known if str(at) == name] or [
        at for at in desired if catalogue[at.kind].series and _series(at) == name
    ]
    if found or "=" in name:  # keys of labels may have a `/`, names of addresses a `=`
        return found or [at for at, one in desired.items() if _has_label(one, name)]
    kinds = _kinds(name, catalogue)
    return [at for at in known if at.kind in kinds]


def _has_label(one: Desired, name: str) -> bool:
    return any(f"{key}={value}" == name for key, value in one.labels.items())


def _kinds(name: str, catalogue: Catalogue) -> set[str]:
    return {prefix for prefix, kind in catalogue.items() if name in (prefix, kind.kind)}


def _series(address: Address) -> str:
    return f"{address.kind}/{address.name.rpartition('@')[0]}"


def _nothing(name: str, known: Sequence[Address], context: Selectable) -> Diagnostic:
    if _kinds(name, context.catalogue):
        return _none_of_kind(name, known)
    words: set[str] = set()
    if "/" in name:
        words.update(map(str, known))
    if "=" in name:
        labelled = (one.labels.items() for one in context.desired.values())
        words.update(f"{key}={value}" for labels in labelled for key, value in labels)
    if "/" not in name and "=" not in name:
        words.update(context.catalogue)
    return error(
        "The selection fits nothing",
        f"`{name}` is no address, kind or label of what is declared or recorded",
        did_you_mean(name, sorted(words)) or "write KIND/NAME, a kind, or KEY=VALUE of a label",
    )


def _none_of_kind(name: str, known: Sequence[Address]) -> Diagnostic:
    others = ", ".join(sorted({at.kind for at in known}))
    return error(
        "The selection fits nothing",
        f"nothing of kind `{name}` is declared or recorded for this target",
        "declare it in a manifest first" + (f", or choose from: {others}" if others else ""),
    )
