"""Which rows an inventory may have, as `state show --inventory` and `export` write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from synapse_apply.files.checkout import read_typed_file
from synapse_apply.manifests.yaml.reader import describe_value_kind, read_single_mapping
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages import DIGEST_RULE, is_package_digest
from synapse_apply.model.phrases import shown_path
from synapse_apply.model.remote import parse_remote_id

_ROW_FORM_HINT = Text(
    "A row has `address: KIND/NAME` and `id: ID`, as ",
    Command("state show --inventory"),
    " prints it.",
)


@frozen
class InventoryRow:
    """The server's id, its API version and a package's digest; "" for what the row does not say.

    `number` counts from 1; `position` is the row's place in its file.
    """

    remote_id: str
    api: str = ""
    digest: str = ""
    number: int = 0
    position: Position | None = None


InventoryRowsByAddress = Mapping[Address, InventoryRow]


def parse_inventory(
    rows: Sequence[object], source_name: str, positions: Mapping[FieldPath, Position] | None = None
) -> InventoryRowsByAddress:
    """The rows by address; InputError with every finding.

    A row may be repeated; two rows of one address that differ are an error.
    """
    rows_by_address: dict[Address, InventoryRow] = {}
    findings: list[Diagnostic] = []
    for number, raw in enumerate(rows, start=1):
        position = positions.get(("inventory", number - 1)) if positions is not None else None
        try:
            address, row = _parse_row(raw, number, position)
        except (TypeError, ValueError) as problem:
            summary = "A row of the inventory cannot be used"
            named = raw.get("address") if isinstance(raw, Mapping) else None
            address_text = f" ({named})" if isinstance(named, str) and named else ""
            detail = f"row {number} of {source_name}{address_text}: {problem}."
            findings.append(error_finding(summary, detail, _ROW_FORM_HINT, position=position))
            continue
        first_row = rows_by_address.setdefault(address, row)
        differences = [
            f"{name} {first or '(none)'} and {second or '(none)'}"
            for name, first, second in (
                ("id", first_row.remote_id, row.remote_id),
                ("api", first_row.api, row.api),
                ("digest", first_row.digest, row.digest),
            )
            if first != second
        ]
        if differences:
            line_suffix = f" (line {first_row.position.line})" if first_row.position else ""
            findings.append(
                error_finding(
                    "An address is in the inventory twice",
                    f"{address} is in row {first_row.number}{line_suffix} and in row {row.number} "
                    f"of {source_name}, with {', '.join(differences)}.",
                    "Remove the row that is wrong.",
                    position=row.position,
                    address=str(address),
                )
            )
    if findings:
        raise InputError(*findings)
    return rows_by_address


def _parse_row(raw: object, number: int, position: Position | None) -> tuple[Address, InventoryRow]:
    """Address and row; TypeError or ValueError says what is wrong."""
    if not isinstance(raw, Mapping):
        shown_text = f", {raw!r}" if isinstance(raw, str) else ""
        raise TypeError(
            f"it is {describe_value_kind(raw)}{shown_text}, but a row needs an address and an id"
        )
    address = Address.parse(_field_text(raw, "address"))
    remote_id = parse_remote_id(raw["id"]) if _field_text(raw, "id") else ""
    digest = _field_text(raw, "digest", is_required=False)
    if digest and not is_package_digest(digest):
        raise ValueError(f"the digest {digest!r} is not valid: a digest is {DIGEST_RULE}")
    api = _field_text(raw, "api", is_required=False)
    return address, InventoryRow(remote_id, api, digest, number, position)


def _field_text(raw: Mapping[object, object], name: str, *, is_required: bool = True) -> str:
    """A text or whole number as text; "" for a missing field that is not required.

    ValueError for a missing one that is, TypeError for a value of another type.
    """
    value = raw.get(name)
    if value in (None, "") and is_required:
        raise ValueError(f"it has no {name}")
    if value is None:
        return ""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise TypeError(f"its {name} is {describe_value_kind(value)}")


def read_inventory(path: Path) -> InventoryRowsByAddress:
    """Read the rows of an inventory file, by address; InputError with every finding."""
    name = shown_path(path)
    try:
        mapping, positions = read_single_mapping(read_typed_file(path), name)
    except OSError as problem:
        raise InputError.from_summary(
            "The inventory cannot be read", f"{name}: {problem.strerror}."
        ) from None
    rows = mapping.get("inventory")
    if not isinstance(rows, list) or not rows:
        raise InputError.from_summary(
            "This is not an inventory",
            f"{name} has no list under `inventory:`, or an empty one.",
            Text("Write an inventory with ", Command("state show --inventory"), "."),
            position=positions.get(()),
        )
    return parse_inventory(rows, name, positions)
