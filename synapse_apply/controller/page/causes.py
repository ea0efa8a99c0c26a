"""Why targets need a person: those of one cause together, whatever their own names in it are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from synapse_apply.controller.page.entry.readable_store import RestrictedStore
from synapse_apply.controller.page.phrases import NEEDS_PERSON
from synapse_apply.controller.rows import TargetCondition, TargetRow
from synapse_apply.controller.store_ports import TargetFilter, TargetFindings
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen

_MAX_TROUBLES, _SHOWN_TARGETS = 8, 6
_OWN = "..."
# A target has a url and a lineage of its own.
_URLS_AND_LINEAGES = re.compile(
    r"https?://[^\s`'\"<>()]+|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"
)


@frozen
class TargetTrouble:
    """Targets that need a person for the same reason: the first of them, and how many there are.

    `finding` is what the newest run of the first one found first, None where it is the plan alone.
    `is_alike` says that the others have other words for it: their own name, url or lineage.
    """

    targets: Sequence[TargetRow]
    count: int
    finding: Diagnostic | None
    is_alike: bool


def list_target_troubles(store: RestrictedStore) -> list[TargetTrouble]:
    """Of all targets that need a person: of each condition the commonest cause, then the others."""
    groups: dict[tuple[TargetCondition, str], list[TargetFindings]] = {}
    for state in TargetCondition:
        if state in NEEDS_PERSON:
            for row in store.newest_findings(TargetFilter(state=state)):
                # What the run found first, without what is the target's own in it.
                name = row.name.target
                variable = name.replace("-", "_")
                text = _URLS_AND_LINEAGES.sub(_OWN, _read_cause(row))
                for word in filter(None, (name, variable, variable.upper(), row.backend_host)):
                    masked, *rest = text.split(word)
                    for piece in rest:
                        is_part = masked[-1:].isalnum() or piece[:1].isalnum()
                        masked += (word if is_part else _OWN) + piece
                    text = masked
                groups.setdefault((state, text), []).append(row)
    commonest_first = sorted(groups, key=lambda key: -len(groups[key]))
    first_of_state = {key[0]: key for key in reversed(commonest_first)}
    chosen = sorted(commonest_first, key=lambda key: key != first_of_state[key[0]])[:_MAX_TROUBLES]
    order = list(TargetCondition)
    chosen.sort(key=lambda key: order.index(key[0]))
    return [_build_trouble(store, groups[key]) for key in chosen]


def _build_trouble(store: RestrictedStore, rows: Sequence[TargetFindings]) -> TargetTrouble:
    names = [row.name for row in rows[:_SHOWN_TARGETS]]
    targets = [row for name in names if (row := store.find_target_even_if_gone(name)) is not None]
    is_alike = len({_read_cause(row) for row in rows}) > 1
    return TargetTrouble(targets, len(rows), _first_finding(rows[0]), is_alike)


def _first_finding(row: TargetFindings) -> Diagnostic | None:
    errors = [finding for finding in row.findings if finding.is_error]
    return next(iter(errors or row.findings), None)


def _read_cause(row: TargetFindings) -> str:
    finding = _first_finding(row)
    return f"{finding.summary}\n{finding.detail}\n{finding.hint}" if finding else ""
