"""Drift as the edits that take it over, and what a plan would still change once they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from synapse_apply.applying.records import live_fields
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.frozen import frozen
from synapse_apply.model.masked import has_masked
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.ports import Secrets
from synapse_apply.model.values import ABSENT, Fields, SecretRef, Sensitive, dig, is_map, prune
from synapse_apply.planning.fields import differences
from synapse_apply.planning.situation import Item
from synapse_apply.planning.whole import is_secret, nested
from synapse_apply.session.prepare import wanted


def edits(
    item: Item, spec: Mapping[str, Any], drifted: Sequence[FieldChange]
) -> tuple[FieldChange, ...]:
    """What has to be edited in a spec so that it says what is live, from declared to live.

    Drift is told leaf by leaf, and a leaf cannot say that live has something else than a map
    above it. So an edit is of the highest place that must change: where live has a text, a list,
    a number or a null on the way to a leaf, that takes the place of the declared map; where live
    has nothing, a map in which nothing is left goes with its last leaf. What live has as a map
    stays one. `sensitive`: a secret is on one of the sides, and so neither is given.
    """
    live = nested(item.live)
    left = _copy(spec)
    leaves = {change.path for change in drifted}
    found: dict[Path, FieldChange] = {}
    for change in drifted:
        at = change.path if change.sensitive else _in_the_way(live, change.path)
        if at == change.path and change.after is ABSENT and not change.sensitive:
            at = _emptied(left, live, at)
        found.setdefault(at, change)
    made = []
    for at, change in found.items():
        if any(at[:end] in found for end in range(1, len(at))):
            continue
        before, after = dig(spec, at), dig(live, at)
        if after is ABSENT and at not in leaves and _is_null(item, at):
            after = None
        # What the server repeats of a secret is no value that a manifest could hold either.
        secret = change.sensitive or is_secret(after) or has_masked(after)
        secret = secret or _declares_secret(before)
        if secret:
            before = after = ABSENT
        made.append(FieldChange(at, before, after, change.cause, secret))
    return tuple(made)


def _in_the_way(live: Mapping[str, Any], path: Path) -> Path:
    """The first place on the way to a leaf where live has a value that is no map; else the leaf."""
    for end in range(1, len(path)):
        value = dig(live, path[:end])
        if value is not ABSENT and not is_map(value):
            return path[:end]
    return path


def _emptied(left: dict[str, Any], live: Mapping[str, Any], leaf: Path) -> Path:
    """Take a leaf out, with the maps above it that live lacks and that nothing else is in."""
    top = leaf
    prune(left, top)
    while len(top) > 1 and dig(left, top[:-1]) == {} and dig(live, top[:-1]) is ABSENT:
        top = top[:-1]
        prune(left, top)
    return top


def _is_null(item: Item, path: Path) -> bool:
    """Whether the server answered a null there, which a comparison takes for nothing."""
    observed = item.sighting.observed
    above: Any = dig(observed.spec, path[:-1]) if observed else ABSENT
    return is_map(above) and above.get(path[-1], ABSENT) is None


def _declares_secret(value: Any) -> bool:
    if is_map(value):
        return any(map(_declares_secret, value.values()))
    return isinstance(value, SecretRef | Sensitive)


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The maps of a tree anew; values are shared, since a secret is never copied."""
    return {key: _copy(value) if is_map(value) else value for key, value in tree.items()}


@frozen
class Comparison:
    """What was planned, to hold other manifests against the same live objects and records."""

    items: Mapping[Address, Item]
    secrets: Secrets

    def remaining(self, desired: Desired) -> tuple[Path, ...]:
        """The fields of drift that a plan would still change if this were declared.

        Also those that it would change for no other reason than that. What Git had to send before
        is left out.
        """
        item = self.items[desired.address]
        now = self._declaring(desired, item)
        before, after = differences(item, item.record), differences(now, now.record)
        drifted = {change.path for change in before.drifted}
        waiting = {change.path for change in before.changes} - drifted
        found = {change.path for change in after.changes} - waiting
        return tuple(sorted(found | {change.path for change in after.drifted}))

    def _declaring(self, desired: Desired, item: Item) -> Item:
        sightings = {address: one.sighting for address, one in self.items.items()}
        want = wanted(desired, sightings, item.salt, self.secrets)
        live: Fields = {}
        if item.sighting.observed is not None:
            ours = {**(item.record.applied if item.record else {}), **want}
            live = live_fields(item.sighting.observed, ours, item.salt, self.secrets)
        return replace(item, desired=desired, want=want, live=live)
