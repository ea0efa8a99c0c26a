"""How the secrets that controller.yaml names are read, and what stands in it and should not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from synapse_apply.controller.settings import Access, SecretName
from synapse_apply.files.checkout import read_regular_file
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_nearest_position,
)
from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.values import Sensitive

# What a header can carry, and nobody can guess.
_USABLE_SECRET = re.compile(r"[!-~]{16,4096}")


@frozen
class AccessSecrets:
    """The secrets of `access`: of the proxy, of tokens by their holders' names, of `oidc`."""

    proxy: Sensitive | None = None
    tokens: Mapping[str, Sensitive] = field(default_factory=dict)
    oidc: Sensitive | None = None


def read_usable_access_secrets(
    access: Access | None, read_secret: Callable[[SecretName], Sensitive]
) -> AccessSecrets:
    """Read the secrets that `access` names; none without it.

    InputError for one that is too short or cannot stand in a header, and for two that are equal;
    SecretUnavailable for one that is not there.
    """
    if access is None:
        return AccessSecrets()
    names = {f"tokens.{name}": secret for name, secret in access.tokens.items()}
    if access.proxy is not None:
        names["proxy.secret"] = access.proxy.secret
    if access.oidc is not None:
        names["oidc.client_secret"] = access.oidc.client_secret
    secrets = {name: read_secret(secret) for name, secret in names.items()}
    names_by_text: dict[str, str] = {}
    for name, secret in secrets.items():
        text = str(secret.reveal())
        if not _USABLE_SECRET.fullmatch(text):
            raise InputError.from_summary(
                "Invalid secret in `access`",
                f"{name} must have 16 to 4,096 ASCII characters without spaces.",
                "Generate a secret, for example with `openssl rand -hex 32`.",
                position=names[name].position,
            )
        other = names_by_text.setdefault(text, name)
        if other != name:
            raise InputError.from_summary(
                "Two secrets in `access` are equal",
                f"{other} and {name} have the same value, so the controller cannot tell them "
                "apart.",
                "Generate a separate secret for each.",
                position=names[name].position,
            )
    return AccessSecrets(
        proxy=secrets.pop("proxy.secret", None),
        oidc=secrets.pop("oidc.client_secret", None),
        tokens={name.removeprefix("tokens."): secret for name, secret in secrets.items()},
    )


_MAX_SECRET_BYTES = 64 * 1024


class OwnSecretReader:
    """Reads secrets by name; a file is read anew each time, so that a renewed one counts."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __call__(self, name: SecretName) -> Sensitive:
        """The value; SecretUnavailable for one that is not there, is empty or is no text.

        One newline at the end of a file is dropped.
        """
        if name.kind == "env":
            text = self._environ.get(name.name, "")
            reason = "" if text.strip() else "it is not set, or empty"
        else:
            text, reason = _read_secret(Path(name.name))
        if reason:
            raise SecretUnavailable.from_summary(
                "A secret of the controller is missing",
                f"{'variable' if name.kind == 'env' else 'file'} {name.name}: {reason}.",
                "Provide it to the controller's process, or use a different variable or file in "
                "controller.yaml.",
                position=name.position,
            )
        return Sensitive(text)


def _read_secret(path: Path) -> tuple[str, str]:
    """The text of a file, and why it cannot be used ("" where it can)."""
    try:
        data = read_regular_file(path, _MAX_SECRET_BYTES)
    except OSError as problem:
        return "", problem.strerror or "it cannot be read"
    try:
        text = data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        return "", "it is not UTF-8"
    return text, "" if text.strip() else "it is empty"


# Where the schema has a secret; `*` is any key or item. What stands there is never quoted.
_SECRET_PATHS: tuple[tuple[str, ...], ...] = (
    ("sources", "*", "credentials", "token"),
    ("sources", "*", "credentials", "ssh_key"),
    ("sources", "*", "commit_status", "*", "token"),
    ("notify", "*", "webhook", "url"),
    ("notify", "*", "webhook", "secret"),
    ("notify", "*", "slack", "url"),
    ("hooks", "*", "secret"),
    ("access", "proxy", "secret"),
    ("access", "oidc", "client_secret"),
    ("access", "tokens", "*"),
    ("store", "url"),
)
# A value that fits the schema, so that what is refused here is not refused there again.
PLACEHOLDER_VARIABLE = "NOT_READ"


def replace_literal_secrets(
    value: Any, positions: Mapping[FieldPath, Position]
) -> tuple[Any, list[Diagnostic]]:
    """The document without secrets that are written out, and an error for each.

    The document is changed in place.
    """
    findings = []
    for pattern in _SECRET_PATHS:
        for owner, key, path in _matching_parts(value, pattern, ()):
            if owner[key] is None or isinstance(owner[key], Mapping):
                continue
            owner[key] = {"env": PLACEHOLDER_VARIABLE}
            findings.append(
                error_finding(
                    "The file contains a secret",
                    f"`{format_field_path(path)}` contains a value, which is not shown here",
                    "name a variable or a file, such as {env: NAME}, and replace the secret: "
                    "everyone who can read this file knows it",
                    position=find_nearest_position(positions, path),
                    path=path,
                )
            )
    return value, findings


def _matching_parts(
    node: Any, pattern: tuple[str, ...], path: FieldPath
) -> Iterator[tuple[Any, str | int, FieldPath]]:
    """The container, the key and the path of each place that fits the pattern."""
    key, *rest = pattern
    keys: list[str | int] = []
    if isinstance(node, dict):
        keys = [name for name in node if key in {"*", name}]
    elif isinstance(node, list) and key == "*":
        keys = list(range(len(node)))
    for name in keys:
        if rest:
            yield from _matching_parts(node[name], tuple(rest), (*path, name))
        else:
            yield node, name, (*path, name)
