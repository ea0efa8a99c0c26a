"""A plan kept with `plan --out`, and what is said of it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Self

import click

from synapse_apply.cli.again import same_place
from synapse_apply.cli.face import Face
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Plan
from synapse_apply.planning.situation import Choices
from synapse_apply.session.context import Context
from synapse_apply.session.plan_file import check_free
from synapse_apply.session.saved import save
from synapse_apply.session.where import Where
from synapse_apply.views.findings import render_diagnostics
from synapse_apply.views.grammar import byte_size, plural

_LARGE = 1024**3


@frozen
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
        if str(out) == "-":
            raise click.UsageError("--out needs a file: a plan is a zip. --json is for stdout.")
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
            words = [*_same_again(where), shlex.quote(str(self.out))]
            said += f"Apply it with `synapse-apply apply {' '.join(words)}`.\n"
        size = sum(kept.packages.values())
        if size >= _LARGE:
            said += "\n" + render_diagnostics([self._large(size)], color=face.color_err)
        return said

    def _large(self, size: int) -> Diagnostic:
        return warning(
            "This plan's file is large",
            f"{self.out} has {byte_size(size)} of packages: not every store of CI artefacts takes "
            "so much.",
            "Without --with-packages the file is small, and apply reads their sources.",
        )


def _same_again(where: Where) -> Iterator[str]:
    """The options without which apply would look at another target or other manifests."""
    if place := same_place(where):
        yield place
    said = {
        "--project-from": f"git:{where.project_from}" if where.project_from else "",
        "--ref": where.as_of,
    }
    for option, value in said.items():
        if value:
            yield f"{option} {shlex.quote(value)}"


def _amount(sizes: Collection[int]) -> str:
    return f"{plural(len(sizes), 'package')} ({byte_size(sum(sizes))})" if sizes else "no packages"
