"""How a record or a live object is shown as text and JSON, without secrets and their MACs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.resource import Observed
from synapse_apply.model.state import Record
from synapse_apply.model.values import Fields, flatten
from synapse_apply.views.json.redaction import plain_json, tree_of_paths, unflatten_redacted
from synapse_apply.views.sanitize import escape_ci_commands, quote_string, sanitize
from synapse_apply.views.text.field_rows import FieldNode, RowLayout
from synapse_apply.views.text.style import Style
from synapse_apply.views.text.values import SECRET_TYPES
from synapse_apply.views.text.verification import format_last_run_or_empty

_DEFAULT_WIDTH = 110
_INDENT = 2


def render_record(record: Record, *, color: bool, width: int | None = None) -> str:
    """A record of the state as text: the fields that were sent, or seen where none was sent."""
    style = Style(color)
    # Nothing applied means that no apply has sent a field of it.
    notes = [] if record.applied else ["imported: as it was last seen, nothing was sent yet"]
    if record.protected:
        notes.append("protected: prevent_destroy")
    body = _format_resource_block(
        record.address, _recorded_fields(record), record.remote_id, width, style
    )
    facts = [f"# {name}: {sanitize(value)}" for name, value in _record_facts(record).items()]
    heading = [f"# {sanitize(record.address)}", *(f"# ({note})" for note in notes)]
    fact_lines = [style(fact, "dim") for fact in facts]
    return escape_ci_commands(
        "\n".join([*(style(line, "bold") for line in heading), *body, *fact_lines]) + "\n"
    )


def render_object(
    address: Address, observed: Observed, *, color: bool, width: int | None = None
) -> str:
    """A live object as text, its secrets as `(sensitive)`."""
    style = Style(color)
    heading = style(f"# {sanitize(address)} (live, API {sanitize(observed.api)})", "bold")
    fields = flatten(observed.spec)
    body = _format_resource_block(address, fields, observed.remote_id, width, style)
    return escape_ci_commands("\n".join([heading, *body]) + "\n")


def render_live_object(
    kind: str, name: str, observed: Observed, *, color: bool, width: int | None = None
) -> str:
    """A live object as text that is not declared, so that it has no address."""
    heading = f"{kind} {observed.remote_id} (API {observed.api})"
    fields = flatten(observed.spec)
    return render_fields_block(
        heading, (kind, name, observed.remote_id), fields, color=color, width=width
    )


def render_fields_block(
    heading: str,
    kind_name_and_id: tuple[str, str, str],
    fields: Mapping[FieldPath, Any],
    *,
    color: bool,
    width: int | None = None,
) -> str:
    """An object as a block under a heading; `kind_name_and_id` names it."""
    style = Style(color)
    kind, name, remote_id = kind_name_and_id
    body = _format_fields_block(kind, name, fields, remote_id, width, style)
    return escape_ci_commands("\n".join([style(f"# {sanitize(heading)}", "bold"), *body]) + "\n")


def record_document(record: Record) -> JsonDocument:
    """A record as JSON: null at every sensitive path, which `sensitive_values` marks."""
    fields = _recorded_fields(record)
    return {
        "address": str(record.address),
        "type": record.address.kind,
        "name": record.address.name,
        "id": record.remote_id,
        "imported": not record.applied,
        "values": unflatten_redacted((path, plain_json(value)) for path, value in fields.items()),
        "sensitive_values": tree_of_paths(_list_secret_paths(fields.items())),
        "protected": record.protected,
        "digest": record.digest,
        "files": dict(sorted(record.files.items())),
        "proven": dict(record.proven) or None,
        "verification": plain_json(record.verification),
        "depends_on": [str(address) for address in record.depends_on],
        "api": record.api,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def object_document(address: Address, observed: Observed) -> JsonDocument:
    """A live object as JSON: null at every sensitive path, which `sensitive_values` marks."""
    identity = {"address": str(address), "type": address.kind, "name": address.name}
    return identity | live_object_document(address.kind, observed)


def live_object_document(kind: str, observed: Observed) -> JsonDocument:
    """As `object_document`, for an object that has no address."""
    fields = flatten(observed.spec)
    return {
        "type": kind,
        "id": observed.remote_id,
        "api": observed.api,
        "values": unflatten_redacted((path, plain_json(value)) for path, value in fields.items()),
        "sensitive_values": tree_of_paths(_list_secret_paths(fields.items())),
    }


def _recorded_fields(record: Record) -> Fields:
    # An imported record has nothing applied yet.
    return record.applied or record.seen


def _list_secret_paths(fields: Iterable[tuple[FieldPath, Any]]) -> list[FieldPath]:
    return [path for path, value in fields if isinstance(value, SECRET_TYPES)]


def _format_resource_block(
    address: Address,
    fields: Mapping[FieldPath, Any],
    remote_id: str,
    width: int | None,
    style: Style,
) -> list[str]:
    return _format_fields_block(address.kind, address.name, fields, remote_id, width, style)


def _format_fields_block(
    kind: str,
    name: str,
    fields: Mapping[FieldPath, Any],
    remote_id: str,
    width: int | None,
    style: Style,
) -> list[str]:
    # Shown with the rows of a plan, none of which is a change.
    root = FieldNode()
    root.add_unchanged_field(("id",), remote_id, is_shown=True)
    for path, value in fields.items():
        root.add_unchanged_field(path, value, is_shown=True)
    rows = RowLayout(style, width or _DEFAULT_WIDTH).visible_rows(root, _INDENT)
    return [f"{sanitize(kind)} {quote_string(name)} {{", *rows, "}"]


def _record_facts(record: Record) -> dict[str, str]:
    """The facts of a record beside its fields, by label; empty ones left out."""
    files = f" ({format_count_and_noun(len(record.files), 'file')})" if record.files else ""
    # After another publication the proof is about an older package.
    is_same = record.proven.get("digest") == record.digest
    facts = {
        "api": record.api,
        "depends on": ", ".join(map(str, record.depends_on)),
        "package": f"{record.digest}{files}" if record.digest else "",
        "bytes read": record.proven.get("at", "") if is_same else "",
        "verified": format_last_run_or_empty(record.verification),
        "created": record.created_at,
        "updated": record.updated_at,
    }
    return {name: value for name, value in facts.items() if value}
