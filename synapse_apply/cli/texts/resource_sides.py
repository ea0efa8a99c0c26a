"""What `show ADDRESS` prints: a resource as declared, as recorded, and as live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

from synapse_apply.cli.console import Console
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, name_target
from synapse_apply.model.diagnostic import Diagnostic, Path, format_json_pointer
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import suggest_name
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.secrets.secret_marks import UNMARKED
from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    Fields,
    Mac,
    Reference,
    WithheldSecret,
    flatten,
)
from synapse_apply.planning.plan_input import ResourceState
from synapse_apply.views.json.redaction import build_flag_tree, unflatten_to_redacted_json
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.cells import count_cells
from synapse_apply.views.text.findings import format_quoted_path
from synapse_apply.views.text.record import object_document, record_document
from synapse_apply.views.text.tables import render_table
from synapse_apply.views.text.values import SECRET_TYPES, format_value_inline
from synapse_apply.views.text.verification import format_last_run
from synapse_apply.workspace.target_session import PlanResult

_MIN_CELL_WIDTH = 36


SAME, DIFFERENT = "same", "different"
NOT_SHOWN, ANOTHER_KEY, NOT_CHECKED = "not shown", "under another key", "not checked"


@frozen
class ComparedSecret:
    """Whether a secret is the same as declared, in the record and live; else, live as recorded.

    Each is SAME, DIFFERENT, NOT_SHOWN (by the server), ANOTHER_KEY or NOT_CHECKED; None where that
    side has no value, or there is nothing to compare it with.
    """

    recorded: str | None
    live: str | None

    @classmethod
    def compare_sides(cls, declared: Any, recorded: Any, live: Any) -> Self:
        """Compare one field's values of the three sides."""
        is_declared = isinstance(declared, DesiredSecret)
        declared_mac = declared.mac if is_declared else None
        base = declared_mac if is_declared else recorded
        return cls(
            _compare_secret_digests(declared_mac, recorded) if is_declared else None,
            NOT_SHOWN if isinstance(live, WithheldSecret) else _compare_secret_digests(base, live),
        )


def _compare_secret_digests(base_secret: Any, other_secret: Any) -> str | None:
    if not isinstance(other_secret, Mac):
        return None
    if not isinstance(base_secret, Mac):
        return NOT_CHECKED
    if base_secret.key_id != other_secret.key_id:
        return ANOTHER_KEY
    return SAME if base_secret == other_secret else DIFFERENT


@frozen
class ResourceSides:
    """The three sides of one address.

    `is_live_unread`: the live side could not be read, and a finding says why. `accepted_changes`
    are the fields that differ by `state accept`.
    """

    resource: ResourceState
    findings: tuple[Diagnostic, ...] = ()
    is_live_unread: bool = False
    accepted_changes: tuple[FieldChange, ...] = ()

    @classmethod
    def from_plan_result(
        cls, plan_result: PlanResult, address: Address, typed_target: str = ""
    ) -> Self:
        """The sides of an address; InputError that suggests similar ones for an unknown address.

        `typed_target` is the target's name where printed commands must name it.
        """
        resource = plan_result.resources.get(address)
        if resource is not None:
            resource = _with_recorded_secrets_withheld(resource)
        else:
            hint = suggest_name(
                str(address),
                map(str, plan_result.resources),
                Text(Command("plan --show-unchanged"), "."),
            )
            raise InputError.from_summary(
                "There is no such resource", f"{address} is not declared or recorded.", hint
            )
        text = str(address)
        own_findings = [
            finding for finding in plan_result.plan.diagnostics if finding.address == text
        ]
        read_problems = name_target(
            tuple(_iter_failed_read_findings(resource, plan_result.resources)), typed_target
        )
        accepted_changes = (
            change.accepted for change in plan_result.plan.changes if change.address == address
        )
        findings = tuple(dict.fromkeys((*own_findings, *read_problems)))
        return cls(resource, findings, bool(read_problems), next(accepted_changes, ()))

    def render_text(self, console: Console) -> str:
        """A heading, and a table with one row per field."""
        declared, recorded, live = (
            self._get_declared_fields(),
            self._get_recorded_fields(),
            self._get_live_fields(),
        )
        paths = sorted({*declared, *recorded, *live}, key=lambda path: [str(p) for p in path])
        cell_width = max(_MIN_CELL_WIDTH, ((console.terminal_width or 0) - 30) // 3)
        secret_cells = self._format_secret_cells()
        rows = [
            (
                format_quoted_path(path),
                *(
                    secret_cells.get(path, {}).get(name)
                    or _format_value_for_column(side.get(path, ABSENT), cell_width)
                    for name, side in (
                        ("declared", declared),
                        ("recorded", recorded),
                        ("live", live),
                    )
                ),
            )
            for path in paths
        ]
        table = render_table(
            ("field", "declared", "recorded", "live"), rows, color=console.is_output_colored
        )
        return f"# {self.resource.address} ({', '.join(self._list_heading_parts())})\n{table}"

    def build_document(self) -> dict[str, Any]:
        """The three sides as JSON, null for a side that does not exist or could not be read."""
        resource, observed = self.resource, self.resource.lookup_result.observed
        declared = self._get_declared_fields()
        secret_paths = [path for path, value in declared.items() if isinstance(value, SECRET_TYPES)]
        return {
            "address": str(resource.address),
            "declared": None
            if resource.desired is None
            else {
                "values": unflatten_to_redacted_json(declared.items()),
                "sensitive_values": build_flag_tree(secret_paths),
            },
            "recorded": record_document(resource.record) if resource.record else None,
            "live": object_document(resource.address, observed) if observed else None,
            "accepted_differences": [
                format_json_pointer(field.path) for field in self.accepted_changes
            ],
            "secrets": [
                {
                    "path": format_json_pointer(path),
                    "recorded": compared.recorded,
                    "live": compared.live,
                }
                for path, compared in self._compare_secrets().items()
            ],
            "diagnostics": [finding.to_json() for finding in self.findings],
        }

    def _format_secret_cells(self) -> dict[Path, dict[str, str]]:
        """The cells of each secret: no value, only whether the sides have the same one."""
        return {
            path: {
                name: f"(sensitive, {word})"
                for name, word in (("recorded", compared.recorded), ("live", compared.live))
                if word
            }
            for path, compared in self._compare_secrets().items()
        }

    def _compare_secrets(self) -> dict[Path, ComparedSecret]:
        """Compare the digests of each secret, which were all made with one salt."""
        sides = (
            self._get_declared_fields(),
            self._get_recorded_fields(),
            self.resource.live_fields,
        )
        paths = {path for side in sides for path, value in side.items()
                 if isinstance(value, SECRET_TYPES)}  # fmt: skip
        return {
            path: ComparedSecret.compare_sides(*(side.get(path, ABSENT) for side in sides))
            for path in sorted(paths, key=lambda path: [str(part) for part in path])
        }

    def _list_heading_parts(self) -> list[str]:
        record, observed = self.resource.record, self.resource.lookup_result.observed
        verified_text = format_last_run(record.verification) if record else ""
        accepted_text = ", ".join(
            sanitize(format_quoted_path(field.path)) for field in self.accepted_changes
        )
        missing_live_text = "live side not known" if self.is_live_unread else "not seen live"
        return [
            "declared" if self.resource.desired else "not declared",
            f"recorded as id {record.remote_id}" if record else "not recorded",
            f"live as id {observed.remote_id}" if observed else missing_live_text,
            *([f"verified: {sanitize(verified_text)}"] if verified_text else []),
            *([f"accepted as they differ: {accepted_text}"] if accepted_text else []),
        ]

    def _get_declared_fields(self) -> Mapping[Path, Any]:
        return dict(self.resource.declared_fields)

    def _get_recorded_fields(self) -> Fields:
        record = self.resource.record
        # An imported record has nothing applied yet.
        return (record.applied or record.seen) if record else {}

    def _get_live_fields(self) -> Mapping[Path, Any]:
        observed = self.resource.lookup_result.observed
        return flatten(observed.spec) if observed else {}


def _with_recorded_secrets_withheld(resource: ResourceState) -> ResourceState:
    """The resource without recorded plain values of fields that have become secret since."""
    if resource.record is None:
        return resource
    field_maps = (resource.declared_fields, resource.live_fields)
    secret_paths = {
        path
        for side in field_maps
        for path, value in side.items()
        if isinstance(value, SECRET_TYPES)
    }
    if not secret_paths:
        return resource
    secret_marks = UNMARKED.with_named(frozenset(secret_paths))

    def redact_fields(fields: Fields) -> Fields:
        return {
            path: WithheldSecret("masked")
            if not isinstance(value, SECRET_TYPES)
            and (secret_marks.is_secret(path) or secret_marks.has_named_field_below(path))
            else value
            for path, value in fields.items()
        }

    redacted_record = replace(
        resource.record,
        applied=redact_fields(resource.record.applied),
        seen=redact_fields(resource.record.seen),
    )
    return replace(resource, record=redacted_record)


def _iter_failed_read_findings(
    resource: ResourceState, resources: Mapping[Address, ResourceState]
) -> Iterator[Diagnostic]:
    """Why it is unknown whether an object is live: its own failed read, or that of a parent.

    An object without a record is searched for among its parent's members.
    """
    if resource.lookup_result.problem is not None:
        yield resource.lookup_result.problem
    elif resource.lookup_result.observed is None and resource.desired is not None:
        for value in resource.desired.spec.values():
            parent = resources.get(value.address) if isinstance(value, Reference) else None
            if parent is not None and parent.lookup_result.problem is not None:
                yield parent.lookup_result.problem


def _format_value_for_column(value: Any, cell_width: int) -> str:
    """A value cut to the width of a column; JSON has all of it."""
    if value is ABSENT:
        return "-"
    text = format_value_inline(value)
    if count_cells(text) <= cell_width:
        return text
    text = text[:cell_width]
    while count_cells(text) >= cell_width:
        text = text[:-1]
    return f"{text}…"
