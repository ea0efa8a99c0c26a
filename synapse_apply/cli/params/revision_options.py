"""Options that name Git refs: of the project file's settings, and of the manifests."""

from __future__ import annotations

import click


def parse_git_ref(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
    """The REF of `git:REF`; "" without the option, a usage error for another form."""
    if value is None:
        return ""
    kind, _, ref = value.partition(":")
    if kind != "git" or not ref:
        raise click.BadParameter(f"expected git:REF, not {value!r}.")
    return ref


def parse_plain_ref(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
    """The ref, "" without the option; a usage error for a blank one.

    An unset CI variable expands to blank, and must not select the checkout instead.
    """
    if value is not None and not value.strip():
        raise click.BadParameter("expected a tag, a branch or a commit.")
    return value or ""


add_project_from_option = click.option(
    "--project-from",
    metavar="git:REF",
    callback=parse_git_ref,
    help="Take all settings of the project file from that Git ref; manifests, variables and "
    "overlays stay those of the checkout.",
)
add_offline_option = click.option(
    "--offline",
    is_flag=True,
    help="Ask neither the state nor the backend, and read no secret: say what the manifests "
    "change beside what --against names.",
)
add_against_option = click.option(
    "--against",
    metavar="WHAT",
    help="With --offline: git:REF, or state:FILE with what `state inventory` printed.",
)
add_ref_option = click.option(
    "--ref",
    "as_of",
    callback=parse_plain_ref,
    metavar="REF",
    help="Take manifests and package sources as they are at that Git ref, to go back to it; the "
    "project file stays that of the checkout. What is published stays published.",
)
