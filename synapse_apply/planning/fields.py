"""The three-way difference of one live object, field by field: want and applied, live and seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.kinds.compare import same
from synapse_apply.kinds.descriptor import FieldRule
from synapse_apply.model.diagnostic import Path, lies_in
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.state import Record
from synapse_apply.model.values import ABSENT, Mac, SecretWant, dig
from synapse_apply.planning.inside import inside
from synapse_apply.planning.refusals import dotted, is_fixed
from synapse_apply.planning.situation import Item
from synapse_apply.planning.whole import is_secret, nested

NOT_SHOWN = "not checked: the server does not show it"
NOT_COMPARED = "not compared: the server has its own, which may be the package's"
_NO_RULE = FieldRule("")


@dataclass(slots=True)
class Differences:
    """What differs, and what the record has yet to learn.

    `rebase`: something moved to where the other side already is. `stuck` are dropped fields
    without a reset value, `foreign` secrets recorded under another state key. `held` would be
    changes if drift were not kept. `drifted` is all that moved outside and is not what is declared
    by now, from what the server answered last to what is live. `accepted` are differences that
    `state accept` took for settled and that have not moved since, from live to declared.
    """

    changes: list[FieldChange] = field(default_factory=list)
    held: list[FieldChange] = field(default_factory=list)
    drifted: list[FieldChange] = field(default_factory=list)
    accepted: list[FieldChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stuck: list[Path] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)
    rebase: bool = False


def creation(item: Item) -> Differences:
    """Every declared field, for an object that is not there."""
    found = Differences()
    for path, want in sorted(item.want.items()):
        if isinstance(want, SecretWant):
            note = f"not checked: {want.why}" if want.mac is None and want.why else "changed"
            found.changes.append(FieldChange(path, ABSENT, ABSENT, Cause.NONE, True, note))
        else:
            found.changes.append(FieldChange(path, ABSENT, want, Cause.NONE))
    return found


def differences(
    item: Item, record: Record | None, resend: bool = False, hold: bool = False
) -> Differences:
    """How a live object differs; without `record` as an adoption sees it.

    `hold`: what only the live side moved is kept.
    """
    comparison = _Comparison(item, record, resend, hold)
    for path, want in sorted(item.want.items()):
        if not lies_in(path, comparison.ignored):
            comparison.declared(path, want)
    comparison.dropped()
    comparison.owned()
    found = comparison.found
    for told in (found.changes, found.held, found.drifted, found.accepted):
        told.sort(key=lambda change: change.path)
    return found


class _Comparison:
    """One object's four sides as nested maps, and the differences found so far."""

    def __init__(self, item: Item, record: Record | None, resend: bool, hold: bool) -> None:
        lifecycle = item.desired.lifecycle if item.desired else None
        self.item = item
        self.record = record
        self.imported = record is not None and not record.applied
        self.resend = resend
        self.hold = hold
        self.ignored = lifecycle.ignore_changes if lifecycle else ()
        self.own = lifecycle.own if lifecycle else ()
        self.want = nested(item.want)
        self.live = nested(item.live)
        self.applied = nested(record.applied if record else {})
        self.seen = nested(record.seen if record else {})
        self.settled = frozenset(record.accepted.paths if record and record.accepted else ())
        self.found = Differences()

    def rule(self, path: Path) -> FieldRule:
        return self.item.type.rules.get(str(path[0]), _NO_RULE)

    def change(self, path: Path, after: Any, cause: Cause, note: str = "") -> None:
        """A difference that is to be sent, unless it is drift and drift is kept."""
        kept = self.hold and cause is Cause.DRIFT
        told = self.found.held if kept else self.found.changes
        told.append(self.move(path, dig(self.live, path), after, cause, note))

    def accept(self, path: Path, after: Any) -> None:
        """A difference that stays, where it is one that was accepted."""
        if path in self.settled:
            before = dig(self.live, path)
            self.found.accepted.append(self.move(path, before, after, Cause.NONE))

    def drift(self, path: Path, *, moved: bool, before: Any = None) -> None:
        """The live side moved; `before` where that is not what was seen last."""
        before = dig(self.seen, path) if before is None else before
        cause = _cause(moved, True)
        self.found.drifted.append(self.move(path, before, dig(self.live, path), cause))

    def move(
        self, path: Path, before: Any, after: Any, cause: Cause, note: str = ""
    ) -> FieldChange:
        """From one value to another; whatever is secret on any side leaves no value in it."""
        sides = (before, after, dig(self.applied, path), dig(self.live, path))
        if note or any(is_secret(side) for side in sides):
            return FieldChange(path, ABSENT, ABSENT, cause, True, note or "changed")
        return FieldChange(path, before, after, cause, inside=inside(before, after))

    def declared(self, path: Path, want: Any) -> None:
        if isinstance(want, SecretWant):
            self.secret(path, want)
        elif self.rule(path).write_only:
            self.write_only(path, want)
        else:
            self.plain(path, want)

    def plain(self, path: Path, want: Any) -> None:
        if self.is_out_of_sight(path):
            self.out_of_sight(path, want)
            return
        compare = self.rule(path).compare
        applied, live, seen = (
            _as_far_as(want, dig(side, path)) for side in (self.applied, self.live, self.seen)
        )
        equal = same(want, live, compare)
        is_new = self.record is None or self.imported
        if is_new and not equal and self.rule(path).packaged:
            self.found.notes.append(f"{dotted(path)}: ({NOT_COMPARED})")
            self.found.rebase = True
            return
        if self.record is None:
            if not equal:
                self.change(path, want, Cause.NONE)
            return
        moved = self.imported or not same(want, applied, compare) or self.has_appeared(path, live)
        known = applied is not ABSENT or seen is not ABSENT
        drifted = known and not same(live, seen, compare)  # what we never looked at cannot drift
        is_own = self.rule(path).packaged and not same(applied, seen, compare)
        if is_own and not self.is_accepted(path):
            drifted = False  # the server never showed it as it was sent: it has its own
        self.settle(path, want, moved, drifted, equal)

    def is_accepted(self, path: Path) -> bool:
        """Whether `state accept` took the difference of this field for settled."""
        accepted = self.record.accepted if self.record is not None else None
        return accepted is not None and path in accepted.paths

    def is_out_of_sight(self, path: Path) -> bool:
        """Whether there is nothing to compare with: the server does not show it, or keeps none.

        A field that was never sent may appear with the update that sends it; an object that is
        taken over is not changed for it.
        """
        observed, name = self.item.sighting.observed, path[0]
        if observed is None or name in self.item.type.identity:
            return False
        if name in observed.partial and dig(self.live, path) is ABSENT:
            return True
        is_unkept = self.record is not None and name in self.record.unkept
        is_taken_over = self.record is None or self.imported
        return name in observed.lacks and (is_taken_over or is_unkept or is_fixed(self.item, path))

    def out_of_sight(self, path: Path, want: Any) -> None:
        """What is declared is taken for what is there; said once."""
        record = self.record
        applied = dig(self.applied, path)
        if record is not None and not self.imported and same(want, applied):
            return
        if record is None or path[0] not in record.unkept:
            self.found.notes.append(f"{dotted(path)}: ({NOT_SHOWN})")
        self.found.rebase = True

    def has_appeared(self, path: Path, live: Any) -> bool:
        """Whether the backend has a field by now that it did not keep when it was sent."""
        if self.record is None or path[0] not in self.record.unkept:
            return False
        return live is not ABSENT or not is_fixed(self.item, path)

    def settle(self, path: Path, want: Any, moved: bool, drifted: bool, equal: bool) -> None:
        """The rule of the three-way comparison (design section 6)."""
        if drifted and not equal:
            self.drift(path, moved=moved)
        if not moved and not drifted:
            if not equal:
                self.accept(path, want)
            return
        if equal:
            self.found.rebase = True
        else:
            self.change(path, want, _cause(moved, drifted))

    def write_only(self, path: Path, want: Any) -> None:
        """Answers never show the field, so the record alone speaks."""
        if self.record is None or self.imported:
            self.found.notes.append(f"{dotted(path)}: ({NOT_SHOWN})")
            self.found.rebase = True
        elif not same(want, dig(self.applied, path), self.rule(path).compare):
            self.change(path, want, Cause.GIT)

    def secret(self, path: Path, want: SecretWant) -> None:
        if want.ref.source == "live":
            return
        if want.mac is None:
            self.unresolved(path)
            note = f"not checked: {want.why or 'no state key'}"
            if self.resend:
                self.change(path, want, Cause.SECRET, note)
            else:
                self.found.notes.append(f"{dotted(path)}: (sensitive, {note})")
            return
        before = len(self.found.changes)
        self.known_secret(path, want, want.mac)
        if self.resend and len(self.found.changes) == before:
            self.change(path, want, Cause.SECRET, "sent again")
            self.found.foreign = [at for at in self.found.foreign if at != path]

    def unresolved(self, path: Path) -> None:
        """A secret without a value here can still be seen to have moved, where answers show it."""
        live, seen = dig(self.live, path), dig(self.seen, path)
        shown = isinstance(live, Mac) and isinstance(seen, Mac)
        if shown and live.key_id == seen.key_id and live != seen:
            self.drift(path, moved=False)

    def known_secret(self, path: Path, want: SecretWant, mac: Mac) -> None:
        applied, live, seen = (dig(side, path) for side in (self.applied, self.live, self.seen))
        shown = isinstance(live, Mac)
        if self.record is None or self.imported:
            self.new_secret(path, want, shown, live == mac)
            return
        known = (applied, seen) if shown else (applied,)
        if any(isinstance(one, Mac) and one.key_id != mac.key_id for one in known):
            self.found.foreign.append(path)
            return
        moved = applied != mac
        drifted = shown and live != seen and not _is_plain(seen)
        if self.rule(path).packaged and applied != seen:
            drifted = False  # the server has its own, as of any such field
        if not moved and not drifted:
            if shown and live != mac:
                self.accept(path, want)
            return
        if shown and live == mac:
            self.found.rebase = True
            return
        if drifted:
            self.drift(path, moved=moved)
        cause = _cause(moved, drifted) if drifted else Cause.SECRET
        self.change(path, want, cause, "changed")

    def new_secret(self, path: Path, want: SecretWant, shown: bool, equal: bool) -> None:
        """Nothing of ours was ever sent: only a live value that is shown can tell."""
        self.found.rebase = True
        if not shown:
            self.found.notes.append(f"{dotted(path)}: (sensitive, {NOT_SHOWN})")
        elif not equal and self.rule(path).packaged:
            self.found.notes.append(f"{dotted(path)}: ({NOT_COMPARED})")
        elif not equal:
            cause = Cause.NONE if self.record is None else Cause.GIT
            self.change(path, want, cause, "changed")

    def dropped(self) -> None:
        """Fields we applied that the manifest no longer has."""
        record = self.record
        for path in sorted(record.applied if record else ()):
            if not lies_in(path, self.ignored) and not self.still_declared(path):
                self.drop(path)

    def still_declared(self, path: Path) -> bool:
        """Declared as it was, as a map where it was a leaf, or as a leaf where it was a map."""
        if dig(self.want, path) is not ABSENT:
            return True
        above = (dig(self.want, path[:end]) for end in range(1, len(path)))
        return any(value is not ABSENT and not isinstance(value, Mapping) for value in above)

    def drop(self, path: Path) -> None:
        rule = self.rule(path)
        live, seen = dig(self.live, path), dig(self.seen, path)
        if rule.usual is not ABSENT:
            self.found.notes.append(f"{dotted(path)}: no longer declared, left as it is")
            self.found.rebase = True
            return
        hidden = rule.write_only or (
            isinstance(dig(self.applied, path), Mac) and not isinstance(seen, Mac)
        )
        held = isinstance(live, Mapping) and live and dig(self.applied, path) == {}
        if held or (live is ABSENT and not hidden):
            # Gone already; or only the map was ours, and what stands in it is not.
            self.found.rebase = True
            return
        was_plain = isinstance(live, Mac) and _is_plain(seen)  # recorded before it was a secret
        drifted = not hidden and not was_plain and not same(live, seen, rule.compare)
        if drifted and (len(path) > 1 or rule.reset is ABSENT):
            self.drift(path, moved=True)
        if len(path) > 1:
            self.change(path, ABSENT, _cause(True, drifted))
        elif rule.reset is ABSENT:
            self.found.stuck.append(path)
            self.change(path, ABSENT, _cause(True, drifted))
        else:
            moved = not same(dig(self.applied, path), rule.reset, rule.compare)
            equal = not hidden and same(rule.reset, _as_far_as(rule.reset, live), rule.compare)
            # A reset that was sent and not taken is recorded as applied: silent from then on.
            self.settle(path, rule.reset, moved, drifted, equal)

    def owned(self) -> None:
        """Live keys below an owned pointer that the manifest does not know."""
        taken = {change.path for change in self.found.changes}
        for path in sorted(self.item.live if self.own else ()):
            if path in taken or not lies_in(path, self.own) or lies_in(path, self.ignored):
                continue
            if not self.still_declared(path):
                self.disown(path)

    def disown(self, path: Path) -> None:
        """A key goes; a whole field cannot, it goes back to its reset value."""
        reset = self.rule(path).reset if len(path) == 1 else ABSENT
        if reset is not ABSENT and same(reset, dig(self.live, path), self.rule(path).compare):
            return
        live, seen = dig(self.live, path), dig(self.seen, path)
        if path in self.settled and same(live, seen, self.rule(path).compare):
            self.accept(path, reset)
            return
        if len(path) == 1 and reset is ABSENT and not self.hold:
            self.found.stuck.append(path)
        self.drift(path, moved=False, before=reset)
        self.change(path, reset, Cause.DRIFT)


def _is_plain(value: Any) -> bool:
    """Whether a value was recorded as it is: of a secret now, nothing tells whether it moved."""
    return value is not ABSENT and not is_secret(value)


def _cause(moved: bool, drifted: bool) -> Cause:
    if moved and drifted:
        return Cause.BOTH
    return Cause.GIT if moved else Cause.DRIFT


def _as_far_as(want: Any, value: Any) -> Any:
    """A declared empty map asks for a map only: any map satisfies it."""
    return {} if isinstance(want, Mapping) and isinstance(value, Mapping) else value
