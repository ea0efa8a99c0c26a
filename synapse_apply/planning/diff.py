"""Which fields differ, and whether the cause is Git, drift or both: by three-way comparison.

Also how whole objects and lists are shown before and after a change, and what fingerprints hold.

Anything that this cannot decide is left to the comparison field by field, with the same result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, NamedTuple

from synapse_apply.kinds.compare import format_comparable_json, is_same_value, is_server_form
from synapse_apply.model.diagnostic import FieldPath, format_json_pointer, is_at_or_below
from synapse_apply.model.frozen import mutable
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.state import IntentState, Record
from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    Fields,
    KnownAfterApply,
    Mac,
    Reference,
    WithheldSecret,
    delete_at_if_present,
    flatten,
    get_at_or_absent,
    holds_secret,
    of_two_keys,
    set_at_creating_maps,
    unflatten,
)
from synapse_apply.planning.plan_input import ResourceState


class ChangeSide(NamedTuple):
    """One side of a change: the object, its sensitive paths, and its paths not known yet."""

    tree: Mapping[str, Any] | None = None
    sensitive_paths: tuple[FieldPath, ...] = ()
    unknown_paths: tuple[FieldPath, ...] = ()


EMPTY_SIDE = ChangeSide()
# Values of these types are never secret or unknown; lists are declared and compared as a whole.
_PLAIN_TYPES = frozenset({str, int, float, bool, list})


def change_side(fields: Fields) -> ChangeSide:
    """An object as it is, or as it would be created."""
    # The usual case, without a look at each field.
    if {*map(type, fields.values())} <= _PLAIN_TYPES:
        return ChangeSide(unflatten(fields))
    sensitive = sorted(path for path, value in fields.items() if holds_secret(value))
    unknown = sorted(path for path, value in fields.items() if isinstance(value, KnownAfterApply))
    hidden = dict.fromkeys((*sensitive, *unknown))
    return ChangeSide(unflatten({**fields, **hidden}), tuple(sensitive), tuple(unknown))


def side_after(resource: ResourceState, changes: Iterable[FieldChange]) -> ChangeSide:
    """The live object with the changes made; declared secrets are sensitive paths in it."""
    tree, declared = unflatten(resource.live_fields), resource.declared_fields
    for path, value in declared.items():
        # Else a secret that answers do not show would be missing from the object after the change.
        if isinstance(value, DesiredSecret):
            set_at_creating_maps(tree, path, value)
    for change in changes:
        # Only the path of a new secret is known here, not its value.
        if change.sensitive and change.path in declared:
            set_at_creating_maps(tree, change.path, WithheldSecret("planned"))
        elif change.after is ABSENT:
            delete_at_if_present(tree, change.path)
        else:
            set_at_creating_maps(tree, change.path, change.after)
    return change_side(flatten(tree))


MAX_PATHS = 100
# Beyond this a list is compared as a whole: looking inside costs more than linear time.
MAX_LIST_LENGTH = 500


def list_differing_paths(before: Any, after: Any) -> tuple[FieldPath, ...]:
    """The sorted paths in two lists at which they differ, MAX_PATHS at most.

    Empty where a value is no list, or a list is longer than MAX_LIST_LENGTH. Indexes are those of
    `after`, or of `before` for a removed item.
    """
    if not (isinstance(before, list) and isinstance(after, list)):
        return ()
    if max(len(before), len(after)) > MAX_LIST_LENGTH:
        return ()
    from deepdiff import DeepDiff  # noqa: PLC0415 - 0.15 s that only a changed list needs

    paths: set[FieldPath] = set()
    tree = DeepDiff(before, after, view="tree", ignore_numeric_type_changes=True)
    for entries in tree.values():
        paths.update(tuple(entry.path(output_format="list")) for entry in entries)
    return tuple(
        sorted(paths, key=lambda path: [(str(type(part)), part) for part in path])[:MAX_PATHS]
    )


# `json.dumps` would make one at each call.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def compute_fingerprint(resource: ResourceState) -> str:
    """SHA-256 (hex) over the id and the live values of declared and recorded fields.

    Other fields are not ours, so their changes do not count. Without a record the salt is new in
    every run, so that of a secret only its presence counts.
    """
    observed, record, live = resource.observed, resource.record, unflatten(resource.live_fields)
    fields = {}
    for path in sorted({*resource.declared_fields, *(record.applied if record else ())}):
        rule, value = resource.rule(path), get_at_or_absent(live, path)
        pointer = format_json_pointer(path)
        if record is None and holds_secret(value):
            fields[pointer] = "secret"
            continue
        # Answers never show it; what a server may echo once must not change the fingerprint.
        if rule.write_only:
            value = ABSENT
        # Of an empty declared map only its presence is ours.
        if isinstance(value, dict) and resource.declared_fields.get(path) == {}:
            value = {}
        fields[pointer] = format_comparable_json(value, rule.compare)
    document = {"id": observed.remote_id if observed else "", "fields": fields}
    return hashlib.sha256(_ENCODER.encode(document).encode()).hexdigest()


_SCALARS = (str, int, float, bool)


# Equality first: it decides most fields of a large target, and only the rest goes through the
# comparison field by field. Such rows carry no fingerprint unless a run may be due.
def is_provably_unchanged(resource: ResourceState, record: Record) -> bool:
    """Whether declared equals applied and live equals seen, in every declared field.

    False where equality does not decide: secrets, maps, ignored, owned and accepted fields.
    """
    desired, observed = resource.desired, resource.observed
    if desired is None or record.accepted is not None:
        return False
    if desired.lifecycle.ignore_changes or desired.lifecycle.own:
        return False
    if record.unkept and not (observed and observed.missing_fields.issuperset(record.unkept)):
        return False
    declared, live, seen = resource.declared_fields, resource.live_fields, record.seen
    if not declared or declared != record.applied:
        return False
    if not (
        _has_only_texts(declared)
        or all(_is_same_leaf(value, record.applied[path]) for path, value in declared.items())
    ):
        return False
    if live == seen and _has_only_texts(live):
        return all(map(live.__contains__, declared))
    return all(_is_same_leaf(live.get(path, ABSENT), seen.get(path, ABSENT)) for path in declared)


def _has_only_texts(fields: Fields) -> bool:
    """Whether all values are str, for which Python's equality is enough (1 == True is not)."""
    return {*map(type, fields.values())} == {str}


def _is_same_leaf(first_value: Any, second_value: Any) -> bool:
    kind = type(first_value)
    if kind is not type(second_value) or first_value != second_value:
        return False
    # Equal lists may hold a true beside a 1, which are not the same.
    return kind in _SCALARS or (kind is list and is_same_value(first_value, second_value))


# In notes of a change whose secret has no digest, by whatever reason.
UNCHECKED_NOTE = "(sensitive, not checked: "
NO_STATE_KEY_REASON = "there is no state key"
UNTOLD_NOTE = "live value not known"
NOT_SHOWN = "not checked: the server does not show it"
NOT_COMPARED = "not compared: the server has its own value, which may come from the package"
UNTOLD = "who set it is unknown"
_NEVER = object()  # no call sent it


@mutable
class ResourceDiff:
    """The differences of one object, and what the record has yet to learn.

    `rebase` says that a side has changed to what the other one is already. `unresettable_paths` are
    dropped fields without a reset value, `foreign_secrets` secrets recorded under another state
    key, `undigested` those without a digest. `held_drift` would be changes if drift were not kept.
    `drifted` are fields that changed outside and differ from the declared ones, from the value seen
    last to the live one. `accepted` are differences that `state accept` has accepted and that are
    unchanged since, from live to declared.
    """

    changes: list[FieldChange] = field(default_factory=list)
    held_drift: list[FieldChange] = field(default_factory=list)
    drifted: list[FieldChange] = field(default_factory=list)
    accepted: list[FieldChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unresettable_paths: list[FieldPath] = field(default_factory=list)
    foreign_secrets: list[FieldPath] = field(default_factory=list)
    undigested: list[FieldPath] = field(default_factory=list)
    rebase: bool = False


def create_changes(resource: ResourceState) -> list[FieldChange]:
    """The changes of a create: every declared field."""
    changes = []
    for path, value in sorted(resource.declared_fields.items()):
        after, note, is_secret = value, "", isinstance(value, DesiredSecret)
        if is_secret:
            reason = "" if value.mac else value.missing_reason
            after, note = ABSENT, f"not checked: {reason}" if reason else "changed"
        stable, reference = _stable_value(resource, path, value), _digest_reference(value)
        changes.append(
            FieldChange(
                path, ABSENT, after, Cause.NONE, is_secret, note, (), stable, reference=reference
            )
        )
    return changes


def _stable_value(resource: ResourceState, path: FieldPath, after: Any) -> str:
    """What stands for a value that differs between two plans of one effect; "" for any other."""
    if isinstance(after, DesiredSecret):
        mac = after.lasting_mac
        return f"{mac.key_id}:{mac.digest}" if mac is not None else ""
    declared = get_at_or_absent(resource.spec, path)
    if isinstance(declared, Reference) and after == resource.declared_fields.get(path):
        return str(declared.address)
    return ""


def _digest_reference(after: Any) -> str:
    """A digest of where a secret comes from; "" for a value of the manifest.

    It is the same in each run, whether the run can read the value or not.
    """
    if after is ABSENT:
        return "removed"
    if not isinstance(after, DesiredSecret) or after.ref.literal is not None:
        return ""
    # The place also tells how the source is configured.
    identity = format_canonical_json(after.ref.identity)
    return after.place or hashlib.sha256(identity.encode()).hexdigest()


def diff_resource(
    resource: ResourceState,
    record: Record | None,
    resend_secrets: bool = False,
    keep_drift: bool = False,
) -> ResourceDiff:
    """How a live object differs; without `record`, as for an adoption.

    With `keep_drift`, a field that changed only on the live side is kept.
    """
    comparison = _Comparison(resource, record, resend_secrets, keep_drift)
    comparison.compare()
    diff = comparison.diff
    for field_changes in (diff.changes, diff.held_drift, diff.drifted, diff.accepted):
        field_changes.sort(key=lambda change: change.path)
    return diff


def explain_given_up(resource: ResourceState, path: FieldPath) -> str:
    """Which given-up call has or may have set a live value that is not as it was seen; "" none."""
    comparison = _Comparison(resource, resource.record, False, False)
    _Field(comparison, path).attribute(False, True)
    return comparison.origins.get(path, "")


class _Comparison:
    """The sides of one object as nested maps, and the differences found so far."""

    def __init__(
        self, resource: ResourceState, record: Record | None, resend_secrets: bool, keep_drift: bool
    ) -> None:
        self.resource, self.record = resource, record
        self.resend_secrets, self.keep_drift = resend_secrets, keep_drift
        # Of an object that was imported, what was seen then stands for what was sent.
        sent = (record.applied or record.seen) if record else {}
        seen = record.seen if record else {}
        self.sides = [unflatten(side) for side in (sent, resource.live_fields, seen)]
        self.is_imported = record is not None and not record.applied
        self.diff = ResourceDiff(rebase=self.is_imported)
        self.origins: dict[FieldPath, str] = {}

    def compare(self) -> None:
        """Compare each declared field, dropped ones, and keys of owned maps nobody declares."""
        resource, applied = self.resource, self.record.applied if self.record else {}
        declared, ignored = unflatten(resource.declared_fields), resource.ignored
        owned = resource.desired.lifecycle.own if resource.desired else ()

        def is_open(path: FieldPath) -> bool:
            """Whether a field is neither ignored nor declared, as a leaf, a map or in one."""
            if is_at_or_below(path, ignored) or get_at_or_absent(declared, path) is not ABSENT:
                return False
            # A list or text that is declared in place of a map replaces all keys below.
            above = (get_at_or_absent(declared, path[:end]) for end in range(1, len(path)))
            return all(value is ABSENT or isinstance(value, Mapping) for value in above)

        for path, value in sorted(resource.declared_fields.items()):
            if not is_at_or_below(path, ignored):
                _Field(self, path).compare_declared(value)
        for path in filter(is_open, sorted(applied)):
            _Field(self, path).compare_dropped()
        # Declared fields below an owned pointer were compared before.
        changed = {change.path for change in self.diff.changes}
        for path in sorted(resource.live_fields if owned else ()):
            if path not in changed and is_at_or_below(path, owned) and is_open(path):
                _Field(self, path).remove()


class _Field:
    """One field of a comparison: what was applied to it, what is live, and what was seen last."""

    def __init__(self, whole: _Comparison, path: FieldPath) -> None:
        self.whole, self.path, self.rule = whole, path, whole.resource.rule(path)
        self.record = whole.record
        # Nothing of ours was applied to the object: it is adopted, or was imported.
        self.is_new = whole.record is None or whole.is_imported
        self.applied, self.live, self.seen = (get_at_or_absent(tree, path) for tree in whole.sides)

    def is_same(self, first: Any, second: Any) -> bool:
        return is_same_value(first, second, self.rule.compare)

    def note(self, text: str, *, rebase: bool = True) -> None:
        """Say something of the field; as a rule the record learns that it is so."""
        self.whole.diff.notes.append(f"{format_field_path(self.path)}: {text}")
        self.whole.diff.rebase |= rebase

    def build_change(self, before: Any, after: Any, cause: Cause, note: str = "") -> FieldChange:
        """A change between two values; without the values if any side of the field is a secret."""
        stable = _stable_value(self.whole.resource, self.path, after)
        origin = self.whole.origins.get(self.path, "")
        # A field that has become secret may have its value in plain text on another side.
        if note or any(map(holds_secret, (before, after, self.applied, self.live))):
            return FieldChange(
                self.path, ABSENT, ABSENT, cause, True, note or "changed", (), stable, origin,
                _digest_reference(after),
            )  # fmt: skip
        inside = list_differing_paths(before, after)
        return FieldChange(self.path, before, after, cause, False, "", inside, stable, origin)

    def send(self, after: Any, cause: Cause, note: str = "") -> None:
        """Add a difference to be sent, or to `held_drift` where it is drift that is kept."""
        diff = self.whole.diff
        is_held = self.whole.keep_drift and cause is Cause.DRIFT
        changes = diff.held_drift if is_held else diff.changes
        changes.append(self.build_change(self.live, after, cause, note))

    def accept(self, after: Any) -> None:
        """Add a difference that stays as it is, if it was accepted."""
        if self.is_accepted:
            self.whole.diff.accepted.append(self.build_change(self.live, after, Cause.NONE))

    @property
    def is_accepted(self) -> bool:
        """Whether `state accept` has accepted a difference of this field."""
        accepted = self.record.accepted if self.record else None
        return accepted is not None and self.path in accepted.paths

    def add_drift(self, declared_moved: bool, before: Any = None) -> None:
        """Add a change of the live side; `before` replaces the value that was seen last."""
        before = self.seen if before is None else before
        cause = Cause.BOTH if declared_moved else Cause.DRIFT
        self.whole.diff.drifted.append(self.build_change(before, self.live, cause))

    def attribute(self, declared_moved: bool, drifted: bool) -> tuple[bool, bool]:
        """Which sides have changed, once a live value that a call of ours set is not an outsider's.

        Notes in `origins` which given-up call sent a live value. One that may still act has set it:
        then the declared side is what has changed since.
        """
        path, live, origins = self.path, self.live, self.whole.origins
        calls = self.record.given_up if self.record is not None and drifted else ()
        given_up = [call for call in reversed(calls) if not call.makes_another]
        # One that was found done acted once; one that was closed by hand somebody answers for.
        acting = {one.call.id for one in self.whole.resource.acting}
        for call in given_up:
            # What it did not send it removed, or never sent.
            sent = call.fields.get(path, self.rule.reset_value if path in call.before else _NEVER)
            is_removed = path in call.before and path not in call.fields and live is ABSENT
            is_beside = path in self.whole.resource.sent_beside.get(call.id, ())
            is_sent = sent is not _NEVER and self.is_same(sent, live)
            if is_sent or is_server_form(sent, live, path) or is_removed or is_beside:
                name = f"call {call.id} of apply {call.plan_id}"
                if call.state is IntentState.UNKNOWN and call.id in acting:
                    origins[path] = f"set by {name}, which was given up"
                    return True, False
                origins[path] = f"equals what {name} sent; {UNTOLD}"
                return declared_moved, drifted
        for call in given_up:
            name = f"call {call.id} of apply {call.plan_id}"
            if path in call.found and self.is_same(call.found[path], live):
                origins[path] = f"was live when the tool looked up {name}; {UNTOLD}"
                break
            if of_two_keys(call.fields.get(path), live):
                way = "it cannot be compared without the former state key"
                origins[path] = f"may have been set by {name}; {way}; {UNTOLD}"
                break
        return declared_moved, drifted

    def compare_declared(self, declared: Any) -> None:
        if isinstance(declared, DesiredSecret):
            self.compare_secret(declared)
        elif self.rule.write_only:
            # Answers never show it, so that the record alone is compared.
            if self.is_new:
                self.note(f"({NOT_SHOWN})")
            elif not self.is_same(declared, self.applied):
                self.send(declared, Cause.GIT)
        elif self.is_not_shown:
            # The declared value is recorded as applied, with a note the first time.
            if self.is_new or not is_same_value(declared, self.applied):
                self.whole.diff.rebase = True
                if self.record is None or self.path[0] not in self.record.unkept:
                    self.note(f"({NOT_SHOWN})")
        else:
            self.compare_plain(declared)

    def compare_plain(self, declared: Any) -> None:
        applied, live, seen = (
            _replace_maps(declared, side) for side in (self.applied, self.live, self.seen)
        )
        equal = self.is_same(declared, live)
        # The server took the value from the package, so a difference cannot be removed by an
        # update.
        if self.is_new and not equal and self.rule.packaged:
            self.note(f"({NOT_COMPARED})")
        elif self.record is None:
            if not equal:
                self.send(declared, Cause.NONE)
        else:
            # The backend may have a field now that it did not keep when it was sent.
            is_unkept = self.path[0] in self.record.unkept
            may_have_appeared = is_unkept and (
                live is not ABSENT or not self.whole.resource.is_fixed(self.path)
            )
            declared_moved = not self.is_same(declared, applied) or may_have_appeared
            # A field that was never recorded has no earlier value that it could have drifted from.
            was_observed = applied is not ABSENT or seen is not ABSENT
            drifted = was_observed and not self.is_same(live, seen)
            has_server_value = self.rule.packaged and not self.is_same(applied, seen)
            if has_server_value and not self.is_accepted:
                drifted = False  # the server took its own value from the package when it was sent
            self.add_three_way(declared, declared_moved, drifted, equal)

    @property
    def is_not_shown(self) -> bool:
        """Whether the server does not show this field, or does not keep it.

        A field that was never sent may appear with the update that sends it, so it is compared. An
        object that is adopted is not changed for such a field.
        """
        resource, name = self.whole.resource, self.path[0]
        observed, record = resource.observed, self.record
        if observed is None or name in resource.type.identity_fields:
            return False
        if name in observed.partial_fields and self.live is ABSENT:
            return True
        is_unkept = record is not None and name in record.unkept
        return name in observed.missing_fields and (
            self.is_new or is_unkept or resource.is_fixed(self.path)
        )

    def add_three_way(
        self,
        declared: Any,
        declared_moved: bool,
        drifted: bool,
        is_equal: bool,
        note: str = "",
        *,
        is_shown: bool = True,
    ) -> None:
        """Add a change or drift, depending on which of the declared and live sides changed.

        With a `note` it is of a secret; one that is not shown is not known to differ.
        """
        is_unlike_seen = drifted
        declared_moved, drifted = self.attribute(declared_moved, drifted)
        if is_unlike_seen and not is_equal:
            self.add_drift(declared_moved)
        if not declared_moved and not drifted:
            if is_shown and not is_equal:
                self.accept(declared)
        elif is_equal:
            self.whole.diff.rebase = True
        else:
            cause = Cause.SECRET if note and not drifted else _cause(declared_moved, drifted)
            self.send(declared, cause, note)

    def compare_secret(self, declared: DesiredSecret) -> None:
        diff, live, seen = self.whole.diff, self.live, self.seen
        if declared.ref.keeps_live_value:
            return
        if declared.mac is None:
            is_shown = isinstance(live, Mac) and isinstance(seen, Mac)
            # MACs with two state keys differ for the same secret, so they show no drift.
            if is_shown and live.key_id == seen.key_id and live != seen:
                self.add_drift(declared_moved=False)
            reason = declared.missing_reason or NO_STATE_KEY_REASON
            if self.whole.resend_secrets:
                self.send(declared, Cause.SECRET, f"not checked: {reason}")
            else:
                self.note(f"{UNCHECKED_NOTE}{reason})", rebase=False)
                diff.undigested.append(self.path)
            return
        count_before = len(diff.changes)
        self.compare_resolved_secret(declared, declared.mac)
        # It is sent only because that was asked for, not because a difference was found.
        if self.whole.resend_secrets and len(diff.changes) == count_before:
            self.send(declared, Cause.SECRET, "sent again")
            diff.foreign_secrets = [path for path in diff.foreign_secrets if path != self.path]

    def compare_resolved_secret(self, declared: DesiredSecret, mac: Mac) -> None:
        applied, live, seen = self.applied, self.live, self.seen
        is_shown = isinstance(live, Mac)
        is_known = is_shown and isinstance(seen, Mac) and seen.key_id == mac.key_id
        if self.record is None or (self.whole.is_imported and not is_known):
            self.compare_unsent_secret(declared, is_shown, live == mac)
            return
        is_untold = isinstance(applied, Mac) and applied.digest == Mac.UNSEEN
        is_lost = is_untold and any(
            self.path in call.fields and call.state is not IntentState.ABSENT
            for call in self.record.given_up
        )
        digests = (applied, seen) if is_shown and not is_lost else (applied,)
        if any(of_two_keys(digest, mac) for digest in digests):
            self.whole.diff.foreign_secrets.append(self.path)
            return
        # A call without an answer changed nothing in Git: what was there before is ours.
        declared_moved = (seen if is_untold and is_known else applied) != mac
        # Of what was recorded before it was a secret, drift cannot be seen.
        was_plain = seen is not ABSENT and not holds_secret(seen)
        drifted = is_shown and live != seen and not was_plain and (is_known or not is_untold)
        if self.rule.packaged and applied != seen:
            drifted = False  # as for other fields from the package: the server has its own value
        is_equal = is_shown and live == mac
        self.whole.diff.rebase |= is_untold and is_equal
        note = UNTOLD_NOTE if is_untold and not is_shown else "changed"
        self.add_three_way(declared, declared_moved, drifted, is_equal, note, is_shown=is_shown)

    def compare_unsent_secret(
        self, declared: DesiredSecret, is_shown: bool, is_equal: bool
    ) -> None:
        """Compare a secret that we have never sent with the live one; a hidden one is sent."""
        self.whole.diff.rebase = True
        cause = Cause.NONE if self.record is None else Cause.GIT
        if not is_shown and not self.whole.resource.is_fixed(self.path):
            self.send(declared, cause, UNTOLD_NOTE)
        elif not is_shown:
            self.note(f"(sensitive, {NOT_SHOWN})")
        elif not is_equal and self.rule.packaged:
            self.note(f"({NOT_COMPARED})")
        elif not is_equal:
            self.send(declared, cause, "changed")

    def compare_dropped(self) -> None:
        """Compare a field that we applied and that is no longer declared."""
        rule, live, seen = self.rule, self.live, self.seen
        # Such a field is sent only if it is declared, so dropping it changes nothing.
        if rule.usual_value is not ABSENT:
            self.note("no longer declared, left unchanged")
            return
        # Of a hidden field it cannot be seen that it is gone, so its reset is sent in any case.
        is_hidden = rule.write_only or (isinstance(self.applied, Mac) and not isinstance(seen, Mac))
        is_foreign_map = isinstance(live, Mapping) and live and self.applied == {}
        if is_foreign_map or (live is ABSENT and not is_hidden):
            # It is gone already, or only the empty map was ours, and the keys in it are not.
            self.whole.diff.rebase = True
            return
        # Recorded before it was a secret.
        was_plain = isinstance(live, Mac) and seen is not ABSENT and not holds_secret(seen)
        drifted = not is_hidden and not was_plain and not self.is_same(live, seen)
        is_unlike_seen, reset = drifted, ABSENT if len(self.path) > 1 else rule.reset_value
        _, drifted = self.attribute(True, drifted)
        if reset is not ABSENT:
            reset_moved = not self.is_same(self.applied, reset)
            is_equal = not is_hidden and self.is_same(reset, _replace_maps(reset, live))
            # A reset that the server ignored is recorded as applied, so that it is sent only once.
            self.add_three_way(reset, reset_moved, drifted, is_equal)
            return
        if is_unlike_seen:
            self.add_drift(declared_moved=True)
        if len(self.path) == 1:
            self.whole.diff.unresettable_paths.append(self.path)
        self.send(ABSENT, _cause(True, drifted))

    def remove(self) -> None:
        """Add the removal of a key; a top-level field goes back to its reset value."""
        reset = self.rule.reset_value if len(self.path) == 1 else ABSENT
        if reset is not ABSENT and self.is_same(reset, self.live):
            return
        if self.is_accepted and self.is_same(self.live, self.seen):
            self.accept(reset)
            return
        # An update can remove a key of a map, but a top-level field can only get another value.
        if len(self.path) == 1 and reset is ABSENT and not self.whole.keep_drift:
            self.whole.diff.unresettable_paths.append(self.path)
        declared_moved, drifted = self.attribute(False, True)
        self.add_drift(declared_moved, before=reset)
        self.send(reset, _cause(declared_moved, drifted))


def _cause(declared_moved: bool, drifted: bool) -> Cause:
    if declared_moved and drifted:
        return Cause.BOTH
    return Cause.GIT if declared_moved else Cause.DRIFT


def _replace_maps(declared_value: Any, value: Any) -> Any:
    """An empty map for a live map where a map is declared, since only its presence counts."""
    return {} if isinstance(declared_value, Mapping) and isinstance(value, Mapping) else value
