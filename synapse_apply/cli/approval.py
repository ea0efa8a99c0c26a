"""The question before an apply."""

from __future__ import annotations

from dataclasses import replace

from synapse_apply.cli.face import Face
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.model.plan import Plan

# A plan that a reader left on the screen for longer is made anew before it is applied.
FRESH_SECONDS = 60.0


def need_approval(
    face: Face, *, given: bool, verb: str = "apply", flag: str = "--auto-approve"
) -> None:
    """InputError where nobody could be asked and the flag was not given; before anything else."""
    if given or face.on_terminal:
        return
    review = "Review with `synapse-apply plan`, then add" if verb == "apply" else "If meant, add"
    if face.as_json:
        summary = f"--json needs {flag}"
        detail = "With --json one document is printed and nothing is asked."
    else:
        summary = "There is nobody to ask"
        detail = f"This is no terminal, and `{verb}` does nothing that nobody approved."
    raise InputError(error(summary, detail, f"{review} {flag}."))


def ask(face: Face, question: str, detail: str) -> bool:
    """Whether `yes` was the answer; the end of input is a no."""
    face.out(f"\n{question}\n  {detail}\n  Only 'yes' will be accepted to approve.\n\n")
    try:
        answer = input("  Enter a value: ")
    except EOFError:
        answer = ""
        face.out("\n")
    face.out("\n")
    return answer.strip() == "yes"


def same(one: Plan, other: Plan) -> bool:
    """Whether two plans say the same: what was approved is what will be done."""
    return replace(other, id=one.id, created=one.created, base=one.base) == one
