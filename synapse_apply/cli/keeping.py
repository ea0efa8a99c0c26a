"""Saved plans as a person meets them: kept with `plan --out`, shown with `show FILE`."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import click

from synapse_apply.cli.face import Face
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.errors import Exit, SynapseApplyError
from synapse_apply.model.plan import Plan
from synapse_apply.planning.situation import Choices
from synapse_apply.session import carried, declare
from synapse_apply.session.context import Context, open_state
from synapse_apply.session.declare import Declared
from synapse_apply.session.plan_file import check_free
from synapse_apply.session.saved import Saved, doubts, read, save
from synapse_apply.session.where import Where
from synapse_apply.views.findings import render_diagnostics
from synapse_apply.views.grammar import byte_size, plural
from synapse_apply.views.json import plan_document
from synapse_apply.views.tables import render_table
from synapse_apply.views.text import render_plan

_LARGE = 1024**3


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where a plan is to be saved, and whether the packages it uploads go with it."""

    out: Path
    with_packages: bool

    @classmethod
    def asked(cls, where: Where, out: Path | None, *, with_packages: bool) -> Self | None:
        """What the options say, None without --out; raises for what cannot be done."""
        if out is None:
            if with_packages:
                raise click.UsageError("--with-packages goes with --out FILE, which carries them.")
            return None
        check_free(where.directory / out)
        return cls(out, with_packages)

    def keep(self, face: Face, where: Where, context: Context, plan: Plan, choices: Choices) -> str:
        """Save a plan; gives what is to be said about it once the plan has been shown."""
        if plan.errored:
            return f"\nThe plan was not saved to {self.out}: it has errors.\n"
        path, whole = where.directory / self.out, self.with_packages
        kept = save(context, plan, choices, path, with_packages=whole)
        packed = f" with {_amount(kept.packages.values())}" if whole else ""
        how = "" if kept.signed else ", unsigned: there is no state key"
        said = f"\nSaved the plan to {self.out}{packed}{how}.\n"
        if "SYNAPSE_APPLY_IN_AUTOMATION" not in face.environ:
            target = f"-t {where.target} " if where.target else ""
            said += f"Apply it with `synapse-apply apply {target}{shlex.quote(str(self.out))}`.\n"
        size = sum(kept.packages.values())
        large = [self._large(size)] if size >= _LARGE else []
        return said + render_diagnostics(large, color=face.color_err)

    def _large(self, size: int) -> Diagnostic:
        return warning(
            "This plan's file is large",
            f"{self.out} has {byte_size(size)} of packages: not every store of CI artefacts takes "
            "so much.",
            "Without --with-packages the file is small, and apply reads their sources.",
        )


def _amount(sizes: Collection[int]) -> str:
    return f"{plural(len(sizes), 'package')} ({byte_size(sum(sizes))})" if sizes else "no packages"


def show_plan(face: Face, where: Where, path: Path) -> int:
    """Show a saved plan, also a stale one; warnings say what is known to have changed."""
    saved = read(path)
    found = list(_known_by_now(where, saved))
    packages = _packages(saved)
    if face.as_json:
        told = {} if saved.carrier is None else {"packages": packages}
        face.document({**plan_document(saved.plan), **told})
    else:
        face.out(render_plan(saved.plan, color=face.color_out, width=face.width))
        signed = f"signed with state key {saved.mac.key_id}" if saved.mac else "not signed"
        face.err(f"\nPlan {saved.plan.id}, made at {saved.plan.created}, {signed}.\n")
        if saved.carrier is not None:
            face.err(_carried(packages))
    face.warn(found)
    return Exit.OK


def _packages(saved: Saved) -> list[dict[str, Any]]:
    """The packages that a plan's file carries, as `show --json` has them."""
    if saved.carrier is None:
        return []
    sizes = carried.sizes(saved.carrier, saved.plan)
    return [
        {"digest": digest, "size": sizes[digest], "addresses": [str(row) for row in rows]}
        for digest, rows in carried.uploads(saved.plan).items()
    ]


def _carried(packages: list[dict[str, Any]]) -> str:
    """What a plan carries, for people."""
    said = f"It carries {_amount([package['size'] for package in packages])}"
    if not packages:
        return f"{said}: it uploads none.\n"
    rows = [
        (address, byte_size(package["size"]), package["digest"])
        for package in packages
        for address in package["addresses"]
    ]
    return f"{said}:\n" + render_table(("address", "size", "digest"), rows, right=(1,))


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
