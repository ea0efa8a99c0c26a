"""Options that name Git refs: whose settings, whose manifests."""

from __future__ import annotations

import click


def git_ref(_ctx: click.Context, _param: click.Parameter, given: str | None) -> str:
    """The REF of `git:REF`; "" where nothing was said."""
    if given is None:
        return ""
    kind, _, ref = given.partition(":")
    if kind != "git" or not ref:
        raise click.BadParameter(f"git:REF is wanted, not {given!r}.")
    return ref


def plain_ref(_ctx: click.Context, _param: click.Parameter, given: str | None) -> str:
    """A variable of CI that is not set must not read as no ref, and plan the checkout instead."""
    if given is not None and not given.strip():
        raise click.BadParameter("a tag, a branch or a commit is wanted.")
    return given or ""


rules = click.option(
    "--project-from",
    metavar="git:REF",
    callback=git_ref,
    help="Take all settings of the project file from that Git ref; manifests, variables and "
    "overlays stay those of the checkout.",
)
offline = click.option(
    "--offline",
    is_flag=True,
    help="Ask neither the state nor the backend, and read no secret: say what the manifests "
    "change beside what --against names.",
)
against = click.option(
    "--against",
    metavar="WHAT",
    help="With --offline: git:REF, or state:FILE with what `state inventory` printed.",
)
as_of = click.option(
    "--ref",
    "as_of",
    callback=plain_ref,
    metavar="REF",
    help="Take manifests and package sources as they are at that Git ref, to go back to it; the "
    "project file stays that of the checkout. What is published stays published.",
)
