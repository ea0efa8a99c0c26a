"""Use case: what moved outside. Reads state and backend, writes to neither."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from synapse_apply.kinds.search import probe
from synapse_apply.kinds.wire import remote_id
from synapse_apply.model.address import Address
from synapse_apply.model.aim import aimed_findings
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.drift import Drift, Unmanaged
from synapse_apply.model.errors import RemoteError, recourse
from synapse_apply.model.state import State
from synapse_apply.planning.drift import drift as drift_of
from synapse_apply.planning.situation import Choices
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.writable import Writable


def choices_of(selected: frozenset[Address] | None) -> Choices:
    """What to plan with: drift is seen as what apply would undo, and no run is looked for.

    Also where the target keeps drift: only so the plan tells what could not be undone.
    """
    return Choices(selected=selected, verify=False, revert_drift=True)


def drift(context: Context, planned: Planned, *, unmanaged: bool = False) -> Drift:
    """What differs live from what was recorded.

    `unmanaged` also lists the live objects that no manifest declares and no record has. A read
    that failed is an error among the diagnostics, never absence.
    """
    held = context.target.on_drift == "hold"
    found = drift_of(planned.plan, planned.items, held=held, can_write=Writable(context))
    found = replace(found, aim=context.aim)
    return _with_unmanaged(context, planned, found) if unmanaged else found


def _with_unmanaged(context: Context, planned: Planned, found: Drift) -> Drift:
    known = set(_known(planned, context.store.read()))
    strangers: list[Unmanaged] = []
    unlisted: list[str] = []
    unseen: list[str] = []
    problems: list[Diagnostic] = []
    for prefix, kind in context.catalogue.items():
        binding = kind.binding(context.target.api)
        try:
            listed = probe(context.api, binding)
        except RemoteError as failure:
            unseen.append(prefix)
            problems.append(_not_listed(prefix, failure))
            continue
        if listed is None:
            unlisted.append(prefix)
        strangers += [
            Unmanaged(prefix, remote_id(raw), binding.keys(raw))
            for raw in listed or ()
            if (prefix, binding.api, remote_id(raw)) not in known
        ]
    return replace(
        found,
        unmanaged=tuple(sorted(strangers, key=lambda one: (one.kind, one.keys, one.remote_id))),
        unlisted=tuple(unlisted),
        unseen=tuple(unseen),
        diagnostics=(*found.diagnostics, *aimed_findings(problems, context.aim)),
    )


def _known(planned: Planned, state: State) -> Iterator[tuple[str, str, str]]:
    """Kind, API version and id of every object that is recorded, or found for what is declared."""
    for address, record in state.records.items():
        yield address.kind, record.api, record.remote_id
    for address, item in planned.items.items():
        if (observed := item.sighting.observed) is not None:
            yield address.kind, observed.api, observed.remote_id


def _not_listed(prefix: str, failure: RemoteError) -> Diagnostic:
    return error(
        "Listing live objects failed",
        f"{prefix}: {str(failure).removesuffix('.')}.",
        recourse(failure, "run again", "Run again; nothing was changed."),
        request_id=failure.request_id,
    )
