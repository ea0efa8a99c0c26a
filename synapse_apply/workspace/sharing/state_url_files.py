"""Which files of this machine a state's url names, and whether the project may name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import StateError
from synapse_apply.model.project import Project, Target
from synapse_apply.model.secrets.readable_files import ReadableFiles
from synapse_apply.stores.git.git_url import PREFIX as GIT_PREFIX
from synapse_apply.stores.git.git_url import is_git_url
from synapse_apply.stores.postgres.postgres_url import is_postgres_url
from synapse_apply.stores.state_urls import is_local_or_empty_url
from synapse_apply.workspace.state_access import (
    resolve_local_path_or_none,
    resolve_state_url_or_raise_if_unset,
)

# Parameters of libpq that name files ("Parameter Key Words"); a service is a section of one.
_POSTGRES_FILES = frozenset(
    {
        *("passfile", "sslkey", "sslcert", "sslrootcert", "sslcrl", "sslcrldir", "sslkeylogfile"),
        *("service", "servicefile"),
    }
)


def require_allowed_state_files(
    project: Project,
    target: Target,
    environ: Mapping[str, str],
    readable_files: ReadableFiles,
) -> None:
    """StateError where a target's state.url names a file of this machine that it may not name.

    Files in the project's folder are its own, and so is the local default.
    """
    url = resolve_state_url_or_raise_if_unset(target.state.url, project, environ)
    root = project.root.resolve()
    for path in _iter_local_paths_named_in_url(url, project):
        real_path = path.resolve()
        if not real_path.is_relative_to(root) and not readable_files.includes(real_path):
            raise StateError.from_summary(
                "The state's file may not be used here",
                f"state.url of target {target.name} names a file outside of the project, which is "
                "none that this project may read here.",
                "Use a state that is shared: PostgreSQL, a bucket or Git. Or let who runs this "
                "list the file's folder (may_read.files of the controller's source).",
                position=target.position,
            )


def require_state_outside_checkout(
    project: Project, target: Target, environ: Mapping[str, str]
) -> None:
    """StateError where a target's state would lie in a checkout, which there is none of.

    For a state that does not exist here. One that `state init` makes in somebody's checkout would
    not be seen here either.
    """
    url = resolve_state_url_or_raise_if_unset(target.state.url, project, environ)
    path = resolve_local_path_or_none(url, project)
    is_in_checkout = path is None or path.resolve().is_relative_to(project.root.resolve())
    if not is_local_or_empty_url(url) or not is_in_checkout:
        return
    raise StateError.from_summary(
        "There is no state for this target",
        f"The state of target {target.name} is a file in the checkout of who applies. What looks "
        "at commits, as the controller does, has no checkout.",
        Text(
            f"Give targets.{target.name} a `state.url` that both reach: PostgreSQL, a bucket, Git, "
            "or an absolute path that may_read.files of the controller's source has. A state that "
            "is there already is copied by ",
            Command("state migrate --to URL", target=target.name),
            ".",
        ),
        position=target.position,
    )


def _iter_local_paths_named_in_url(url: str, project: Project) -> Iterator[Path]:
    local_path = resolve_local_path_or_none(url, project)
    if local_path is not None:
        yield local_path
    elif is_git_url(url):
        remote = url.removeprefix(GIT_PREFIX).partition("?")[0]
        if remote.startswith("file:"):
            yield Path(unquote(urlsplit(remote).path))
    elif is_postgres_url(url):
        yield from _iter_files_and_sockets_of_postgres_url(url)


def _iter_files_and_sockets_of_postgres_url(url: str) -> Iterator[Path]:
    parts = urlsplit(url)
    hosts = [unquote(parts.netloc.rpartition("@")[2])]
    for pair in parts.query.split("&"):
        name, _, value = (unquote(part) for part in pair.partition("="))
        if name in ("host", "hostaddr"):
            hosts.append(value)
        elif name in _POSTGRES_FILES and value != "system":
            yield Path("/", value)
    # A host that begins with a slash (or, abstract, with @) is a socket of this machine, and where
    # there is none, it is the default one, which may ask for no password.
    hosts = [host for host in hosts if host] or ["/"]
    for host in ",".join(hosts).split(","):
        if host[:1] in ("", "/", "@", ":"):
            yield Path("/", host)
