"""Which packages a saved plan carries: those that its rows upload, by digest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import Stale
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Plan
from synapse_apply.packages.carried_packages import RETRY_HINT, CarriedPackages, build_carried_name
from synapse_apply.packages.entry_names import format_printable
from synapse_apply.planning.package import read_uploaded_digest
from synapse_apply.workspace.package_sources import PackageCarrier
from synapse_apply.workspace.target_session import TargetSession


@frozen
class CarriedPackage:
    """A package of a plan's file and the addresses that use it; `size` None: it is missing."""

    digest: str
    addresses: tuple[Address, ...]
    size: int | None


def group_uploads_by_digest(plan: Plan) -> dict[str, list[Address]]:
    """The digest of each package that the plan uploads, with the addresses that use it."""
    addresses_by_digest: dict[str, list[Address]] = {}
    for change in plan.changes:
        if change.changes_server and (digest := read_uploaded_digest(change)):
            addresses_by_digest.setdefault(digest, []).append(change.address)
    return addresses_by_digest


def iter_upload_openers(
    session: TargetSession, plan: Plan
) -> Iterator[tuple[str, AbstractContextManager[BinaryIO]]]:
    """Each package that a plan uploads, once: its digest and a context that opens it."""
    for digest, addresses in group_uploads_by_digest(plan).items():
        yield digest, session.packages.open_package(addresses[0])


def list_carried_packages(carrier: PackageCarrier, plan: Plan) -> list[CarriedPackage]:
    """The packages that the file should carry, in the plan's order; none is read."""
    return [
        CarriedPackage(
            digest, tuple(addresses), carrier.package_sizes.get(_package_file_name(digest))
        )
        for digest, addresses in group_uploads_by_digest(plan).items()
    ]


def build_unexpected_entry_findings(carrier: PackageCarrier, plan: Plan) -> list[Diagnostic]:
    """An error for each entry that no row of the plan uploads: it was added later."""
    names = {_package_file_name(digest) for digest in group_uploads_by_digest(plan)}
    return [
        _build_unexpected_entry_finding(carrier, name)
        for name in sorted(carrier.package_sizes.keys() - names)
    ]


def require_exact_packages(carrier: PackageCarrier, plan: Plan, max_size: int) -> None:
    """Stale, with every finding, unless the file carries exactly what the plan uploads.

    Reads every package once. `max_size` in bytes.
    """
    packages_by_digest = {
        source_content.package.digest: source_content.package
        for source_content in carrier.source_contents
        if source_content.package
    }
    upload_addresses = group_uploads_by_digest(plan)
    packages_by_address = {
        addresses[0]: packages_by_digest[digest]
        for digest, addresses in upload_addresses.items()
        if digest in packages_by_digest
    }
    packages = CarriedPackages(carrier.file, packages_by_address, max_size=max_size)
    findings = build_unexpected_entry_findings(carrier, plan)
    for addresses in upload_addresses.values():
        try:
            with packages.open_package(addresses[0]):
                pass
        except Stale as problem:
            findings += problem.diagnostics
    if findings:
        raise Stale(*findings)


def _package_file_name(digest: str) -> str:
    try:
        return build_carried_name(digest)
    except ValueError:  # of a file that was edited
        return ""


def _build_unexpected_entry_finding(carrier: PackageCarrier, name: str) -> Diagnostic:
    return error_finding(
        "The plan file has an entry that the plan does not name",
        f"{carrier.file}: {format_printable(name)} is named by no row of the plan.",
        RETRY_HINT,
    )
