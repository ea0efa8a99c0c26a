"""What a source's workers get of the controller's environment, and which files they may read.

The environment is built from nothing. What `controller.yaml` itself names is never in it, whatever
a source's patterns say: those are the controller's own credentials.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from synapse_apply.controller.settings import Controller, SecretName, Source
from synapse_apply.model.frozen import frozen
from synapse_apply.model.secrets.proxies import is_proxy_variable
from synapse_apply.model.secrets.secret_marks import ReadableFiles

HOSTS_VARIABLE = "SYNAPSE_APPLY_HOSTS"
# ssh looks for keys in the home that the system knows, whatever HOME says: here it has none. A
# source with a state behind ssh brings a command of its own.
_SSH_WITHOUT_KEYS = (
    "ssh -F /dev/null -o BatchMode=yes -o IdentityAgent=none -o IdentitiesOnly=yes "
    "-o IdentityFile=/dev/null -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes"
)
# What any process needs: where programs are, the locale, and how servers are reached.
_PROCESS_VARIABLES = re.compile(
    r"PATH|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|(?i:(https?|all|no)_proxy)"
    r"|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
)


@frozen
class OwnSecretLocations:
    """The variables (in upper case) and files that hold the controller's own credentials."""

    variables: frozenset[str]
    files: tuple[Path, ...]


def own_secret_locations(controller: Controller) -> OwnSecretLocations:
    """All that `controller.yaml` names of variables and files, and that file."""
    names = list(_iter_secret_names(controller))
    files = [Path(name.name) for name in names if name.kind == "file"]
    if controller.file is not None:
        base = controller.file.absolute()
        files = [base, *(base.parent / file for file in files)]
    return OwnSecretLocations(
        frozenset(name.name.upper() for name in names if name.kind == "env"),
        tuple(Path(os.path.realpath(file)) for file in files),
    )


def _iter_secret_names(value: Any) -> Iterator[SecretName]:
    """Each SecretName in a value of the settings, however deep: also of settings to come."""
    if isinstance(value, SecretName):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _iter_secret_names(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _iter_secret_names(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _iter_secret_names(item)


def readable_variable_names(
    source: Source, own_secrets: OwnSecretLocations, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """The variables that a source's targets can name.

    One of a proxy, which may have a password, only where `allow_env` has its whole name.
    """
    return tuple(
        name
        for name in environ
        if name.upper() not in own_secrets.variables
        and (name in source.may_read.opened or not is_proxy_variable(name))
        and any(fnmatchcase(name, pattern) for pattern in source.may_read.variables)
    )


def build_worker_environment(
    source: Source, own_secrets: OwnSecretLocations, environ: Mapping[str, str], home: Path
) -> dict[str, str]:
    """All variables of a source's workers; `environ` are the controller's.

    More than the source's targets can name: what any process needs is there, too.
    """
    variables = {"GIT_SSH_COMMAND": _SSH_WITHOUT_KEYS, "PGPASSFILE": str(home / ".pgpass")}
    variables |= {
        name: environ[name] for name in readable_variable_names(source, own_secrets, environ)
    }
    variables |= {
        name: value
        for name, value in environ.items()
        if _PROCESS_VARIABLES.fullmatch(name) and name.upper() not in own_secrets.variables
    }
    path = [folder for folder in environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    # An own home: in that of whoever runs the controller are logins and keys of no source.
    variables |= {
        "PATH": os.pathsep.join(folder for folder in path if Path(folder).is_absolute()),
        "HOME": str(home),
    }
    variables.pop(HOSTS_VARIABLE, None)
    hosts = ",".join(source.hosts) or environ.get(HOSTS_VARIABLE)
    return variables if hosts is None else {**variables, HOSTS_VARIABLE: hosts}


def narrow_hosts(hosts: Sequence[str], limit: str | None) -> str:
    """SYNAPSE_APPLY_HOSTS of these hosts, where it had `limit` until now, None for no limit.

    Where nothing is left it names no host, so that no token goes anywhere.
    """
    allowed = {
        host.strip().lower() for host in (",".join(hosts) if limit is None else limit).split(",")
    }
    texts = [host.lower() for host in hosts]
    allowed |= {host.removeprefix("http://") for host in allowed}  # which allow https as well
    common = [text for text in texts if allowed & {text, re.sub(r":\d+$", "", text)}]
    return ",".join(common) or ","


def build_readable_files(
    source: Source, own_secrets: OwnSecretLocations, data_folder: Path
) -> ReadableFiles:
    """The files that a source may name: never the controller's own, nor its data folder."""
    folders = tuple(Path(os.path.realpath(file)) for file in source.may_read.files)
    return ReadableFiles(folders, (*own_secrets.files, Path(os.path.realpath(data_folder))))
