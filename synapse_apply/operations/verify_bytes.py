"""How `verify --bytes` compares published packages with their records, and what it records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from uuid import uuid4

from synapse_apply.live.published_bytes import (
    PublishedBytes,
    fetch_and_hash_package_or_none_without_url,
)
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import NotFound, RemoteError, SynapseApplyError, Unauthorized
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import Record
from synapse_apply.workspace.target_session import TargetSession

# How it stands in the audit.
READ_BYTES_VERB = "read-bytes"


class BytesResult(Enum):
    """The outcome of a comparison. LEARNED: no digest was recorded before."""

    SAME = "same"
    LEARNED = "learned"
    DIFFERENT = "different"
    UNREAD = "unread"


@frozen
class ComparedBytes:
    """One release: the recorded digest and the published package's; "" where there is none."""

    address: Address
    result: BytesResult
    recorded_digest: str = ""
    published_digest: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def has_same_or_first_digest(self) -> bool:
        return self.result in {BytesResult.SAME, BytesResult.LEARNED}


def compare_and_record_published_bytes(
    session: TargetSession, addresses: Iterable[Address]
) -> list[ComparedBytes]:
    """Compare each release's published package with its record, under the state's lock.

    Records a digest that matches or is new. Sends only reads. Raises Unauthorized, which would
    also fail all further reads.
    """
    with session.lock_state_of_own_project("verify"):
        records = session.store.read_state().records
        return [
            _compare_and_record_release(session, address, records.get(address))
            for address in sorted(addresses)
        ]


def _compare_and_record_release(
    session: TargetSession, address: Address, record: Record | None
) -> ComparedBytes:
    kind = session.catalogue[address.kind]
    if not kind.carries_package:
        detail = f"A {kind.prefix} has no package."
        return _build_unread_result(
            address, record, "Nothing to compare", detail, "Name a release."
        )
    binding = session.select_binding(address.kind)
    if record is None or record.api != binding.api:
        detail = f"{address} is not published from here yet."
        return _build_unread_result(
            address, record, "Not applied yet", detail, Text(Command("apply"), " first.")
        )
    try:
        raw = binding.read_object(session.api, record.remote_id)
        published_bytes = fetch_and_hash_package_or_none_without_url(
            session.api, binding, raw, str(address), session.project.max_package_size
        )
    # A wrong token would fail every further release in the same way.
    except Unauthorized:
        raise
    except NotFound:
        detail = f"The backend has no release with id {record.remote_id}, or hides it."
        return _build_unread_result(
            address, record, "The release is not there", detail, "Plan, to see why."
        )
    except RemoteError as failure:
        detail = f"{address}: {str(failure).removesuffix('.')}."
        return _build_unread_result(
            address, record, "The published bytes cannot be read", detail, "Try again."
        )
    except SynapseApplyError as problem:
        diagnostics = tuple(
            diagnostic.with_changes(address=str(address)) for diagnostic in problem.diagnostics
        )
        return ComparedBytes(address, BytesResult.UNREAD, record.digest or "", "", diagnostics)
    if published_bytes is None:
        detail = f"The backend shows no URL of the bytes of {address}."
        return _build_unread_result(
            address, record, "The published bytes cannot be read", detail, ""
        )
    return _compare_bytes_and_record_unless_different(session, address, record, published_bytes)


def _build_unread_result(
    address: Address, record: Record | None, summary: str, detail: str, hint: str
) -> ComparedBytes:
    diagnostic = error_finding(summary, detail, hint, address=str(address))
    recorded_digest = (record.digest if record else None) or ""
    return ComparedBytes(address, BytesResult.UNREAD, recorded_digest, "", (diagnostic,))


def _compare_bytes_and_record_unless_different(
    session: TargetSession, address: Address, record: Record, published_bytes: PublishedBytes
) -> ComparedBytes:
    recorded_digest = record.digest or ""
    if recorded_digest and recorded_digest != published_bytes.digest:
        diagnostic = error_finding(
            "The published bytes are not those that are recorded",
            f"{address} (id {record.remote_id}): the backend gives {published_bytes.digest}, and "
            f"the state "
            f"has {recorded_digest}.",
            "Somebody replaced what is published, or the backend changes what it is given. Publish "
            "a new version of what you trust.",
            address=str(address),
        )
        return ComparedBytes(
            address, BytesResult.DIFFERENT, recorded_digest, published_bytes.digest, (diagnostic,)
        )
    moment = session.clock.utc_now()
    session.store.write_records(
        replace(
            record,
            digest=published_bytes.digest,
            files=record.files or published_bytes.files,
            proven={"digest": published_bytes.digest, "at": moment},
        )
    )
    session.store.append_audit_entries(
        session.actor.build_state_audit_entry(
            address,
            READ_BYTES_VERB,
            moment=moment,
            plan_id=str(uuid4()),
            remote_id=record.remote_id,
        )
    )
    result = BytesResult.SAME if recorded_digest else BytesResult.LEARNED
    return ComparedBytes(address, result, recorded_digest, published_bytes.digest)
