"""Where a target's state is stored, and whether a state is the target's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from synapse_apply import __version__
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError, SecretUnavailable, StateError
from synapse_apply.model.project import Project, Target, path_in_state_url
from synapse_apply.model.state import BackendIdentity
from synapse_apply.model.values import SecretRef
from synapse_apply.secrets.resolve import SecretResolver
from synapse_apply.stores.bucket.bucket_url import is_bucket_url
from synapse_apply.stores.database import Signer
from synapse_apply.stores.git.git_url import PREFIX as GIT_PREFIX
from synapse_apply.stores.git.git_url import is_git_url
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.postgres.postgres_url import is_postgres_url
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store
from synapse_apply.stores.state_urls import is_local_or_empty_url
from synapse_apply.workspace.embedded import EmbeddedBackend
from synapse_apply.workspace.environment import (
    ci_run_url,
    find_hosts_of_others,
    require_allowed_host,
    require_host_of_credentials,
)
from synapse_apply.workspace.own_folder import SeenPlace, resolve_state_path
from synapse_apply.workspace.state_key import state_folder

if TYPE_CHECKING:
    from synapse_apply.stores.bucket.obstore_folder import ObstoreFolder
    from synapse_apply.workspace.target_session import TargetSession

# What a command that only looks has read is good for so long: it asks for one thing after the
# other, and each look is a round trip.
_BUCKET_FRESH_SECONDS = 2.0
_GIT_FRESH_SECONDS = 5.0
# Also of a url without its slashes: as a path it would make a folder of that name.
_SCHEME = re.compile("[A-Za-z][A-Za-z0-9+.-]+:(?://)?")
# Parameters of libpq that name files ("Parameter Key Words"); a service is a section of one.
_POSTGRES_FILES = frozenset(
    {
        *("passfile", "sslkey", "sslcert", "sslrootcert", "sslcrl", "sslcrldir", "sslkeylogfile"),
        *("service", "servicefile"),
    }
)
_PASSWORD_WORDS = {"credential": "password of the state's database", "setting": "state.url"}

EMBEDDED_URL = "embedded:"
NO_STATE_TEXT = "has objects, but there is no state that remembers them"
OTHER_DATA_TEXT = "is another data set than the one this state remembers"


def open_store(
    project: Project, target: Target, environ: Mapping[str, str], signer: Signer | None = None
) -> SqlStore:
    """The store of a target; see `open_store_at_url`."""
    return open_store_at_url(target.state.url, project, target, environ, signer)


def open_store_at_url(
    url: str | SecretRef,
    project: Project,
    target: Target,
    environ: Mapping[str, str],
    signer: Signer | None = None,
) -> SqlStore:
    """The store at a url, which may hold a password; the local default file where it is empty.

    `signer` has the state key, for stores that others can write to without the tool.
    Nothing is created or read yet. StateError where a committed file or link is in the state's
    place. InputError for an unusable url, for one of a host that SYNAPSE_APPLY_HOSTS does not list,
    and for an unknown scheme; the message repeats only the scheme.
    """
    url = resolve_state_url(url, project, environ)
    runner = LockRunner(ci_run_url(environ), target.name)
    # Here, not above: most states are files of this machine.
    if is_postgres_url(url):
        try:
            from synapse_apply.stores.postgres.postgres_database import (
                make_unconnected_postgres_store,
            )
        except ImportError:
            raise InputError.from_summary(
                "A state in PostgreSQL needs an additional package",
                f"Target {target.name} keeps its state in PostgreSQL; psycopg is not installed.",
                "pip install 'synapse-apply[postgres]'",
                position=target.position,
            ) from None
        check_host = None
        if _is_chosen_by_commit(url, target, environ) and "SYNAPSE_APPLY_HOSTS" in environ:
            check_host = partial(require_allowed_host, environ=environ, **_PASSWORD_WORDS)
        return make_unconnected_postgres_store(
            url,
            target.name,
            tool_version=__version__,
            runner=runner,
            check_host=check_host,
            by_commit=url == target.state.url,
        )
    if is_bucket_url(url):
        from synapse_apply.stores.chain.chain_log import make_unread_chain_store

        return make_unread_chain_store(
            _open_folder(url, project, target, environ),
            signer=signer,
            tool_version=__version__,
            runner=runner,
            fresh_seconds=_BUCKET_FRESH_SECONDS,
        )
    if is_git_url(url):
        from synapse_apply.stores.git.git_log import make_unstarted_git_store
        from synapse_apply.stores.git.git_url import parse_git_url

        location = parse_git_url(url, target.name)
        # The remotes of a checkout are its owner's own, who has given it credentials for them.
        if location.is_url and not location.remote.startswith("file:"):
            require_allowed_host(
                location.remote, environ, credential="state of the target", setting="state.url"
            )
        return make_unstarted_git_store(
            location,
            project.root,
            signer=signer,
            tool_version=__version__,
            runner=runner,
            fresh_seconds=_GIT_FRESH_SECONDS,
        )
    # Only the scheme goes into the message: the rest of a mistyped url may have a password.
    path_text = path_in_state_url(url)
    scheme = _SCHEME.match(path_text)
    if scheme is not None or "://" in path_text:
        form = f"begins with {scheme[0]}" if scheme else "is neither a path nor a url"
        raise InputError.from_summary(
            "Unknown kind of store for the state",
            f"state.url of target {target.name} {form}.",
            "Use a path, sqlite:///PATH, postgresql://USER@HOST/DATABASE, s3://BUCKET/FOLDER, "
            "az://CONTAINER/FOLDER or git:REMOTE.",
            position=target.position,
        )
    path = local_path_of(url, project) or state_folder(project) / f"{target.name}.db"
    path = resolve_state_path(path, project.root)
    return make_unopened_sqlite_store(path, tool_version=__version__, runner=runner)


@contextmanager
def bucket_folder(session: TargetSession, url: str | SecretRef) -> Iterator[ObstoreFolder | None]:
    """The folder at the URL of a state for the block; None where it is that of no bucket."""
    project, environ = session.project, session.invocation.environ
    url = resolve_state_url(url, project, environ)
    if not is_bucket_url(url):
        yield None
        return
    with closing(_open_folder(url, project, session.target, environ)) as folder:
        yield folder


def require_usable_bucket(session: TargetSession, url: str | SecretRef) -> None:
    """StateError where the url of a new state names a bucket that cannot hold one."""
    with bucket_folder(session, url) as folder:
        if folder is not None:
            from synapse_apply.stores.bucket.bucket_probe import require_suitable_bucket

            require_suitable_bucket(folder)


def _open_folder(
    url: str, project: Project, target: Target, environ: Mapping[str, str]
) -> ObstoreFolder:
    """InputError for an unusable URL, a host that may not have credentials, a missing package."""
    try:
        from synapse_apply.stores.bucket.obstore_folder import make_unconnected_folder
    except ImportError:
        raise InputError.from_summary(
            "A state in a bucket needs an additional package",
            f"Target {target.name} keeps its state in a bucket; obstore is not installed.",
            "pip install 'synapse-apply[bucket]'",
            position=target.position,
        ) from None
    from synapse_apply.stores.bucket.bucket_url import build_account_endpoint, parse_bucket_url

    location = parse_bucket_url(url, target.name)
    # Azure's tokens are sent as they are. What the environment names is the operator's own.
    endpoint, setting = location.endpoint, "endpoint="
    if not endpoint and _is_chosen_by_commit(url, target, environ):
        endpoint, setting = build_account_endpoint(location, environ), "account="
    if endpoint:
        require_allowed_host(
            endpoint,
            environ,
            credential="key of the state's bucket",
            setting=f"{setting} of state.url",
        )
    # Its client starts the program by its name, with all variables of this process.
    if environ.get("AZURE_USE_AZURE_CLI") and location.scheme == "az":
        from synapse_apply.files.programs import is_started_from_checkout
        from synapse_apply.files.repository import list_checkouts_around

        if is_started_from_checkout("az", list_checkouts_around(project.root)):
            raise InputError.from_summary(
                "The Azure CLI of a checkout is not started",
                "AZURE_USE_AZURE_CLI is set, and the first `az` on PATH is in the checkout or in "
                "a relative folder.",
                "Put the folder of the installed `az` first on PATH.",
            )
    return make_unconnected_folder(location, environ, f"synapse-apply/{__version__}")


def resolve_state_url(url: str | SecretRef, project: Project, environ: Mapping[str, str]) -> str:
    """The url as text, which may hold a password; InputError for a variable that is not set."""
    if not isinstance(url, SecretRef):
        return url
    try:
        text = str(SecretResolver(project.root, environ).resolve_setting(url).reveal())
    except SecretUnavailable as failure:
        finding = failure.diagnostics[0]
        detail = f"the target's state.url cannot be used: {finding.detail}."
        raise SecretUnavailable(finding.with_changes(detail=detail)) from None
    # A commit may name the variable of a token here, and messages have a state's path.
    known = ("./", "../", "sqlite:///", "file://")
    is_told = text.startswith(known) or text.endswith((".db", ".sqlite"))
    # Tokens in base64 may begin with a slash.
    folder = text.rpartition("/")[0] if text.startswith("/") else ""
    is_told |= folder.strip("/") != "" and os.path.isdir(folder)  # noqa: PTH112 - no error
    if is_local_or_empty_url(text) and not is_told:
        raise InputError.from_summary(
            "Unknown kind of store for the state",
            f"the target's state.url is {url.name}, whose value is neither a url nor a path.",
            "A path must end with .db, begin with ./, or have an existing folder.",
        )
    return text


def local_path_of(url: str, project: Project) -> Path | None:
    """The file that a state's url names; None where it is empty, or names no file."""
    if not is_local_or_empty_url(url):
        return None
    path = path_in_state_url(url)
    return project.root / path if path else None


def _is_chosen_by_commit(url: str, target: Target, environ: Mapping[str, str]) -> bool:
    """Whether the project file has this url, or names its variable; one that was typed is neither.

    Whoever writes the project file chooses among all variables, and a forge sets some to a title.
    """
    written = target.state.url
    return url == (environ.get(written.name) if isinstance(written, SecretRef) else written)


def build_state_identity(
    url: str, target: Target, embedded_backend: EmbeddedBackend | None
) -> BackendIdentity:
    """The identity that this target's state must have: url and tenant, or the embedded data set."""
    if embedded_backend is not None:
        # Not its url, which changes with every start.
        return BackendIdentity(EMBEDDED_URL, "", embedded_backend.data_set)
    return BackendIdentity(url, target.tenant)


def require_no_error(findings: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The findings, which are warnings; StateError with all of them where one is an error."""
    findings = tuple(findings)
    if any(finding.is_error for finding in findings):
        raise StateError(*findings)
    return findings


def identity_findings(
    recorded_identity: BackendIdentity, target: Target, state_identity: BackendIdentity
) -> tuple[Diagnostic, ...]:
    """An error where the state's identity is not the target's current one."""
    if recorded_identity == state_identity:
        return ()
    finding = error_finding(
        "This state belongs to another backend",
        f"It was created for {describe_identity(recorded_identity)}; target {target.name} is "
        f"{describe_identity(state_identity)}.",
        Text(
            "Correct the target's url or tenant. If it is the same backend under a new url: ",
            Command("state rebind", target=target.name),
            ".",
        ),
        position=target.position,
    )
    return (finding,)


def lineage_findings(recorded_lineage: str, target: Target) -> tuple[Diagnostic, ...]:
    """An error where the state's lineage is not the one that the project file pins."""
    pinned_lineage = target.state.lineage
    if not pinned_lineage or recorded_lineage == pinned_lineage:
        return ()
    finding = error_finding(
        "The project file pins a different state",
        f"The project file pins lineage {pinned_lineage}, but this state has {recorded_lineage}.",
        Text("Restore the right state: ", Command("state restore FILE"), "."),
        position=target.position,
    )
    return (finding,)


# An error, not an empty state: an emptied CI workspace must not create everything a second time.
def build_missing_state_error(target: Target, seen_place: SeenPlace | None = None) -> StateError:
    """The error that there is no state; a new one could lead to second copies of objects.

    `seen_place` is what was seen where the state should be, None if nothing was.
    """
    lineage = target.state.lineage or (seen_place.lineage if seen_place is not None else "")
    lineage_option = ("--lineage", lineage) if lineage else ()
    seen_text = (
        f" A state of lineage {seen_place.lineage} was there on {seen_place.seen_at}, when this "
        "machine last read it. Since then it was deleted, or the target's state.url was changed."
        if seen_place is not None
        else ""
    )
    return StateError.from_summary(
        "There is no state for this target",
        f"Target {target.name} has no state here.{seen_text} Without a state, apply could "
        "create duplicates of existing objects.",
        Text(
            "For a new target, run ",
            Command("state init", *lineage_option, target=target.name),
            ". If its objects already exist, then import them (docs/adoption.md). If the state "
            "is lost, restore a backup: ",
            Command("state restore FILE", target=target.name),
            ".",
        ),
        position=target.position,
    )


def embedded_mismatch(target: Target, mismatch_text: str) -> StateError:
    """The error that the embedded backend and its state do not belong together.

    `mismatch_text` is the end of a sentence about the backend.
    """
    return StateError.from_summary(
        "The embedded backend and its state do not belong together",
        f"The embedded backend {mismatch_text}.",
        Text(
            "Reset both: ",
            Command("emulator --reset"),
            f". It removes the embedded objects and the state of target {target.name}, nothing "
            "else.",
        ),
    )


def describe_identity(state_identity: BackendIdentity) -> str:
    """An identity as a phrase for messages."""
    if state_identity.url == EMBEDDED_URL:
        return f"the embedded data set {state_identity.data_set}"
    return f"{state_identity.url}" + (
        f" (tenant {state_identity.tenant})" if state_identity.tenant else ""
    )


def require_allowed_files(session: TargetSession) -> None:
    """StateError where a target's state.url names a file of this machine that it may not name.

    Files in the project's folder are its own, and so is the local default.
    """
    project, target, allowed = session.project, session.target, session.invocation.readable_files
    if allowed is None:
        return
    root = project.root.resolve()
    for path in _iter_local_paths(session.state_url, project):
        real_path = path.resolve()
        if not real_path.is_relative_to(root) and not allowed.includes(real_path):
            raise StateError.from_summary(
                "The state's file may not be used here",
                f"state.url of target {target.name} names a file outside the project, which "
                "this project may not read here.",
                "Use a shared state: PostgreSQL, a bucket or Git. Or ask the controller's operator "
                "to list the file's folder in the source's may_read.files.",
                position=target.position,
            )


def require_hosts_of_passwords(session: TargetSession) -> None:
    """InputError for a database that may not get the password that another target named first."""
    target, invocation, url = session.target, session.invocation, session.state_url
    if not invocation.closed or not is_postgres_url(url):
        return
    # Here, not above: most states are files of this machine.
    from synapse_apply.stores.postgres.postgres_parameters import libpq_parameters
    from synapse_apply.stores.postgres.postgres_url import parse_postgres_state_url

    location = parse_postgres_state_url(url, target.name)
    sent = [target.state.url] if isinstance(target.state.url, SecretRef) else []
    if "password" not in libpq_parameters(location) and "PGPASSWORD" in invocation.environ:
        sent.append(SecretRef("env", "PGPASSWORD"))
    if any(find_hosts_of_others(sent, invocation)):
        check_host = partial(
            require_host_of_credentials, sent=sent, invocation=invocation, **_PASSWORD_WORDS
        )
        libpq_parameters(location, check_host=check_host)


def require_state_elsewhere(session: TargetSession) -> None:
    """StateError where a target's state would lie in a checkout, which there is none of.

    For a state that does not exist here. One that `state init` makes in somebody's checkout would
    not be seen here either.
    """
    project, target, url = session.project, session.target, session.state_url
    path = local_path_of(url, project)
    is_in_checkout = path is None or path.resolve().is_relative_to(project.root.resolve())
    if not is_local_or_empty_url(url) or not is_in_checkout:
        return
    raise StateError.from_summary(
        "There is no state for this target",
        f"The state of target {target.name} is a file in the checkout of the person who "
        "applies. The controller reads commits and has no checkout.",
        Text(
            f"Give targets.{target.name} a `state.url` that both can reach: PostgreSQL, a "
            "bucket, Git, or an absolute path in the controller's may_read.files for the source. "
            "To "
            "copy an existing state, use ",
            Command("state backup --to URL", target=target.name),
            ".",
        ),
        position=target.position,
    )


def _iter_local_paths(url: str, project: Project) -> Iterator[Path]:
    if (local_path := local_path_of(url, project)) is not None:
        yield local_path
    elif is_git_url(url):
        remote = url.removeprefix(GIT_PREFIX).partition("?")[0]
        if remote.startswith("file:"):
            yield Path(unquote(urlsplit(remote).path))
    elif is_postgres_url(url):
        parts = urlsplit(url)
        hosts = [unquote(parts.netloc.rpartition("@")[2])]
        for pair in parts.query.split("&"):
            name, _, value = (unquote(part) for part in pair.partition("="))
            if name in ("host", "hostaddr"):
                hosts.append(value)
            elif name in _POSTGRES_FILES and value != "system":
                yield Path("/", value)
        # A host that begins with a slash (or, abstract, with @) is a socket of this machine, and
        # where
        # there is none, it is the default one, which may ask for no password.
        hosts = [host for host in hosts if host] or ["/"]
        for host in ",".join(hosts).split(","):
            if host[:1] in ("", "/", "@", ":"):
                yield Path("/", host)
