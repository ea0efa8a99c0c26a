"""What the backend holds: objects of several tenants, ids, moments and presigned URLs."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from contract.vendor.guesses import Guesses
from contract.vendor.pages import Item
from contract.vendor.web import Refusal, Request

TOKEN, OTHER_TOKEN = "syn_acme-access-token-0123", "syn_other-access-token-0123"
SESSION_TOKEN = "drf-user-token-0123"
TENANT, OTHER_TENANT = "acme", "other"
AGENT_TOKEN = "0123456789abcdef0123456789abcdef01234567"  # 40 hex digits [S]
SEOUL = timezone(timedelta(hours=9))


@dataclass
class World:
    """All objects, by kind, in the order of their making."""

    guesses: Guesses = field(default_factory=Guesses)
    plugins: list[Item] = field(default_factory=list)
    releases: list[Item] = field(default_factory=list)
    storages: list[Item] = field(default_factory=list)
    jobs: list[Item] = field(default_factory=list)
    agents: list[Item] = field(default_factory=list)
    # Every signature that was handed out: none may be printed, stored or logged.
    signatures: list[str] = field(default_factory=list)
    # What jobs end with, and what an action gives that answers at once.
    job_end: str = "SUCCEEDED"
    job_lines: tuple[str, ...] = ("[2026-11-26 10:00:00] started", "[2026-11-26 10:00:01] 끝")
    action_result: Any = field(default_factory=lambda: {"labels": 3})
    # The clock that presigned URLs expire by, in seconds since the epoch.
    clock: Callable[[], float] = time.time
    _sequence: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _ids: dict[str, Iterator[int]] = field(default_factory=dict)
    _signing_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def __post_init__(self) -> None:
        script = f"curl -s https://agent.invalid/install.sh | sh -s {AGENT_TOKEN}"
        self.agents.append(
            {**self.stamp("agent"), "name": "gpu-1", "url": "http://agent.invalid",
             "status": "Connected", "node_install_script": script, "tenant": TENANT}
        )  # fmt: skip

    def stamp(self, kind: str) -> Item:
        """The id, the moment and the place in line of a new object."""
        if kind not in self._ids:
            # Ids of the kinds differ, so that one taken for another is noticed.
            self._ids[kind] = itertools.count(100 * (len(self._ids) + 1) + 1)
        seq = next(self._sequence)
        return {"id": next(self._ids[kind]), "seq": seq, "created": datetime.now(SEOUL)}

    def add_plugin(self, tenant: str | None, name: str, code: str, **more: Any) -> Item:
        """A plugin made behind the back of whoever uses the API; None is the system's own."""
        plugin = {
            **self.stamp("plugin"), "tenant": tenant, "name": name, "code": code,
            "category": "neural_net", "description": "", "is_public": False, "is_active": True,
            "system_only": False, "detail": {}, **more,
        }  # fmt: skip
        self.plugins.append(plugin)
        return plugin

    def add_release(self, plugin: Item, version: str, content: bytes, **more: Any) -> Item:
        """A release made likewise; `config` is what config.yaml of the content says."""
        release = {
            **self.stamp("release"), "plugin": plugin["id"], "version": version, "config": {},
            "debug": False, "meta": {}, "is_released": False, "content": content, **more,
        }  # fmt: skip
        self.releases.append(release)
        return release

    def add_storage(self, name: str, **more: Any) -> Item:
        """A storage made likewise, of the workspace of the tests."""
        storage = {
            **self.stamp("storage"), "tenant": TENANT, "name": name, "category": "internal",
            "provider": "amazon_s3", "configuration": {}, "is_default": False,
            "credential_regime": self.guesses.credential_regime, **more,
        }  # fmt: skip
        self.storages.append(storage)
        return storage

    def visible_plugins(self, tenant: str) -> list[Item]:
        """The tenant's own plugins, and very likely public and system ones [D]."""
        return [
            one for one in self.plugins
            if one["tenant"] == tenant or (self.guesses.lists_others and is_shared(one))
        ]  # fmt: skip

    def releases_of(self, plugin: Item) -> list[Item]:
        """Its releases, newest first."""
        return [one for one in reversed(self.releases) if one["plugin"] == plugin["id"]]

    def presign(self, release: Item, origin: str) -> str:
        """A URL of the package that needs no token and expires [M] [S]."""
        # The counter makes each signature another one, also within one moment.
        expires = f"{self.clock() + self.guesses.file_seconds:.3f}{next(self._sequence):06}"
        name = f"/files/{release['id']}/{hashlib.sha256(release['content']).hexdigest()}.zip"
        signature = self._sign(name, expires)
        self.signatures.append(signature)
        return f"{origin}{name}?X-Amz-Expires={expires}&X-Amz-Signature={signature}"

    def is_signed(self, request: Request) -> bool:
        """Whether the query is one that was handed out for this path and still holds."""
        expires = request.parameter("X-Amz-Expires") or "0"
        signature = request.parameter("X-Amz-Signature") or ""
        if not hmac.compare_digest(signature, self._sign(request.path, expires)):
            return False
        return float(expires) > self.clock()

    def _sign(self, path: str, expires: str) -> str:
        return hmac.new(self._signing_key, f"{path} {expires}".encode(), "sha256").hexdigest()


def is_shared(plugin: Item) -> bool:
    """Whether others than its tenant see it."""
    return bool(plugin["is_public"] or plugin["tenant"] is None)


def authenticate(request: Request) -> str:
    """The tenant of a request of v1; 401 for any other form of its headers.

    `Synapse-Access-Token: Token syn_...` [M]. Or a session: `Authorization: Token ...` with
    `Synapse-Tenant`, with and without `Token ` before it [S]; an access token outranks both [O].
    """
    token = request.headers.get("Synapse-Access-Token")
    if token is not None:
        tenants = {f"Token {TOKEN}": TENANT, f"Token {OTHER_TOKEN}": OTHER_TENANT}
        return _tenant_or_401(request, tenants.get(token))
    if request.headers.get("Authorization") is None:
        raise Refusal(401, {"detail": request.say("unauthenticated")})
    tenant = request.headers.get("Synapse-Tenant", "").removeprefix("Token ")
    is_session = request.headers["Authorization"] == f"Token {SESSION_TOKEN}"
    return _tenant_or_401(
        request, tenant if is_session and tenant in {TENANT, OTHER_TENANT} else None
    )


def _tenant_or_401(request: Request, tenant: str | None) -> str:
    if tenant is None:
        raise Refusal(401, {"detail": request.say("bad token")})
    return tenant


def show_moment(moment: datetime | None) -> str | None:
    """With an offset of +09:00 [O]."""
    return None if moment is None else moment.isoformat()
