"""A saved plan as `show FILE` tells it, also a stale one: its rows, its packages, what moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synapse_apply.cli.face import Face
from synapse_apply.cli.reports import Reports
from synapse_apply.model.aim import aimed_findings
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.errors import Exit, SynapseApplyError
from synapse_apply.session import carried, declare
from synapse_apply.session.carried import Part
from synapse_apply.session.context import open_state
from synapse_apply.session.declare import Declared
from synapse_apply.session.saved import Saved, doubts, read
from synapse_apply.session.where import Where
from synapse_apply.views.grammar import byte_size, plural
from synapse_apply.views.json import plan_document
from synapse_apply.views.tables import render_table
from synapse_apply.views.text import render_plan


def show_plan(
    face: Face, where: Where, path: Path, reports: Reports | None, *, show_unchanged: bool
) -> int:
    """Show a saved plan as `plan` did; warnings say what is known to have changed since."""
    saved = read(path)
    found = [*_strange(saved), *_known_by_now(where, saved)]
    if face.as_json:
        face.document({**plan_document(saved.plan), **_packages(saved)})
    else:
        color, width = face.color_out, face.width
        face.out(render_plan(saved.plan, color=color, width=width, show_unchanged=show_unchanged))
        signed = f"signed with state key {saved.mac.key_id}" if saved.mac else "not signed"
        face.err(f"\nPlan {saved.plan.id}, made at {saved.plan.created}, {signed}.\n")
        if saved.carrier is not None:
            face.err(_carried(carried.parts(saved.carrier, saved.plan)))
    # The commands are for the target of the plan, whatever the default is.
    face.warn(aimed_findings(found, where.target or saved.plan.base.target))
    if reports is None:
        return Exit.OK
    # It is the plan that is reported: a comment takes the place of the plan's own.
    return replace(reports, command="plan").of_plan(saved.plan, Exit.OK, _packages(saved))


def _packages(saved: Saved) -> dict[str, Any]:
    """What a document has for the packages that a plan carries (plan.schema.json)."""
    if saved.carrier is None:
        return {}
    parts = carried.parts(saved.carrier, saved.plan)
    return {
        "packages": [
            {"digest": one.digest, "size": one.size, "addresses": [str(at) for at in one.addresses]}
            for one in parts
        ]
    }


def _carried(parts: Sequence[Part]) -> str:
    """The packages that a plan carries, for people."""
    if not parts:
        return "It carries no packages: it uploads none.\n"
    size = byte_size(sum(one.size or 0 for one in parts))
    rows = [
        (at, "missing" if one.size is None else byte_size(one.size), one.digest)
        for one in parts
        for at in one.addresses
    ]
    table = render_table(("for", "size", "package"), rows, right=(1,))
    return f"It carries {plural(len(parts), 'package')} ({size}):\n{table}"


def _strange(saved: Saved) -> list[Diagnostic]:
    found = carried.foreign(saved.carrier, saved.plan) if saved.carrier else []
    return [warning(one.summary, one.detail, one.hint) for one in found]


def _known_by_now(where: Where, saved: Saved) -> list[Diagnostic]:
    """What the state and the manifests at hand tell about a plan; nothing where they are not."""
    here = replace(where, target=where.target or saved.plan.base.target)
    found: list[Diagnostic] = []
    try:
        with open_state(here) as context:
            if not context.store.exists():
                return found
            problems = doubts(context.store, saved, context.target.name)
            found += [warning(one.summary, one.detail, one.hint) for one in problems]
            told = saved.carrier.held if saved.carrier else ()
            declared = declare.declared(here, context.project, context.target, told)
    except SynapseApplyError:
        return found
    return [*found, *_declared_by_now(saved, declared)]


def _declared_by_now(saved: Saved, now: Declared) -> Iterator[Diagnostic]:
    errors = sum(finding.is_error for finding in now.diagnostics)
    if errors:
        yield warning(
            "What was planned is not here any more",
            f"The manifests here, or packages that they name, have {plural(errors, 'error')}: "
            "`synapse-apply validate` shows them.",
            "Show and apply it where they are as they were, or plan again.",
        )
    elif now.loaded.manifests_digest != saved.plan.base.manifests_digest:
        yield warning(
            "The manifests changed since this plan was made",
            "What is declared here is not what was planned.",
            "Plan again, or give the same variables and files as for the plan.",
        )
    for digest, rows in carried.uploads(saved.plan).items():
        for row in rows:
            package = now.packages.get(row)
            if package is not None and package.digest != digest:
                yield warning(
                    "A package changed since this plan was made",
                    f"{package.source} holds other files than the plan uploads for {row}.",
                    "Plan again.",
                )
