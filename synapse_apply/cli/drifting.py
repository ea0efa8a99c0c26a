"""`drift`, and `plan --refresh-only`: looking at what was changed outside, and taking it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.cli.again import same_place
from synapse_apply.cli.face import Face
from synapse_apply.cli.reports import Reports
from synapse_apply.model.aim import aimed_findings
from synapse_apply.model.drift import Drift
from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen
from synapse_apply.session.accept_drift import accept as accept_drift
from synapse_apply.session.context import open_context
from synapse_apply.session.drift import choices_of, drift
from synapse_apply.session.plan import plan as make_plan
from synapse_apply.session.select import choose_each, selection
from synapse_apply.session.where import Where
from synapse_apply.views.drift import drift_document, render_accepted, render_drift


@frozen
class Looking:
    """What is looked at."""

    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    unmanaged: bool = False


def look(
    face: Face, where: Where, reports: Reports | None, asked: Looking, *, detailed: bool
) -> int:
    """Show the drift; gives the exit code."""
    with open_context(where, looking=True) as context:
        choices = choices_of(selection(context, asked.only, asked.exclude))
        found = drift(context, make_plan(context, choices), unmanaged=asked.unmanaged)
    if face.as_json:
        face.document(drift_document(found))
    else:
        told = replace(found, diagnostics=aimed_findings(found.diagnostics, face.aim))
        place = same_place(where)
        face.out(render_drift(told, color=face.color_out, width=face.width, options=place))
    code = _exit_code(found, detailed=detailed)
    return reports.of_drift(found, code) if reports else code


def _exit_code(found: Drift, *, detailed: bool) -> int:
    if found.errored:
        return Exit.ERROR
    return Exit.CHANGES if detailed and found.objects else Exit.OK


def accept(face: Face, where: Where, names: Sequence[str], *, write: bool) -> int:
    """Take live values over into the files, and say what was edited."""
    with open_context(where, looking=True) as context:
        planned = make_plan(context, choices_of(None))
        found = drift(context, planned)
        moved = {one.address for one in found.objects if not one.gone}
        addresses = choose_each(context, names, moved.__contains__, "has drifted")
        found = accept_drift(where, context, planned, found, addresses, write=write)
    if face.as_json:
        face.document(drift_document(found))
    else:
        hints = "SYNAPSE_APPLY_IN_AUTOMATION" not in face.environ
        place = same_place(where)
        face.out(
            render_accepted(found, color=face.color_out, written=write, hints=hints, options=place)
        )
    return Exit.OK
