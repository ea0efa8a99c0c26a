"""How findings word a failed read, and two objects with one natural key."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.kinds.wire import require_remote_id_of_answer
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import (
    FOREIGN_ANSWER_ADVICE,
    RemoteError,
    advise_on_failure,
    has_odd_success,
)
from synapse_apply.model.resource import Desired


def read_failure_finding(address: Address | None, failure: RemoteError) -> Diagnostic:
    """The error for a failed read, of one address or of everything."""
    default_hint = (
        FOREIGN_ANSWER_ADVICE if has_odd_success(failure) else "Run again; nothing was changed."
    )
    return error_finding(
        "Reading the live state failed",
        f"{f'{address}: ' if address else ''}{str(failure).removesuffix('.')}.",
        advise_on_failure(failure, "run again", default_hint),
        address=str(address) if address else None,
        request_id=failure.request_id,
    )


def ambiguous_key_finding(
    desired: Desired, key: str, matches: Sequence[ServerObject]
) -> Diagnostic:
    form, _, text = key.partition("=")
    ids = ", ".join(require_remote_id_of_answer(raw) for raw in matches)
    return error_finding(
        "Several live objects have one natural key",
        f"{desired.address}: {form} {text!r} belongs to ids {ids}.",
        Text(
            "Say which one is meant: ",
            Command("import", desired.address, "ID"),
            ", or metadata.id.",
        ),
        address=str(desired.address),
        position=desired.position,
    )
