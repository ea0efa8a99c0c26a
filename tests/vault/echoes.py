"""Answers of a Vault that repeats what it was sent: in errors, headers, key names and redirects."""

from __future__ import annotations

import json
from urllib.parse import quote

from vault.stand_in import reply

# Long, and with characters that every encoding treats in its own way.
VALUE = 'cAn4ry-value/+ "quoted"\\é-5555'
JSON = {"Content-Type": "application/json"}


def build_echo(how: str, status: int, texts: list[str]):
    """An answer to every request that repeats these texts."""
    joined = " ".join(texts)
    plain = joined.encode("ascii", "ignore").decode().replace("\n", " ")
    bodies = {
        "errors": {"errors": [joined, *texts, f"role {joined} could not be found"]},
        "warnings": {**reply(None), "errors": [], "warnings": texts},
        "key names": reply({"data": dict.fromkeys(texts, VALUE), "metadata": {"version": 1}}),
        "keys of keys": reply({"data": {VALUE: {joined[:8]: joined}}, "metadata": {"version": 1}}),
        "mount": reply({"path": joined, "type": joined, "options": {"version": joined}}),
        "auth": {**reply(None), "auth": {"client_token": f"{joined}\r\n", "token_type": joined}},
    }
    headers = dict(JSON)
    if how == "headers":
        headers |= {"X-Vault-Token": plain, "X-Request-Id": plain, "Retry-After": "0"}
    if how == "redirect":
        headers["Location"] = f"http://{plain.replace(' ', '').replace('/', '')[:60]}.example/v1/x"
    content = json.dumps(bodies.get(how, {"errors": []})).encode()
    if how == "own redirect":
        headers["Location"] = f"/v1/{quote(joined)}"
    if how == "broken":
        content = f'{{"request_id": "{plain}'.encode()
    if how == "html":
        content, headers = f"<title>{joined}</title>".encode(), {"Content-Type": "text/html"}
    return status, content, headers


WAYS = ["errors", "warnings", "key names", "keys of keys", "mount", "auth", "headers", "redirect", "own redirect",
        "broken", "html"]  # fmt: skip
