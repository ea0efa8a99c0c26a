"""The rules of a policy that judge a plan as a whole: they stop an apply as guards do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Change, GuardTrip
from synapse_apply.model.policy import Rule
from synapse_apply.planning.policy import changes_object
from synapse_apply.planning.refusals import listing
from synapse_apply.planning.situation import Situation

_TIME = "%a %Y-%m-%d %H:%M %Z"


@frozen
class _Found:
    """What a rule stops: why, what to do instead, and the rows it counted."""

    summary: str
    detail: str
    way: str
    rows: tuple[Address, ...]
    limit: int = 0


def _frozen(rule: Rule, going: Sequence[Change], now: datetime) -> _Found | None:
    """No call that changes anything, runs among them, while a window is open."""
    rows = _rows(rule, (change for change in going if change.changes_server))
    window = rule.window
    found = window.around(now) if rows and window else None
    if found is None or window is None:
        return None
    begin, end = (f"{at:{_TIME}}" if at else "" for at in found)
    until = f"until {end}" if end else "with no end in sight"
    return _Found(
        f"Changes are frozen {until}",
        f"The window of `{window.cron.text}` opened {begin}; it stops {listing(rows)}.",
        "Wait for its end." if end else "",
        rows,
    )


def _too_many(rule: Rule, going: Sequence[Change], _now: datetime) -> _Found | None:
    """At most so many objects are made, changed or deleted at once."""
    rows = _rows(rule, (change for change in going if changes_object(change)))
    if len(rows) <= rule.limit:
        return None
    objects = "1 object" if len(rows) == 1 else f"{len(rows)} objects"
    return _Found(
        "More changes at once than the policy allows",
        f"{objects} would be made, changed or deleted, and the limit is {rule.limit}.",
        "Apply them in parts, with --only." if rule.limit else "",
        rows,
        rule.limit,
    )


Stop = Callable[[Rule, Sequence[Change], datetime], _Found | None]
STOPS: Mapping[str, Stop] = {"freeze": _frozen, "max-changes": _too_many}


def overridable(rules: Iterable[Rule]) -> tuple[str, ...]:
    """What `--override-guard` takes beside the names of guards."""
    return tuple(rule.id for rule in rules if rule.check in STOPS and rule.denies)


def policy_stops(
    situation: Situation, changes: Iterable[Change]
) -> tuple[tuple[GuardTrip, ...], tuple[Diagnostic, ...]]:
    """The trips that stop an apply of these changes, and what is to be said of the others.

    A rule that somebody overrides is told in any case.
    """
    rules = [rule for rule in situation.choices.policy.rules if rule.check in STOPS]
    if not rules:
        return (), ()
    now = datetime.fromisoformat(situation.created).astimezone(UTC)
    going = [change for change in changes if not change.refused and not change.superseded]
    trips, told = [], []
    for rule in rules:
        found = STOPS[rule.check](rule, going, now)
        if found is None:
            continue
        if rule.denies and rule.id not in situation.choices.overridden:
            trips.append(_trip(rule, found))
        else:
            told.append(_told(rule, found))
    return tuple(trips), tuple(told)


def _trip(rule: Rule, found: _Found) -> GuardTrip:
    override = f"If this is meant: --override-guard {rule.id}"
    detail = " ".join(filter(None, (found.detail, found.way, override)))
    return GuardTrip(rule.id, found.summary, detail, found.rows, found.limit)


def _told(rule: Rule, found: _Found) -> Diagnostic:
    detail = f"{found.detail} (policy: {rule.name})"
    if not rule.denies:
        return warning(found.summary, detail, found.way, position=rule.position)
    return warning(
        f"Overridden: {found.summary[0].lower()}{found.summary[1:]}",
        detail,
        f"Apply goes on all the same: --override-guard {rule.id} was given.",
        position=rule.position,
    )


def _rows(rule: Rule, changes: Iterable[Change]) -> tuple[Address, ...]:
    return tuple(change.address for change in changes if rule.concerns(change.address))
