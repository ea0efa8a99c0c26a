"""From a situation to a plan: survey all, decide each, order them, guard the whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from synapse_apply.model.address import Address, in_order
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.state import CREATE_VERB, Intent
from synapse_apply.model.unhurried import unhurried_gc
from synapse_apply.planning import needed
from synapse_apply.planning.along import Along, with_awaited
from synapse_apply.planning.declared import Survey, decide
from synapse_apply.planning.guards import trips
from synapse_apply.planning.identity import claims, perhaps_made
from synapse_apply.planning.order import Cycle, dependency_order
from synapse_apply.planning.policy import Bench, bench_of, judged, tolerated
from synapse_apply.planning.policy_names import strange_names
from synapse_apply.planning.policy_stops import policy_stops
from synapse_apply.planning.refusals import changed_since, dotted, listing
from synapse_apply.planning.rulings import Ruling, needs
from synapse_apply.planning.series import is_history, series_of, went_back
from synapse_apply.planning.situation import Item, Situation
from synapse_apply.planning.undeclared import Successors, let_go
from synapse_apply.planning.verification import proven

Rulings = dict[Address, Ruling]


@unhurried_gc()
def plan(situation: Situation) -> Plan:
    """What would be done about every address, and what cannot be done.

    Pure: the same situation gives the same plan, whatever the order of its items. Linear in the
    number of items, apart from sorting.
    """
    items = {address: situation.items[address] for address in in_order(situation.items)}
    survey = _surveyed(items, situation)
    bench = bench_of(items.values(), situation.choices.policy.rules, situation.published)
    declared, cycles = _declared(items, survey, bench)
    undeclared = _undeclared(items, survey, declared, bench)
    # What its series went on without is no loss, also where it is deleted.
    history = {address for address in undeclared if is_history(items[address], survey.series)}
    meant = {address for address in situation.removed if address in undeclared}
    rulings = _selected({**declared, **undeclared, **_orphans(items, survey)}, situation)
    changes = {address: ruling.change for address, ruling in rulings.items()}
    stops, stopped = policy_stops(situation, changes.values())
    return Plan(
        id=situation.plan_id,
        created=situation.created,
        tool_version=situation.tool_version,
        base=situation.base,
        changes=tuple(changes.values()),
        guards=(*trips(situation, changes, history | meant), *stops),
        diagnostics=_distinct(
            (
                *situation.diagnostics,
                *_limited(rulings, situation),
                *(_cycle(cycle, items) for cycle in cycles),
                *(finding for ruling in rulings.values() for finding in ruling.diagnostics),
                *_foreign_keys(rulings, items),
                *stopped,
                *tolerated(rulings, bench),
                *strange_names(situation),
                *_concerning(rulings, went_back(survey.series, items)),
            )
        ),
        capabilities=situation.capabilities,
        moved=situation.moved,
        trial=situation.trial,
    )


def _surveyed(items: Mapping[Address, Item], situation: Situation) -> Survey:
    return Survey(
        needs={at: needs(item) for at, item in items.items() if item.desired is not None},
        claims=claims(items),
        series=series_of(items.values()),
        intents=(intents := {intent.address: intent for intent in situation.open_intents}),
        perhaps_made=perhaps_made(items, intents, situation.waiting) if intents else {},
        choices=situation.choices,
        settles_in=situation.settles_in,
        told=situation.told,
        elsewhere=situation.elsewhere,
        removed=situation.removed,
        offline=situation.base.offline,
        can_write=situation.can_write,
        refused=situation.refused,
        is_changing=situation.is_changing,
    )


def _declared(
    items: Mapping[Address, Item], survey: Survey, bench: Bench
) -> tuple[Rulings, list[Cycle]]:
    """Rulings on what is declared, in dependency order; dependents of what is stopped stop."""
    graph = with_awaited(items, survey.needs)
    ordered, cycles = dependency_order(graph, lambda address: items[address].type.rank)
    rulings: Rulings = {}

    def ruled(item: Item) -> Ruling:
        return _tried(judged(item, proven(item, decide(item, survey), survey), bench), survey)

    along = Along(items, survey.choices.selected, ruled, graph)
    for address in ordered:
        item = items[address]
        ruling = along.settled(item, ruled(item))
        if ruling.change.changes_server:
            unmet = [need for need in graph[address] if _unmet(need, items, rulings, survey)]
            left = [need for need in unmet if _is_left_out(need, rulings, survey)]
            if left:
                ruling = ruling.refuse(needed.not_selected(item, left))
            if stopped := [need for need in unmet if need not in left]:
                ruling = ruling.refuse(needed.dependency(item, stopped))
        rulings[address] = ruling
    return rulings, cycles


def _tried(ruling: Ruling, survey: Survey) -> Ruling:
    """The same, refused where the backend refused its call."""
    refusal = survey.refused.get(ruling.change.address) if survey.refused else None
    return ruling.refuse(refusal) if refusal is not None else ruling


def _unmet(need: Address, items: Mapping[Address, Item], rulings: Rulings, survey: Survey) -> bool:
    """Whether a dependency is stopped, or is neither there nor made by this plan."""
    if need in rulings and rulings[need].blocked:
        return True
    selected = survey.choices.selected
    made = need in rulings and (selected is None or need in selected)
    return not made and (need not in items or items[need].sighting.observed is None)


def _is_left_out(need: Address, rulings: Rulings, survey: Survey) -> bool:
    """Whether nothing but the selection is in the way of what would be made."""
    selected = survey.choices.selected
    return (
        selected is not None
        and need not in selected
        and need in rulings
        and not rulings[need].blocked
    )


def _undeclared(
    items: Mapping[Address, Item], survey: Survey, declared: Rulings, bench: Bench
) -> Rulings:
    """Rulings on records without manifest, dependents before what they depend on."""
    graph = {
        address: item.record.depends_on
        for address, item in items.items()
        if item.desired is None and item.record is not None
    }
    ordered, _ = dependency_order(graph, lambda address: items[address].type.rank)
    users, successors = _users(items), Successors(survey, declared)
    rulings: Rulings = {}
    for address in reversed(ordered):
        ruling = _tried(judged(items[address], let_go(items[address], survey), bench), survey)
        if ruling.change.action is Action.DELETE:
            ruling = _after_users(ruling, items[address], users.get(address, ()), rulings, declared)
        rulings[address] = successors.awaited(ruling, items[address])
    return rulings


def _users(items: Mapping[Address, Item]) -> Mapping[Address, list[Address]]:
    """By address, the recorded addresses that depend on it."""
    users: dict[Address, list[Address]] = {}
    for address, item in items.items():
        for need in item.record.depends_on if item.record is not None else ():
            users.setdefault(need, []).append(address)
    return users


def _after_users(
    ruling: Ruling, item: Item, users: Iterable[Address], gone: Rulings, kept: Rulings
) -> Ruling:
    """A delete waits for whatever used the object; what cannot let go of it stops the delete."""
    before = {user: gone.get(user) or kept.get(user) for user in users}
    waits = tuple(sorted(user for user, other in before.items() if other is not None))
    stopped = [user for user in waits if (other := before[user]) is not None and other.blocked]
    ruling = replace(ruling, change=replace(ruling.change, depends_on=waits))
    return ruling.refuse(needed.dependency(item, stopped)) if stopped else ruling


def _orphans(items: Mapping[Address, Item], survey: Survey) -> Rulings:
    """Open intents of addresses that are neither declared nor recorded."""
    return {
        address: Ruling(_orphan(intent, survey))
        for address, intent in sorted(survey.intents.items())
        if address not in items
    }


def _orphan(intent: Intent, survey: Survey) -> Change:
    return Change(
        address=intent.address,
        action=Action.CREATE if intent.verb == CREATE_VERB else Action.NO_OP,
        refusals=(survey.unsettled(intent),),
        remote_id=intent.remote_id,
        api=intent.api,
    )


def _selected(rulings: Rulings, situation: Situation) -> Rulings:
    selected = situation.choices.selected
    if selected is None:
        return rulings
    return {address: ruling for address, ruling in rulings.items() if address in selected}


def _limited(rulings: Rulings, situation: Situation) -> Iterator[Diagnostic]:
    """A reader must not take a part for the whole: `No changes.` speaks of what is selected."""
    left = len(situation.items) - len(rulings)
    if situation.choices.selected is not None and left > 0:
        yield warning(
            "Only a part was planned",
            f"{left} of {len(situation.items)} addresses are not selected and left as they are.",
            "Leave out --only and --exclude to see all.",
        )


def _cycle(cycle: Cycle, items: Mapping[Address, Item]) -> Diagnostic:
    item = items[cycle[0]]
    return error(
        "Dependency cycle",
        " needs ".join(str(address) for address in reversed(cycle)) + ".",
        "Remove one of these dependencies.",
        position=item.desired.position if item.desired else None,
        address=str(cycle[0]),
    )


def _foreign_keys(rulings: Rulings, items: Mapping[Address, Item]) -> tuple[Diagnostic, ...]:
    """One warning a run for all secrets that were recorded under another state key."""
    foreign = {address: ruling.foreign for address, ruling in rulings.items() if ruling.foreign}
    fields = [
        f"{address} {dotted(path)}" for address in sorted(foreign) for path in foreign[address]
    ]
    if not fields:
        return ()
    bindings = [(address, items[address].binding) for address in sorted(foreign)]
    finding = warning(
        "Secrets not checked: recorded under another state key",
        f"{listing(fields)}.",
        "Give the state's own key, or `synapse-apply state rekey`. "
        f"Where the value has changed since: {changed_since(bindings)}.",
    )
    return (finding,)


def _concerning(rulings: Rulings, findings: Collection[Diagnostic]) -> Iterator[Diagnostic]:
    """The findings on what is selected."""
    addresses = set(map(str, rulings)) if findings else set()
    return (finding for finding in findings if finding.address in addresses)


def _distinct(findings: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Each finding once: a conflict is found for every address it concerns."""
    return tuple(dict.fromkeys(findings))
