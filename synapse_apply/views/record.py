"""A record of state or a live object as a block of text or JSON; never a secret, never its MAC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.observed import Observed
from synapse_apply.model.state import Record
from synapse_apply.model.values import Fields, leaves
from synapse_apply.views.fields import Layout, Node
from synapse_apply.views.grammar import plural
from synapse_apply.views.literals import SECRETS
from synapse_apply.views.masking import plain, tree_of, values_tree
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm, quote
from synapse_apply.views.verification import remembered

_WIDTH = 110
_INDENT = 2


def render_record(record: Record, *, color: bool, width: int | None = None) -> str:
    """What state remembers of an address: what was sent, or seen where nothing was sent."""
    pen = Pen(color)
    notes = [] if record.applied else ["imported: as it was last seen, nothing was sent yet"]
    if record.protected:
        notes.append("protected: prevent_destroy")
    body = _block(record.address, _fields(record), record.remote_id, width, pen)
    facts = [f"# {name}: {clean(value)}" for name, value in _facts(record).items()]
    heading = [f"# {clean(record.address)}", *(f"# ({note})" for note in notes)]
    dim = [pen(fact, "dim") for fact in facts]
    return disarm("\n".join([*(pen(line, "bold") for line in heading), *body, *dim]) + "\n")


def render_object(
    address: Address, observed: Observed, *, color: bool, width: int | None = None
) -> str:
    """A live object as the backend answered it, its secrets as `(sensitive)`."""
    pen = Pen(color)
    heading = pen(f"# {clean(address)} (live, API {clean(observed.api)})", "bold")
    fields = leaves(observed.spec)
    body = _block(address, fields, observed.remote_id, width, pen)
    return disarm("\n".join([heading, *body]) + "\n")


def render_live(
    kind: str, name: str, observed: Observed, *, color: bool, width: int | None = None
) -> str:
    """A live object that was asked for by hand, so that it needs no address."""
    heading = f"{kind} {observed.remote_id} (API {observed.api})"
    fields = leaves(observed.spec)
    return render_fields(
        heading, (kind, name, observed.remote_id), fields, color=color, width=width
    )


def render_fields(
    heading: str,
    named: tuple[str, str, str],
    fields: Mapping[Path, Any],
    *,
    color: bool,
    width: int | None = None,
) -> str:
    """Any object as a block under a heading; `named` are what it is, its name and its id."""
    pen = Pen(color)
    kind, name, remote_id = named
    body = _fields_block(kind, name, fields, remote_id, width, pen)
    return disarm("\n".join([pen(f"# {clean(heading)}", "bold"), *body]) + "\n")


def record_document(record: Record) -> dict[str, Any]:
    """A record as JSON: null at every sensitive path, which `sensitive_values` marks."""
    fields = _fields(record)
    return {
        "address": str(record.address),
        "type": record.address.kind,
        "name": record.address.name,
        "id": record.remote_id,
        "imported": not record.applied,
        "values": values_tree((path, plain(value)) for path, value in fields.items()),
        "sensitive_values": tree_of(_secret_paths(fields.items())),
        "protected": record.protected,
        "digest": record.digest,
        "files": dict(sorted(record.files.items())),
        "proven": dict(record.proven) or None,
        "verification": plain(record.verification),
        "depends_on": [str(address) for address in record.depends_on],
        "api": record.api,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def object_document(address: Address, observed: Observed) -> dict[str, Any]:
    """A live object as JSON: null at every sensitive path, which `sensitive_values` marks."""
    named = {"address": str(address), "type": address.kind, "name": address.name}
    return named | live_document(address.kind, observed)


def live_document(kind: str, observed: Observed) -> dict[str, Any]:
    """The same of an object that was asked for by hand, without an address."""
    fields = leaves(observed.spec)
    return {
        "type": kind,
        "id": observed.remote_id,
        "api": observed.api,
        "values": values_tree((path, plain(value)) for path, value in fields.items()),
        "sensitive_values": tree_of(_secret_paths(fields.items())),
    }


def _fields(record: Record) -> Fields:
    return record.applied or record.seen


def _secret_paths(fields: Iterable[tuple[Path, Any]]) -> list[Path]:
    return [path for path, value in fields if isinstance(value, SECRETS)]


def _block(
    address: Address, fields: Mapping[Path, Any], remote_id: str, width: int | None, pen: Pen
) -> list[str]:
    return _fields_block(address.kind, address.name, fields, remote_id, width, pen)


def _fields_block(
    kind: str, name: str, fields: Mapping[Path, Any], remote_id: str, width: int | None, pen: Pen
) -> list[str]:
    root = Node()
    root.keep(("id",), remote_id, shown=True)
    for path, value in fields.items():
        root.keep(path, value, shown=True)
    rows = Layout(pen, width or _WIDTH).rows(root, _INDENT)
    return [f"{clean(kind)} {quote(name)} {{", *rows, "}"]


def _read_at(record: Record) -> str:
    """When the published bytes were read, if they are those that are recorded."""
    is_same = record.proven.get("digest") == record.digest
    return record.proven.get("at", "") if is_same else ""


def _facts(record: Record) -> dict[str, str]:
    """What a record knows beside fields, without what is empty."""
    files = f" ({plural(len(record.files), 'file')})" if record.files else ""
    facts = {
        "api": record.api,
        "depends on": ", ".join(map(str, record.depends_on)),
        "package": f"{record.digest}{files}" if record.digest else "",
        "bytes read": _read_at(record),
        "verified": remembered(record.verification),
        "created": record.created_at,
        "updated": record.updated_at,
    }
    return {name: value for name, value in facts.items() if value}
