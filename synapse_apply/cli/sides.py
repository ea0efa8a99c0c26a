"""One resource from three sides: its manifest, its record, the live object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Self

from synapse_apply.cli.face import Face
from synapse_apply.model.address import Address
from synapse_apply.model.aim import aimed_findings
from synapse_apply.model.diagnostic import Diagnostic, Path, error, pointer
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.marks import UNMARKED
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.values import (
    ABSENT,
    Fields,
    Mac,
    Reference,
    SecretWant,
    Withheld,
    leaves,
)
from synapse_apply.planning.situation import Item
from synapse_apply.session.context import Planned
from synapse_apply.views.cells import cells
from synapse_apply.views.findings import dotted
from synapse_apply.views.literals import SECRETS, inline
from synapse_apply.views.masking import tree_of, values_tree
from synapse_apply.views.record import object_document, record_document
from synapse_apply.views.safety import clean
from synapse_apply.views.tables import render_table
from synapse_apply.views.verification import remembered

_ROOM = 36


SAME, DIFFERENT = "same", "different"
NOT_SHOWN, ANOTHER_KEY, NOT_CHECKED = "not shown", "under another key", "not checked"


@frozen
class ComparedSecret:
    """Whether a secret is recorded and live as declared; where none is declared, as recorded.

    A word of SAME, DIFFERENT, NOT_SHOWN (by the server), ANOTHER_KEY and NOT_CHECKED, or None
    where there is nothing on that side, or nothing to compare it with.
    """

    recorded: str | None
    live: str | None

    @classmethod
    def of(cls, declared: Any, recorded: Any, live: Any) -> Self:
        """From what the three sides hold of one field."""
        is_declared = isinstance(declared, SecretWant)
        wanted = declared.mac if is_declared else None
        base = wanted if is_declared else recorded
        return cls(
            _compare_with_base(wanted, recorded) if is_declared else None,
            NOT_SHOWN if isinstance(live, Withheld) else _compare_with_base(base, live),
        )


def _compare_with_base(base: Any, other: Any) -> str | None:
    if not isinstance(other, Mac):
        return None
    if not isinstance(base, Mac):
        return NOT_CHECKED
    if base.key_id != other.key_id:
        return ANOTHER_KEY
    return SAME if base == other else DIFFERENT


@frozen
class Sides:
    """What is known of one address; `unread`: nobody can tell what is live, a finding says why.

    `accepted` are the fields that differ by `state accept`.
    """

    item: Item
    findings: tuple[Diagnostic, ...] = ()
    unread: bool = False
    accepted: tuple[FieldChange, ...] = ()

    @classmethod
    def of(cls, planned: Planned, address: Address, aim: str = "") -> Self:
        """The sides of an address; InputError that names near ones when there is none.

        `aim` is the target's name where the commands that are printed must say it.
        """
        item = planned.items.get(address)
        if item is not None:
            item = _hide_recorded_secrets(item)
        else:
            known = [str(known) for known in planned.items]
            near = get_close_matches(str(address), known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "`synapse-apply plan --show-unchanged`."
            raise InputError(
                error("There is no such resource", f"{address} is not declared or recorded.", hint)
            )
        text = str(address)
        found = [finding for finding in planned.plan.diagnostics if finding.address == text]
        unread = aimed_findings(_unread(item, planned.items), aim)
        accepted = (change.accepted for change in planned.plan.changes if change.address == address)
        findings = tuple(dict.fromkeys((*found, *unread)))
        return cls(item, findings, bool(unread), next(accepted, ()))

    def text(self, face: Face) -> str:
        """A heading and a table, a row a field."""
        declared, recorded, live = self._declared(), self._recorded(), self._live()
        paths = sorted({*declared, *recorded, *live}, key=lambda path: [str(p) for p in path])
        room = max(_ROOM, ((face.width or 0) - 30) // 3)
        secrets = self._secrets()
        rows = [
            (
                dotted(path),
                *(
                    secrets.get(path, {}).get(name) or _cell(side.get(path, ABSENT), room)
                    for name, side in (
                        ("declared", declared), ("recorded", recorded), ("live", live),
                    )
                ),
            )
            for path in paths
        ]  # fmt: skip
        table = render_table(("field", "declared", "recorded", "live"), rows, color=face.color_out)
        return f"# {self.item.address} ({', '.join(self._facts())})\n{table}"

    def document(self) -> dict[str, Any]:
        """The three sides, each null where it is not there, or where a finding says why."""
        item, observed = self.item, self.item.sighting.observed
        declared = self._declared()
        secret = [path for path, value in declared.items() if isinstance(value, SECRETS)]
        return {
            "address": str(item.address),
            "declared": None
            if item.desired is None
            else {
                "values": values_tree(declared.items()),
                "sensitive_values": tree_of(secret),
            },
            "recorded": record_document(item.record) if item.record else None,
            "live": object_document(item.address, observed) if observed else None,
            "accepted_differences": [pointer(field.path) for field in self.accepted],
            "secrets": [
                {"path": pointer(path), "recorded": words.recorded, "live": words.live}
                for path, words in self._compared_secrets().items()
            ],
            "diagnostics": [finding.to_json() for finding in self.findings],
        }

    def _secrets(self) -> dict[Path, dict[str, str]]:
        """The cells of each secret: nothing of it, but whether the sides hold the same."""
        return {
            path: {
                name: f"(sensitive, {word})"
                for name, word in (("recorded", compared.recorded), ("live", compared.live))
                if word
            }
            for path, compared in self._compared_secrets().items()
        }

    def _compared_secrets(self) -> dict[Path, ComparedSecret]:
        """Each secret's digests, all under one salt: with the declared one, else the recorded."""
        sides = (self._declared(), self._recorded(), self.item.live)
        paths = {path for side in sides for path, value in side.items()
                 if isinstance(value, SECRETS)}  # fmt: skip
        return {
            path: ComparedSecret.of(*(side.get(path, ABSENT) for side in sides))
            for path in sorted(paths, key=lambda path: [str(part) for part in path])
        }

    def _facts(self) -> list[str]:
        record, observed = self.item.record, self.item.sighting.observed
        verified = remembered(record.verification) if record else ""
        accepted = ", ".join(clean(dotted(field.path)) for field in self.accepted)
        unseen = "live side not known" if self.unread else "not seen live"
        return [
            "declared" if self.item.desired else "not declared",
            f"recorded as id {record.remote_id}" if record else "not recorded",
            f"live as id {observed.remote_id}" if observed else unseen,
            *([f"verified: {clean(verified)}"] if verified else []),
            *([f"accepted as they differ: {accepted}"] if accepted else []),
        ]

    def _declared(self) -> Mapping[Path, Any]:
        return dict(self.item.want)

    def _recorded(self) -> Fields:
        record = self.item.record
        return (record.applied or record.seen) if record else {}

    def _live(self) -> Mapping[Path, Any]:
        observed = self.item.sighting.observed
        return leaves(observed.spec) if observed else {}


def _hide_recorded_secrets(item: Item) -> Item:
    """The item without what its record has in plain of a field that is a secret by now."""
    if item.record is None:
        return item
    sides = (item.want, item.live)
    secrets = {path for side in sides for path, value in side.items() if isinstance(value, SECRETS)}
    if not secrets:
        return item
    marks = UNMARKED.with_named(frozenset(secrets))

    def hide(fields: Fields) -> Fields:
        return {
            path: Withheld("masked")
            if not isinstance(value, SECRETS) and (marks.secret(path) or marks.holds_named(path))
            else value
            for path, value in fields.items()
        }

    record = replace(item.record, applied=hide(item.record.applied), seen=hide(item.record.seen))
    return replace(item, record=record)


def _unread(item: Item, items: Mapping[Address, Item]) -> Iterator[Diagnostic]:
    """Why nobody knows whether an object is live: the failed read of it, or of its parents.

    One that has no record is searched for among what belongs to a parent.
    """
    if item.sighting.problem is not None:
        yield item.sighting.problem
    elif item.sighting.observed is None and item.desired is not None:
        for value in item.desired.spec.values():
            parent = items.get(value.address) if isinstance(value, Reference) else None
            if parent is not None and parent.sighting.problem is not None:
                yield parent.sighting.problem


def _cell(value: Any, room: int) -> str:
    """A value short enough for a column; JSON has the whole of it."""
    if value is ABSENT:
        return "-"
    text = inline(value)
    if cells(text) <= room:
        return text
    text = text[:room]
    while cells(text) >= room:
        text = text[:-1]
    return f"{text}…"
