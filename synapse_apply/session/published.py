"""Which versions are live of the series that a rule of the policy judges new members by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.observed import Observed
from synapse_apply.model.policy import Rule
from synapse_apply.model.state import Record
from synapse_apply.model.threads import threads
from synapse_apply.planning.policy import of_series
from synapse_apply.planning.refusals import listing
from synapse_apply.planning.situation import Published
from synapse_apply.session.context import Context
from synapse_apply.session.observe import Observer

Untold = tuple[Diagnostic, ...]


def published(
    context: Context,
    observer: Observer,
    records: Mapping[Address, Record],
    selected: frozenset[Address] | None,
) -> tuple[Published, Untold]:
    """Live versions by (prefix, series); and a warning where a backend does not tell them.

    Asked is for what is to be made under such a rule alone, of each series once.
    """
    rules = of_series(context.target.policy.rules)
    if not rules:
        return {}, ()
    asking: dict[tuple[str, str], list[Desired]] = {}
    for address, one in context.desired.items():
        if address not in records and (selected is None or address in selected):
            for at in _series_of(context, observer, one, rules):
                asking.setdefault(at, []).append(one)
    with threads(context.parallelism) as pool:
        live = dict(
            zip(asking, pool.map(observer.beside, map(_first, asking.values())), strict=True)
        )
    unknown = [one.address for at, some in asking.items() if live[at] is None for one in some]
    return (
        {at: _versions(context, at, found) for at, found in live.items() if found},
        _untold(sorted(unknown), rules),
    )


def _series_of(
    context: Context, observer: Observer, one: Desired, rules: Iterable[Rule]
) -> Iterator[tuple[str, str]]:
    """The series that a declared resource is to join, where a rule judges that."""
    kind, sighting = context.catalogue[one.address.kind], observer.sightings[one.address]
    is_new = sighting.observed is None and sighting.problem is None
    if kind.series and is_new and any(rule.concerns(one.address) for rule in rules):
        yield kind.prefix, kind.place_in_series(one.spec)[0]


def _first(some: list[Desired]) -> Desired:
    return some[0]


def _versions(context: Context, at: tuple[str, str], found: Iterable[Observed]) -> list[str]:
    name = context.catalogue[at[0]].version
    return [str(one.spec[name]) for one in found if name in one.spec]


def _untold(unknown: list[Address], rules: Iterable[Rule]) -> Untold:
    if not unknown:
        return ()
    return (
        warning(
            "A rule knows only what is recorded",
            f"{listing(unknown)}: this backend does not tell which others of the series are live, "
            "so that a higher version would not be noticed unless it is recorded (policy: "
            f"{listing(rule.name for rule in rules)}).",
            "`synapse-apply import ADDRESS ID` records one that is there.",
        ),
    )
