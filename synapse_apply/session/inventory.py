"""The rows of an inventory: what `state inventory` prints and `export` writes, read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synapse_apply.manifests.reader import kind_of
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.package_digest import WORDS as DIGEST_WORDS
from synapse_apply.model.package_digest import is_package_digest
from synapse_apply.model.remote_ids import remote_id_of

_FORM = "A row has `address: KIND/NAME` and `id: ID`, as `synapse-apply state inventory` prints it."


@frozen
class InventoryRow:
    """The server's id, of which API version it is, and the digest of a package; "" if not said.

    `number` counts from 1; `position` is the row's place in its file.
    """

    remote_id: str
    api: str = ""
    digest: str = ""
    number: int = 0
    position: Position | None = None


Inventory = Mapping[Address, InventoryRow]


def read_inventory(
    rows: Sequence[object], where: str, positions: Mapping[Path, Position] | None = None
) -> Inventory:
    """The rows of a file by address; InputError with every finding.

    The same row may stand twice; two that differ are a finding, since one of them is wrong.
    """
    found: dict[Address, InventoryRow] = {}
    findings: list[Diagnostic] = []
    for number, raw in enumerate(rows, start=1):
        place = positions.get(("inventory", number - 1)) if positions is not None else None
        try:
            address, row = _row(raw, number, place)
        except (TypeError, ValueError) as problem:
            summary = "A row of the inventory cannot be used"
            detail = f"row {number} of {where}{_called(raw)}: {problem}."
            findings.append(error(summary, detail, _FORM, position=place))
            continue
        first = found.setdefault(address, row)
        if others := _differences(first, row):
            findings.append(_twice(address, first, row, others, where))
    if findings:
        raise InputError(*findings)
    return found


def _called(raw: object) -> str:
    address = raw.get("address") if isinstance(raw, Mapping) else None
    return f" ({address})" if isinstance(address, str) and address else ""


def _row(raw: object, number: int, place: Position | None) -> tuple[Address, InventoryRow]:
    """The address and what is said of it; TypeError or ValueError says what is wrong."""
    if not isinstance(raw, Mapping):
        said = f", {raw!r}" if isinstance(raw, str) else ""
        raise TypeError(f"it is {kind_of(raw)}{said}, where address and id are expected")
    address = Address.parse(_text(raw, "address"))
    remote_id = remote_id_of(raw["id"]) if _text(raw, "id") else ""
    digest = _text(raw, "digest", needed=False)
    if digest and not is_package_digest(digest):
        raise ValueError(f"the digest {digest!r} is none: one is {DIGEST_WORDS}")
    api = _text(raw, "api", needed=False)
    return address, InventoryRow(remote_id, api, digest, number, place)


def _text(raw: Mapping[object, object], name: str, *, needed: bool = True) -> str:
    """A text, or a whole number as one; "" for what is not there and need not be."""
    value = raw.get(name)
    if value in (None, "") and needed:
        raise ValueError(f"it has no {name}")
    if value is None:
        return ""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise TypeError(f"its {name} is {kind_of(value)}")


def _differences(one: InventoryRow, other: InventoryRow) -> list[str]:
    pairs = {
        "id": (one.remote_id, other.remote_id),
        "api": (one.api, other.api),
        "digest": (one.digest, other.digest),
    }
    return [
        f"{name} {mine or '(none)'} and {theirs or '(none)'}"
        for name, (mine, theirs) in pairs.items()
        if mine != theirs
    ]


def _twice(
    address: Address, first: InventoryRow, row: InventoryRow, others: Sequence[str], where: str
) -> Diagnostic:
    line = f" (line {first.position.line})" if first.position else ""
    return error(
        "An address stands in the inventory twice",
        f"{address} is in row {first.number}{line} and in row {row.number} of {where}, with "
        f"{', '.join(others)}.",
        "Remove the row that is wrong.",
        position=row.position,
        address=str(address),
    )
