"""How the login file of the vendor's command line is read: `~/.synapse/config.json`.

It is a JSON object with the keys `host` (default: the vendor's), `access_token`, `user_token` and
`tenant`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.secrets.secret_rules import LOGIN_FILE_LABEL, Login
from synapse_apply.model.values import Sensitive
from synapse_apply.secret_sources.file import read_secret_text
from synapse_apply.secret_sources.source import parse_json_with_problem

DEFAULT_HOST = "https://api.synapse.sh"
_GROUP_AND_OTHERS = 0o077


def login_path_of(environ: Mapping[str, str]) -> Path | None:
    """Where the login file is; None if there is none."""
    home = environ.get("HOME", "")
    path = Path(home) / ".synapse" / "config.json"
    # Not `path.exists()`, which raises where the home may not be searched.
    return path if home and os.path.lexists(path) else None


def read_login(environ: Mapping[str, str]) -> Login | None:
    """Read the login file; None if there is none. An unusable file gives a Login with `problem`."""
    path = login_path_of(environ)
    if path is None:
        return None
    try:
        # Under its label: the full path would show the user's name.
        text = read_secret_text(path, LOGIN_FILE_LABEL)
    except SecretUnavailable as unusable:
        return Login(LOGIN_FILE_LABEL, problem=unusable.diagnostics[0].detail)
    value, problem = parse_json_with_problem(text)
    if problem or not isinstance(value, dict):
        return Login(LOGIN_FILE_LABEL, problem=f"it is not a JSON object{problem}")
    texts = {name: value.get(name) for name in ("host", "access_token", "user_token", "tenant")}
    non_text_names = sorted(
        name for name, text in texts.items() if not isinstance(text, str | None)
    )
    if non_text_names:
        return Login(LOGIN_FILE_LABEL, problem=f"{', '.join(non_text_names)} is not text")
    filled_texts = {name: text.strip() for name, text in texts.items() if text and text.strip()}
    token = filled_texts.get("access_token")
    no_login_reason = "has no access_token"
    if "user_token" in filled_texts:
        no_login_reason += ", only a user_token, which this tool does not send"
    return Login(
        LOGIN_FILE_LABEL,
        url=filled_texts.get("host", DEFAULT_HOST).rstrip("/"),
        tenant=filled_texts.get("tenant", ""),
        token=Sensitive(token) if token else None,
        no_login_reason="" if token else no_login_reason,
        is_exposed=bool(path.stat().st_mode & _GROUP_AND_OTHERS),
    )
