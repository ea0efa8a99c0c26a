"""The words for what could not be seen: a read that failed, and two objects with one key."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.kinds.descriptor import Raw
from synapse_apply.kinds.wire import remote_id
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import RemoteError, recourse


def problem(address: Address | None, failure: RemoteError) -> Diagnostic:
    """What to say of a read that failed: of one address, or of all that it would concern."""
    status = failure.status_code
    other = "Run again; nothing was changed."
    if 200 <= status < 300:
        other = "That is no answer of this API: check the target's url."
    return error(
        "Reading the live state failed",
        f"{f'{address}: ' if address else ''}{str(failure).removesuffix('.')}.",
        recourse(failure, "run again", other),
        address=str(address) if address else None,
        request_id=failure.request_id,
    )


def ambiguous(desired: Desired, key: str, hits: Sequence[Raw]) -> Diagnostic:
    form, _, text = key.partition("=")
    ids = ", ".join(remote_id(raw) for raw in hits)
    return error(
        "Several live objects have one natural key",
        f"{desired.address}: {form} {text!r} belongs to ids {ids}.",
        f"Say which one is meant: `synapse-apply import {desired.address} ID`, or metadata.id.",
        address=str(desired.address),
        position=desired.position,
    )
