"""What became of open calls, as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synapse_apply.applying.settle import Settled
from synapse_apply.cli.face import Face
from synapse_apply.cli.waiting import waiter
from synapse_apply.model.aim import aimed_refusal
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.errors import Exit
from synapse_apply.planning.refusals import listing, outcome_unknown
from synapse_apply.session.context import Context
from synapse_apply.session.unrecorded import Told
from synapse_apply.session.waiting import settle_patiently
from synapse_apply.views.safety import clean


def wait_for(face: Face, context: Context, settled: Sequence[Settled]) -> list[Settled]:
    """The calls as they stand when nothing is too young any more; what others did is said."""
    known, elsewhere = settle_patiently(context, settled, waiter(face, context.pause))
    if elsewhere:
        detail = f"{listing(elsewhere)}: the state knows how they ended."
        face.warn([warning("Another run settled calls meanwhile", detail)])
    return known


def tell(
    face: Face,
    settled: Sequence[Settled],
    told: Mapping[str, Told],
    kept: Sequence[Diagnostic] = (),
) -> int:
    """A line for each call, with the ways out of what is still open; the exit code.

    `told` are open calls, by their ids, that a file knows to be done; `kept` warns of such files.
    """
    face.warn(kept)
    opened = [item for item in settled if item.is_open]
    if face.as_json:
        calls = [_document(item, _ways_out(item, told, face.aim)) for item in settled]
        findings = [finding.to_json() for finding in kept]
        face.document({"calls": calls, "open": len(opened), "diagnostics": findings})
    elif not settled:
        face.out("No call is open.\n")
    else:
        face.out("".join(_lines(item, _ways_out(item, told, face.aim)) for item in settled))
        closed = len(settled) - len(opened)
        face.out(f"\nSettled: {closed}. Still open: {len(opened)}.\n")
    return Exit.UNKNOWN if opened else Exit.OK


def _lines(item: Settled, ways_out: Sequence[str]) -> str:
    intent = item.intent
    if item.is_open:
        ways = "".join(f"        * {clean(way)}\n" for way in ways_out)
        return (
            f"  ! {intent.address}: {intent.verb} of {intent.sent_at}: {clean(item.why)}\n"
            f"      Ways out:\n{ways}"
        )
    if item.is_done:
        return f"  {intent.address}: {intent.verb} was done (id {clean(intent.remote_id)})\n"
    return f"  {intent.address}: {intent.verb} was not done; the next apply may do it\n"


def _ways_out(item: Settled, told: Mapping[str, Told], aim: str) -> tuple[str, ...]:
    """Of an open call; what a file knows nobody has to find out by looking."""
    if not item.is_open:
        return ()
    known = told[item.intent.id].way_out if item.intent.id in told else ""
    return aimed_refusal(outcome_unknown(item.intent, item.settles_in, known), aim).ways_out


def _document(item: Settled, ways_out: Sequence[str]) -> dict[str, Any]:
    intent = item.intent
    return {
        "address": str(intent.address),
        "verb": intent.verb,
        "sent_at": intent.sent_at,
        "plan_id": intent.plan_id,
        "result": intent.state.value,
        "id": intent.remote_id or None,
        "why": item.why or None,
        "ways_out": list(ways_out),
    }
