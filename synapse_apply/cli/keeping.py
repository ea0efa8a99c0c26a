"""Saved plans as a person meets them: kept with `plan --out`, shown with `show FILE`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from synapse_apply.cli.face import Face
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.errors import Exit, SynapseApplyError
from synapse_apply.model.plan import Plan
from synapse_apply.planning.situation import Choices
from synapse_apply.session import declare
from synapse_apply.session.context import Context, open_state
from synapse_apply.session.saved import Saved, doubts, read, save
from synapse_apply.session.where import Where
from synapse_apply.views.json import plan_document
from synapse_apply.views.text import render_plan


def keep_plan(
    face: Face, where: Where, context: Context, plan: Plan, choices: Choices, out: Path
) -> str:
    """Save a plan; gives what is to be said about it once the plan has been shown."""
    if plan.errored:
        return f"\nThe plan was not saved to {out}: it has errors.\n"
    signed = save(context, plan, choices, where.directory / out)
    how = "" if signed else ", unsigned: there is no state key"
    said = f"\nSaved the plan to {out}{how}.\n"
    if "SYNAPSE_APPLY_IN_AUTOMATION" not in face.environ:
        target = f"-t {where.target} " if where.target else ""
        said += f"Apply it with `synapse-apply apply {target}{shlex.quote(str(out))}`.\n"
    return said


def show_plan(face: Face, where: Where, path: Path) -> int:
    """Show a saved plan, also a stale one; warnings say what is known to have changed."""
    saved = read(path)
    found = list(_known_by_now(where, saved))
    if face.as_json:
        face.document(plan_document(saved.plan))
    else:
        face.out(render_plan(saved.plan, color=face.color_out, width=face.width))
        signed = f"signed with state key {saved.mac.key_id}" if saved.mac else "not signed"
        face.err(f"\nPlan {saved.plan.id}, made at {saved.plan.created}, {signed}.\n")
    face.warn(found)
    return Exit.OK


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
            loaded = declare.declared(here, context.project, context.target).loaded
    except SynapseApplyError:
        return found
    base = saved.plan.base
    if not loaded.has_errors and loaded.manifests_digest != base.manifests_digest:
        found.append(
            warning(
                "The manifests changed since this plan was made",
                "What is declared here is not what was planned.",
                "Plan again, or give the same variables and files as for the plan.",
            )
        )
    return found
