"""The login file of the vendor's command line: `~/.synapse/config.json`, as a JSON object.

Its keys are `host` (without one the vendor's own), `access_token`, `user_token` and `tenant`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.login import PLACE, Login
from synapse_apply.model.values import Sensitive
from synapse_apply.secrets.resolve import file_text, parsed

DEFAULT_HOST = "https://api.synapse.sh"
_GROUP_AND_OTHERS = 0o077


def read_login(environ: Mapping[str, str]) -> Login | None:
    """What is in the login file; None where there is none. Never raises."""
    home = environ.get("HOME", "")
    path = Path(home) / ".synapse" / "config.json"
    if not home or not path.exists():
        return None
    try:
        text = file_text(path, PLACE)
    except SecretUnavailable as unusable:
        return Login(PLACE, problem=unusable.diagnostics[0].detail)
    value, problem = parsed(text)
    if problem or not isinstance(value, dict):
        return Login(PLACE, problem=f"it is no JSON object{problem}")
    return _login(value, exposed=bool(path.stat().st_mode & _GROUP_AND_OTHERS))


def _login(value: Mapping[str, Any], *, exposed: bool) -> Login:
    texts = {name: value.get(name) for name in ("host", "access_token", "user_token", "tenant")}
    wrong = sorted(name for name, text in texts.items() if not isinstance(text, str | None))
    if wrong:
        return Login(PLACE, problem=f"{', '.join(wrong)} is no text")
    given = {name: text.strip() for name, text in texts.items() if text and text.strip()}
    token = given.get("access_token")
    lacks = "has no access_token"
    if "user_token" in given:
        lacks += ", only a user_token, which this tool does not send"
    return Login(
        PLACE,
        url=given.get("host", DEFAULT_HOST).rstrip("/"),
        tenant=given.get("tenant", ""),
        token=Sensitive(token) if token else None,
        lacks="" if token else lacks,
        exposed=exposed,
    )
