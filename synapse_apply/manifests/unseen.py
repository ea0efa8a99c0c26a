"""Secrets that an object may have and its server does not show: a manifest lacks them unnoticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from synapse_apply.manifests.wording import VALUE_FROM
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.values import Sensitive, Withheld, leaves


def shows_secret(specs: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any of these live specs has a secret, masked or not: then none is left out."""
    return any(
        isinstance(value, Sensitive | Withheld) for spec in specs for value in leaves(spec).values()
    )


def unseen(
    kind: str, spec: Mapping[str, Any], marks: SecretMarks, written: Mapping[str, Any]
) -> str:
    """Which secrets a live object may have that stand in no manifest of it; "" if there are none.

    For a server that shows none at all. `written` is what the manifest has.
    """
    found = marks.kinds.get(kind)
    if found is None:
        return ""
    known = found.of(spec).known
    given = written.get(found.container)
    keys = given if isinstance(given, Mapping) else {}
    rest = sorted({str(path[-1]) for path in known or () if path[-1] not in keys})
    if known is not None and not rest:
        return ""
    which = ", ".join(rest) if rest else "secrets"
    return (
        f"{which} may be missing: the server shows no secrets; declare each that it has as "
        f"{{{VALUE_FROM}: {{live: true}}}}"
    )
