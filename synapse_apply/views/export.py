"""What an export could not write: fields that manifests lack, and objects that have none."""

from __future__ import annotations

from collections.abc import Iterable

from synapse_apply.views.safety import clean, disarm

Rows = Iterable[tuple[str, str]]


def rest(left_out: Rows, missed: Rows) -> str:
    """Pairs of a thing and a reason, under two headings; "" where nothing is amiss."""
    text = _listed("Left out, and so not managed:", left_out)
    return disarm(text + _listed("Not exported:", missed))


def list_secret_variables(secrets: Rows) -> str:
    """Secrets that take their values from variables; "" where there are none."""
    return disarm(_listed("Not written, to be set where plans and applies run:", secrets))


def _listed(heading: str, rows: Rows) -> str:
    lines = [f"  {clean(what)}: {clean(why)}\n" for what, why in rows]
    return f"\n{heading}\n" + "".join(lines) if lines else ""
