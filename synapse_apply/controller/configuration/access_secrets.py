"""How the secrets of `access` are read, and which of them cannot be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field

from synapse_apply.controller.settings import Access, SecretName
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive

# What a header can carry, and nobody can guess.
_USABLE_SECRET = re.compile(r"[!-~]{16,4096}")


@frozen
class AccessSecrets:
    """The secrets of `access`: the proxy's, and the tokens by the name of who has them."""

    proxy: Sensitive | None = None
    tokens: Mapping[str, Sensitive] = field(default_factory=dict)


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
    secrets = {name: read_secret(secret) for name, secret in names.items()}
    names_by_text: dict[str, str] = {}
    for name, secret in secrets.items():
        text = str(secret.reveal())
        if not _USABLE_SECRET.fullmatch(text):
            raise InputError.from_summary(
                "A secret of `access` cannot be used",
                f"{name} needs 16 to 4,096 characters of ASCII, without spaces.",
                "Make another one, such as by `openssl rand -hex 32`.",
                position=names[name].position,
            )
        other = names_by_text.setdefault(text, name)
        if other != name:
            raise InputError.from_summary(
                "Two secrets of `access` are equal",
                f"{other} and {name}: nobody could tell who has it.",
                "Make another one for each.",
                position=names[name].position,
            )
    return AccessSecrets(
        secrets.pop("proxy.secret", None),
        {name.removeprefix("tokens."): secret for name, secret in secrets.items()},
    )
