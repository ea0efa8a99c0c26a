"""Use case: read the bytes that releases were published with, and compare them with the record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from uuid import uuid4

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import NotFound, RemoteError, SynapseApplyError, Unauthorized
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import Record
from synapse_apply.session.context import Context
from synapse_apply.session.published_bytes import PublishedBytes, read_published_bytes

# How it stands in the audit.
VERB = "read-bytes"


class Finding(Enum):
    """What reading them showed. LEARNED: nothing was recorded of the bytes before."""

    SAME = "same"
    LEARNED = "learned"
    DIFFERENT = "different"
    UNREAD = "unread"


@frozen
class Compared:
    """One release: the digest that is recorded, and that of the bytes; "" where there is none."""

    address: Address
    finding: Finding
    recorded: str = ""
    published: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def is_well(self) -> bool:
        return self.finding in {Finding.SAME, Finding.LEARNED}


def compare_bytes(context: Context, addresses: Iterable[Address]) -> list[Compared]:
    """Compare each, one after the other; what is proved is recorded. Under the state's lock.

    Nothing is sent to the backend but reads. Unauthorized is raised: it would meet all the rest.
    """
    with context.lock("verify"):
        records = context.store.read().records
        return [_compare(context, address, records.get(address)) for address in sorted(addresses)]


def _compare(context: Context, address: Address, record: Record | None) -> Compared:
    kind = context.catalogue[address.kind]
    if not kind.carries_package:
        detail = f"A {kind.prefix} has no package."
        return _unread(address, record, "Nothing to compare", detail, "Name a release.")
    binding = kind.binding(context.target.api)
    if record is None or record.api != binding.api:
        detail = f"{address} is not published from here yet."
        return _unread(address, record, "Not applied yet", detail, "`synapse-apply apply` first.")
    try:
        raw = binding.read(context.api, record.remote_id)
        found = read_published_bytes(
            context.api, binding, raw, str(address), context.project.max_package_size
        )
    except Unauthorized:
        raise
    except NotFound:
        detail = f"The backend has no release with id {record.remote_id}, or hides it."
        return _unread(address, record, "The release is not there", detail, "Plan, to see why.")
    except RemoteError as failure:
        detail = f"{address}: {str(failure).removesuffix('.')}."
        return _unread(address, record, "The published bytes cannot be read", detail, "Try again.")
    except SynapseApplyError as problem:
        at = tuple(one.with_(address=str(address)) for one in problem.diagnostics)
        return Compared(address, Finding.UNREAD, record.digest or "", "", at)
    if found is None:
        detail = f"The backend shows no URL of the bytes of {address}."
        return _unread(address, record, "The published bytes cannot be read", detail, "")
    return _compare_with_record(context, address, record, found)


def _unread(
    address: Address, record: Record | None, summary: str, detail: str, hint: str
) -> Compared:
    told = error(summary, detail, hint, address=str(address))
    recorded = (record.digest if record else None) or ""
    return Compared(address, Finding.UNREAD, recorded, "", (told,))


def _compare_with_record(
    context: Context, address: Address, record: Record, found: PublishedBytes
) -> Compared:
    recorded = record.digest or ""
    if recorded and recorded != found.digest:
        told = error(
            "The published bytes are not those that are recorded",
            f"{address} (id {record.remote_id}): the backend gives {found.digest}, and the state "
            f"has {recorded}.",
            "Somebody replaced what is published, or the backend changes what it is given. Publish "
            "a new version of what you trust.",
            address=str(address),
        )
        return Compared(address, Finding.DIFFERENT, recorded, found.digest, (told,))
    now = context.clock.now()
    context.store.put(
        replace(
            record,
            digest=found.digest,
            files=record.files or found.files,
            proven={"digest": found.digest, "at": now},
        )
    )
    context.store.note(
        context.actor.deed(address, VERB, at=now, plan_id=str(uuid4()), remote_id=record.remote_id)
    )
    finding = Finding.SAME if recorded else Finding.LEARNED
    return Compared(address, finding, recorded, found.digest)
