"""Which fields differ, and whether the cause is Git, drift or both: by three-way comparison.

Anything that this cannot decide is left to the comparison field by field, with the same result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.descriptor import FieldRule
from synapse_apply.model.diagnostic import FieldPath, is_at_or_below
from synapse_apply.model.frozen import mutable
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.state import IntentState, Record
from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    Fields,
    Mac,
    Reference,
    get_at_or_absent,
)
from synapse_apply.planning.fields import holds_secret, list_differing_paths, unflatten
from synapse_apply.planning.plan_input import ResourceState
from synapse_apply.planning.refusals import is_fixed_field

_SCALARS = (str, int, float, bool)


# Equality first: it decides most fields of a large target, and only the rest goes through the
# comparison field by field. Such rows carry no fingerprint unless a run may be due.
def is_provably_unchanged(resource: ResourceState, record: Record) -> bool:
    """Whether declared equals applied and live equals seen, in every declared field.

    False where equality does not decide: secrets, maps, ignored, owned and accepted fields.
    """
    desired = resource.desired
    if (
        desired is None
        or record.accepted is not None
        or desired.lifecycle.ignore_changes
        or desired.lifecycle.own
    ):
        return False
    observed = resource.lookup_result.observed
    if record.unkept and not (observed and observed.missing_fields.issuperset(record.unkept)):
        return False
    declared_fields, live, last_seen = resource.declared_fields, resource.live_fields, record.seen
    if not declared_fields or not _have_same_plain_values(declared_fields, record.applied):
        return False
    if live == last_seen and _has_only_texts(live):
        return all(map(live.__contains__, declared_fields))
    return all(
        _is_same_scalar_or_list(live.get(path, ABSENT), last_seen.get(path, ABSENT))
        for path in declared_fields
    )


def _have_same_plain_values(first_fields: Fields, second_fields: Fields) -> bool:
    return first_fields == second_fields and (
        _has_only_texts(first_fields)
        or all(
            _is_same_scalar_or_list(value, second_fields[path])
            for path, value in first_fields.items()
        )
    )


def _has_only_texts(fields: Fields) -> bool:
    """Whether all values are str, for which Python's equality is enough (1 == True is not)."""
    return {*map(type, fields.values())} == {str}


def _is_same_scalar_or_list(first_value: Any, second_value: Any) -> bool:
    kind = type(first_value)
    if kind is not type(second_value) or first_value != second_value:
        return False
    # Equal lists may hold a true beside a 1, which are not the same.
    return kind in _SCALARS or (kind is list and is_same_value(first_value, second_value))


# In notes of a change whose secret has no digest, by whatever reason.
UNCHECKED_NOTE = "(sensitive, not checked: "
NO_STATE_KEY_REASON = "there is no state key"
UNTOLD_NOTE = "not known what the server has"
NOT_SHOWN = "not checked: the server does not show it"
NOT_COMPARED = "not compared: the server has its own, which may be the package's"
UNTOLD = "who set it cannot be told"
_NEVER = object()  # no call sent it
_NO_RULE = FieldRule("")


@mutable
class ResourceDiff:
    """The differences of one object, and what the record has yet to learn.

    `rebase` says that a side has changed to what the other one is already. `unresettable_paths` are
    dropped fields without a reset value, `foreign_secrets` secrets recorded under another state
    key. `held_drift` would be changes if drift were not kept. `drifted` are fields that changed
    outside and differ from the declared ones, from the value seen last to the live one. `accepted`
    are differences that `state accept` has accepted and that are unchanged since, from live to
    declared.
    """

    changes: list[FieldChange] = field(default_factory=list)
    held_drift: list[FieldChange] = field(default_factory=list)
    drifted: list[FieldChange] = field(default_factory=list)
    accepted: list[FieldChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unresettable_paths: list[FieldPath] = field(default_factory=list)
    foreign_secrets: list[FieldPath] = field(default_factory=list)
    rebase: bool = False


def build_create_diff(resource: ResourceState) -> ResourceDiff:
    """The changes of a create: every declared field."""
    diff = ResourceDiff()
    for path, value in sorted(resource.declared_fields.items()):
        after, note, is_secret = value, "", isinstance(value, DesiredSecret)
        if is_secret:
            reason = "" if value.mac else value.missing_reason
            after, note = ABSENT, f"not checked: {reason}" if reason else "changed"
        stable = _format_stable_value(resource, path, value)
        reference = _digest_reference(value)
        change = FieldChange(
            path, ABSENT, after, Cause.NONE, is_secret, note, (), stable, reference=reference
        )
        diff.changes.append(change)
    return diff


def _format_stable_value(resource: ResourceState, path: FieldPath, after: Any) -> str:
    """What stands for a value that differs between two plans of one effect; "" for any other."""
    if isinstance(after, DesiredSecret):
        mac = after.lasting_mac
        return f"{mac.key_id}:{mac.digest}" if mac is not None else ""
    declared = get_at_or_absent(resource.desired.spec, path) if resource.desired else ABSENT
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
    comparison = _FieldComparison(resource, record, resend_secrets, keep_drift)
    for path, declared_value in sorted(resource.declared_fields.items()):
        if not is_at_or_below(path, comparison.ignored):
            comparison.compare_declared_field(path, declared_value)
    comparison.compare_dropped_fields()
    comparison.add_owned_removals()
    diff = comparison.diff
    for field_changes in (diff.changes, diff.held_drift, diff.drifted, diff.accepted):
        field_changes.sort(key=lambda change: change.path)
    return diff


class _FieldComparison:
    """The four sides of one object as nested maps, and the differences found so far."""

    def __init__(
        self, resource: ResourceState, record: Record | None, resend_secrets: bool, keep_drift: bool
    ) -> None:
        lifecycle = resource.desired.lifecycle if resource.desired else None
        self.resource = resource
        self.record = record
        self.is_imported = record is not None and not record.applied
        self.resend_secrets = resend_secrets
        self.keep_drift = keep_drift
        self.ignored = lifecycle.ignore_changes if lifecycle else ()
        self.owned_pointers = lifecycle.own if lifecycle else ()
        self.declared_fields = unflatten(resource.declared_fields)
        self.live = unflatten(resource.live_fields)
        # Of an object that was imported, what was seen then stands for what was sent.
        self.applied = unflatten((record.applied or record.seen) if record else {})
        self.last_seen = unflatten(record.seen if record else {})
        self.accepted_paths = frozenset(record.accepted.paths if record and record.accepted else ())
        self.diff = ResourceDiff(rebase=self.is_imported)
        self.origins: dict[FieldPath, str] = {}

    def attribute_to_call(
        self, path: FieldPath, declared_moved: bool, drifted: bool
    ) -> tuple[bool, bool]:
        """Which sides have changed, once a live value that a call of ours set is not an outsider's.

        Notes in `origins` which given-up call sent a live value. One that may still act has set it:
        then the declared side is what has changed since.
        """
        calls = self.record.given_up if self.record is not None and drifted else ()
        given_up = [call for call in calls if not call.makes_another]
        live, rule = get_at_or_absent(self.live, path), self.field_rule_of(path)
        for call in reversed(given_up):
            # One that was found done acted once; one that was closed by hand somebody answers for.
            is_acting = call.state is IntentState.UNKNOWN and call.id in {
                acting.call.id for acting in self.resource.acting
            }
            # What it did not send it removed, or never sent.
            sent = call.fields.get(path, rule.reset_value if path in call.before else _NEVER)
            is_removed = path in call.before and path not in call.fields and live is ABSENT
            if is_removed or (sent is not _NEVER and is_same_value(sent, live, rule.compare)):
                name = f"call {call.id} of apply {call.plan_id}"
                if is_acting:
                    self.origins[path] = f"set by {name}, which was given up"
                    return True, False
                self.origins[path] = f"equals what {name} sent; {UNTOLD}"
                return declared_moved, drifted
        for call in reversed(given_up):
            name = f"call {call.id} of apply {call.plan_id}"
            if path in call.found and is_same_value(call.found[path], live, rule.compare):
                self.origins[path] = f"was there when {name} was looked up; {UNTOLD}"
                break
        return declared_moved, drifted

    def field_rule_of(self, path: FieldPath) -> FieldRule:
        return self.resource.type.rules.get(str(path[0]), _NO_RULE)

    def add_change_or_held_drift(
        self, path: FieldPath, after: Any, cause: Cause, note: str = ""
    ) -> None:
        """Add a difference to be sent, or to `held_drift` where it is drift that is kept."""
        is_held = self.keep_drift and cause is Cause.DRIFT
        target_list = self.diff.held_drift if is_held else self.diff.changes
        target_list.append(
            self.build_field_change(path, get_at_or_absent(self.live, path), after, cause, note)
        )

    def add_accepted(self, path: FieldPath, after: Any) -> None:
        """Add a difference that stays as it is, if it was accepted."""
        if path in self.accepted_paths:
            before = get_at_or_absent(self.live, path)
            self.diff.accepted.append(self.build_field_change(path, before, after, Cause.NONE))

    def add_drift(self, path: FieldPath, *, declared_moved: bool, before: Any = None) -> None:
        """Add a change of the live side; `before` replaces the value that was seen last."""
        before = get_at_or_absent(self.last_seen, path) if before is None else before
        cause = _choose_cause(declared_moved, True)
        self.diff.drifted.append(
            self.build_field_change(path, before, get_at_or_absent(self.live, path), cause)
        )

    def build_field_change(
        self, path: FieldPath, before: Any, after: Any, cause: Cause, note: str = ""
    ) -> FieldChange:
        """A change between two values; without the values if any side of the field is a secret."""
        sides = (
            before,
            after,
            get_at_or_absent(self.applied, path),
            get_at_or_absent(self.live, path),
        )
        stable_after = _format_stable_value(self.resource, path, after)
        origin = self.origins.get(path, "")
        # A field that has become secret may have its value in plain text on another side.
        if note or any(holds_secret(side) for side in sides):
            return FieldChange(
                path, ABSENT, ABSENT, cause, True, note or "changed", (), stable_after, origin,
                _digest_reference(after),
            )  # fmt: skip
        list_paths = list_differing_paths(before, after)
        return FieldChange(path, before, after, cause, False, "", list_paths, stable_after, origin)

    def compare_declared_field(self, path: FieldPath, declared_value: Any) -> None:
        if isinstance(declared_value, DesiredSecret):
            self.compare_secret(path, declared_value)
        elif self.field_rule_of(path).write_only:
            self.compare_write_only(path, declared_value)
        else:
            self.compare_field_three_way(path, declared_value)

    def compare_field_three_way(self, path: FieldPath, declared_value: Any) -> None:
        if self.is_not_shown(path):
            self.note_unshown_field(path, declared_value)
            return
        compare = self.field_rule_of(path).compare
        applied, live, last_seen = (
            _replace_maps(declared_value, get_at_or_absent(side, path))
            for side in (self.applied, self.live, self.last_seen)
        )
        equal = is_same_value(declared_value, live, compare)
        is_new = self.record is None or self.is_imported
        # The server took the value from the package, so a difference cannot be removed by an
        # update.
        if is_new and not equal and self.field_rule_of(path).packaged:
            self.diff.notes.append(f"{format_field_path(path)}: ({NOT_COMPARED})")
            self.diff.rebase = True
            return
        if self.record is None:
            if not equal:
                self.add_change_or_held_drift(path, declared_value, Cause.NONE)
            return
        declared_moved = not is_same_value(
            declared_value, applied, compare
        ) or self.may_have_appeared(path, live)
        was_observed = applied is not ABSENT or last_seen is not ABSENT
        # A field that was never recorded has no earlier value that it could have drifted from.
        drifted = was_observed and not is_same_value(live, last_seen, compare)
        has_server_value = self.field_rule_of(path).packaged and not is_same_value(
            applied, last_seen, compare
        )
        if has_server_value and not self.has_accepted_difference(path):
            drifted = False  # the server took its own value from the package when it was sent
        self.add_three_way(path, declared_value, declared_moved, drifted, equal)

    def has_accepted_difference(self, path: FieldPath) -> bool:
        """Whether `state accept` has accepted a difference of this field."""
        accepted = self.record.accepted if self.record is not None else None
        return accepted is not None and path in accepted.paths

    def is_not_shown(self, path: FieldPath) -> bool:
        """Whether the server does not show this field, or does not keep it.

        A field that was never sent may appear with the update that sends it, so it is compared. An
        object that is adopted is not changed for such a field.
        """
        observed, name = self.resource.lookup_result.observed, path[0]
        if observed is None or name in self.resource.type.identity_fields:
            return False
        if name in observed.partial_fields and get_at_or_absent(self.live, path) is ABSENT:
            return True
        is_unkept = self.record is not None and name in self.record.unkept
        is_taken_over = self.record is None or self.is_imported
        return name in observed.missing_fields and (
            is_taken_over or is_unkept or is_fixed_field(self.resource, path)
        )

    def note_unshown_field(self, path: FieldPath, declared_value: Any) -> None:
        """Record the declared value as applied, with a note the first time."""
        record = self.record
        applied = get_at_or_absent(self.applied, path)
        if record is not None and not self.is_imported and is_same_value(declared_value, applied):
            return
        if record is None or path[0] not in record.unkept:
            self.diff.notes.append(f"{format_field_path(path)}: ({NOT_SHOWN})")
        self.diff.rebase = True

    def may_have_appeared(self, path: FieldPath, live: Any) -> bool:
        """Whether the backend may have a field now that it did not keep when it was sent."""
        if self.record is None or path[0] not in self.record.unkept:
            return False
        return live is not ABSENT or not is_fixed_field(self.resource, path)

    def add_three_way(
        self,
        path: FieldPath,
        declared_value: Any,
        declared_moved: bool,
        drifted: bool,
        is_equal: bool,
    ) -> None:
        """Add a change or drift, depending on which of the declared and live sides changed."""
        is_unlike_seen = drifted
        declared_moved, drifted = self.attribute_to_call(path, declared_moved, drifted)
        if is_unlike_seen and not is_equal:
            self.add_drift(path, declared_moved=declared_moved)
        if not declared_moved and not drifted:
            if not is_equal:
                self.add_accepted(path, declared_value)
            return
        if is_equal:
            self.diff.rebase = True
        else:
            self.add_change_or_held_drift(
                path, declared_value, _choose_cause(declared_moved, drifted)
            )

    def compare_write_only(self, path: FieldPath, declared_value: Any) -> None:
        """Compare a field that answers never show with the record alone."""
        if self.record is None or self.is_imported:
            self.diff.notes.append(f"{format_field_path(path)}: ({NOT_SHOWN})")
            self.diff.rebase = True
        elif not is_same_value(
            declared_value, get_at_or_absent(self.applied, path), self.field_rule_of(path).compare
        ):
            self.add_change_or_held_drift(path, declared_value, Cause.GIT)

    def compare_secret(self, path: FieldPath, declared_value: DesiredSecret) -> None:
        if declared_value.ref.keeps_live_value:
            return
        if declared_value.mac is None:
            self.add_unresolved_drift(path)
            reason = declared_value.missing_reason or NO_STATE_KEY_REASON
            if self.resend_secrets:
                note = f"not checked: {reason}"
                self.add_change_or_held_drift(path, declared_value, Cause.SECRET, note)
            else:
                self.diff.notes.append(f"{format_field_path(path)}: {UNCHECKED_NOTE}{reason})")
            return
        count_before = len(self.diff.changes)
        self.compare_resolved_secret(path, declared_value, declared_value.mac)
        # It is sent only because that was asked for, not because a difference was found.
        if self.resend_secrets and len(self.diff.changes) == count_before:
            self.add_change_or_held_drift(path, declared_value, Cause.SECRET, "sent again")
            self.diff.foreign_secrets = [
                foreign_path for foreign_path in self.diff.foreign_secrets if foreign_path != path
            ]

    def add_unresolved_drift(self, path: FieldPath) -> None:
        """Report drift of a secret without a value at hand, if answers show that it has changed."""
        live, last_seen = get_at_or_absent(self.live, path), get_at_or_absent(self.last_seen, path)
        is_shown = isinstance(live, Mac) and isinstance(last_seen, Mac)
        # MACs with two state keys differ for the same secret, so they show no drift.
        if is_shown and live.key_id == last_seen.key_id and live != last_seen:
            self.add_drift(path, declared_moved=False)

    def compare_resolved_secret(
        self, path: FieldPath, declared_value: DesiredSecret, mac: Mac
    ) -> None:
        applied, live, last_seen = (
            get_at_or_absent(side, path) for side in (self.applied, self.live, self.last_seen)
        )
        is_shown = isinstance(live, Mac)
        is_known = is_shown and isinstance(last_seen, Mac) and last_seen.key_id == mac.key_id
        if self.record is None or (self.is_imported and not is_known):
            self.compare_unsent_secret(path, declared_value, is_shown, live == mac)
            return
        digests = (applied, last_seen) if is_shown else (applied,)
        # MACs with two state keys cannot be compared, so the field is reported as not checked.
        if any(isinstance(digest, Mac) and digest.key_id != mac.key_id for digest in digests):
            self.diff.foreign_secrets.append(path)
            return
        declared_moved = applied != mac
        drifted = is_shown and live != last_seen and not _was_recorded_in_plain(last_seen)
        if self.field_rule_of(path).packaged and applied != last_seen:
            drifted = False  # as for other fields from the package: the server has its own value
        is_unlike_seen = drifted
        declared_moved, drifted = self.attribute_to_call(path, declared_moved, drifted)
        if not declared_moved and not drifted:
            if is_shown and live != mac:
                self.add_accepted(path, declared_value)
            return
        if is_shown and live == mac:
            self.diff.rebase = True
            return
        if is_unlike_seen:
            self.add_drift(path, declared_moved=declared_moved)
        cause = _choose_cause(declared_moved, drifted) if drifted else Cause.SECRET
        is_untold = isinstance(applied, Mac) and applied.digest == Mac.UNSEEN and not is_shown
        note = UNTOLD_NOTE if is_untold else "changed"
        self.add_change_or_held_drift(path, declared_value, cause, note)

    def compare_unsent_secret(
        self, path: FieldPath, declared_value: DesiredSecret, is_shown: bool, is_equal: bool
    ) -> None:
        """Compare a secret that we have never sent with the live one; a hidden one is sent."""
        self.diff.rebase = True
        cause = Cause.NONE if self.record is None else Cause.GIT
        if not is_shown and not is_fixed_field(self.resource, path):
            self.add_change_or_held_drift(path, declared_value, cause, UNTOLD_NOTE)
        elif not is_shown:
            self.diff.notes.append(f"{format_field_path(path)}: (sensitive, {NOT_SHOWN})")
        elif not is_equal and self.field_rule_of(path).packaged:
            self.diff.notes.append(f"{format_field_path(path)}: ({NOT_COMPARED})")
        elif not is_equal:
            self.add_change_or_held_drift(path, declared_value, cause, "changed")

    def compare_dropped_fields(self) -> None:
        """Compare the fields that we applied and that are no longer declared."""
        record = self.record
        for path in sorted(record.applied if record else ()):
            if not is_at_or_below(path, self.ignored) and not self.is_declared_above(path):
                self.compare_dropped_field(path)

    def is_declared_above(self, path: FieldPath) -> bool:
        """Whether a field is declared, be it as a map in place of a leaf or the reverse."""
        if get_at_or_absent(self.declared_fields, path) is not ABSENT:
            return True
        # A list or text that is declared in place of a map replaces all keys below.
        above = (get_at_or_absent(self.declared_fields, path[:end]) for end in range(1, len(path)))
        return any(value is not ABSENT and not isinstance(value, Mapping) for value in above)

    def compare_dropped_field(self, path: FieldPath) -> None:
        rule = self.field_rule_of(path)
        live, last_seen = get_at_or_absent(self.live, path), get_at_or_absent(self.last_seen, path)
        # Such a field is sent only if it is declared, so dropping it changes nothing.
        if rule.usual_value is not ABSENT:
            self.diff.notes.append(f"{format_field_path(path)}: no longer declared, left as it is")
            self.diff.rebase = True
            return
        # Of a hidden field it cannot be seen that it is gone, so its reset is sent in any case.
        is_hidden = rule.write_only or (
            isinstance(get_at_or_absent(self.applied, path), Mac) and not isinstance(last_seen, Mac)
        )
        is_foreign_map = (
            isinstance(live, Mapping) and live and get_at_or_absent(self.applied, path) == {}
        )
        if is_foreign_map or (live is ABSENT and not is_hidden):
            # It is gone already, or only the empty map was ours, and the keys in it are not.
            self.diff.rebase = True
            return
        was_plain = isinstance(live, Mac) and _was_recorded_in_plain(
            last_seen
        )  # recorded before it was a secret
        drifted = (
            not is_hidden and not was_plain and not is_same_value(live, last_seen, rule.compare)
        )
        is_unlike_seen = drifted
        _, drifted = self.attribute_to_call(path, True, drifted)
        # With a reset value the three-way rule below adds the drift itself.
        if is_unlike_seen and (len(path) > 1 or rule.reset_value is ABSENT):
            self.add_drift(path, declared_moved=True)
        if len(path) > 1:
            self.add_change_or_held_drift(path, ABSENT, _choose_cause(True, drifted))
        elif rule.reset_value is ABSENT:
            self.diff.unresettable_paths.append(path)
            self.add_change_or_held_drift(path, ABSENT, _choose_cause(True, drifted))
        else:
            reset_moved = not is_same_value(
                get_at_or_absent(self.applied, path), rule.reset_value, rule.compare
            )
            is_equal = not is_hidden and is_same_value(
                rule.reset_value, _replace_maps(rule.reset_value, live), rule.compare
            )
            # A reset that the server ignored is recorded as applied, so that it is sent only once.
            self.add_three_way(path, rule.reset_value, reset_moved, drifted, is_equal)

    def add_owned_removals(self) -> None:
        """Add changes for live keys below owned pointers that the manifest does not declare."""
        # Declared fields below an owned pointer were compared before.
        changed_paths = {change.path for change in self.diff.changes}
        for path in sorted(self.resource.live_fields if self.owned_pointers else ()):
            if (
                path in changed_paths
                or not is_at_or_below(path, self.owned_pointers)
                or is_at_or_below(path, self.ignored)
            ):
                continue
            if not self.is_declared_above(path):
                self.add_key_removal(path)

    def add_key_removal(self, path: FieldPath) -> None:
        """Add the removal of a key; a top-level field goes back to its reset value."""
        reset = self.field_rule_of(path).reset_value if len(path) == 1 else ABSENT
        if reset is not ABSENT and is_same_value(
            reset, get_at_or_absent(self.live, path), self.field_rule_of(path).compare
        ):
            return
        live, last_seen = get_at_or_absent(self.live, path), get_at_or_absent(self.last_seen, path)
        if path in self.accepted_paths and is_same_value(
            live, last_seen, self.field_rule_of(path).compare
        ):
            self.add_accepted(path, reset)
            return
        # An update can remove a key of a map, but a top-level field can only get another value.
        if len(path) == 1 and reset is ABSENT and not self.keep_drift:
            self.diff.unresettable_paths.append(path)
        self.add_drift(path, declared_moved=False, before=reset)
        self.add_change_or_held_drift(path, reset, Cause.DRIFT)


def _was_recorded_in_plain(value: Any) -> bool:
    """Whether a field that is a secret now was recorded in plain, so that drift cannot be seen."""
    return value is not ABSENT and not holds_secret(value)


def _choose_cause(declared_moved: bool, drifted: bool) -> Cause:
    if declared_moved and drifted:
        return Cause.BOTH
    return Cause.GIT if declared_moved else Cause.DRIFT


def _replace_maps(declared_value: Any, value: Any) -> Any:
    """An empty map for a live map where a map is declared, since only its presence counts."""
    return {} if isinstance(declared_value, Mapping) and isinstance(value, Mapping) else value
