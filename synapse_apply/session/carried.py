"""The packages that a saved plan carries: those of the rows that upload one, by their digest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import Stale
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Plan
from synapse_apply.packages.carried import AGAIN, CarriedPackages, name_of
from synapse_apply.packages.names import printable
from synapse_apply.planning.package import uploaded_digest
from synapse_apply.session.context import Context
from synapse_apply.session.sources import Carrier


@frozen
class Part:
    """One package of a plan's file: whom it is for, and its bytes, None where it is missing."""

    digest: str
    addresses: tuple[Address, ...]
    size: int | None


def uploads(plan: Plan) -> dict[str, list[Address]]:
    """The digests of what a plan uploads, each with the addresses it is for."""
    found: dict[str, list[Address]] = {}
    for change in plan.changes:
        if change.changes_server and (digest := uploaded_digest(change)):
            found.setdefault(digest, []).append(change.address)
    return found


def openings(
    context: Context, plan: Plan
) -> Iterator[tuple[str, AbstractContextManager[BinaryIO]]]:
    """Each package that a plan uploads, once: its digest and what opens it."""
    for digest, addresses in uploads(plan).items():
        yield digest, context.packages.open(addresses[0])


def parts(carrier: Carrier, plan: Plan) -> list[Part]:
    """The packages that a file should carry, in the plan's order; nothing is read."""
    return [
        Part(digest, tuple(rows), carrier.sizes.get(_name(digest)))
        for digest, rows in uploads(plan).items()
    ]


def foreign(carrier: Carrier, plan: Plan) -> list[Diagnostic]:
    """What the file has beside the plan's packages: somebody put it there."""
    names = {_name(digest) for digest in uploads(plan)}
    return [_foreign(carrier, name) for name in sorted(carrier.sizes.keys() - names)]


def check(carrier: Carrier, plan: Plan, max_size: int) -> None:
    """Stale, with every finding, unless the file carries just what the plan uploads.

    Every package is read once. `max_size` in bytes.
    """
    told = {one.package.digest: one.package for one in carrier.held if one.package}
    wanted = uploads(plan)
    known = {rows[0]: told[digest] for digest, rows in wanted.items() if digest in told}
    packages = CarriedPackages(carrier.file, known, max_size=max_size)
    findings = foreign(carrier, plan)
    for rows in wanted.values():
        try:
            with packages.open(rows[0]):
                pass
        except Stale as problem:
            findings += problem.diagnostics
    if findings:
        raise Stale(*findings)


def _name(digest: str) -> str:
    try:
        return name_of(digest)
    except ValueError:  # of a file that was edited
        return ""


def _foreign(carrier: Carrier, name: str) -> Diagnostic:
    return error(
        "The plan's file has something that is not the plan's",
        f"{carrier.file}: {printable(name)} is named by no row of the plan.",
        AGAIN,
    )
