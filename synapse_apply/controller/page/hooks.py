"""Whether a forge's webhook is genuine, and which sources its push is about.

It makes the next fetch come sooner and nothing else: a replay is harmless, a flood is one fetch.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from synapse_apply.controller.page.entry.credentials import is_equal_secret
from synapse_apply.controller.settings import Source
from synapse_apply.model.values import Sensitive

MAX_BODY_SIZE = 2 * 1024 * 1024
_SIGNATURE_PREFIX = "sha256="


def is_genuine_github_hook(body: bytes, signature: str, secret: Sensitive) -> bool:
    """Whether `X-Hub-Signature-256` is the HMAC-SHA256 of the body, told in constant time."""
    key = str(secret.reveal()).encode()
    expected = _SIGNATURE_PREFIX + hmac.new(key, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def is_genuine_gitlab_hook(token: str, secret: Sensitive) -> bool:
    """Whether `X-Gitlab-Token` is the secret, told in constant time."""
    return is_equal_secret(token, secret)


def pushed_sources(body: bytes, sources: Iterable[Source]) -> list[str]:
    """The names of the sources whose repository the body of a push names; none for an odd body.

    The bodies are GitHub's (`repository`) and GitLab's (`project`).
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return []
    paths = {_normalize(path) for path in _iter_repository_paths(document)} - {""}
    return [source.name for source in sources if _source_paths(source) & paths]


def _iter_repository_paths(document: Any) -> Iterator[str]:
    if not isinstance(document, Mapping):
        return
    for part, field in (("repository", "full_name"), ("project", "path_with_namespace")):
        repository = document.get(part)
        if isinstance(repository, Mapping) and isinstance(repository.get(field), str):
            yield repository[field]


def _source_paths(source: Source) -> set[str]:
    """OWNER/NAME of a source's repository, as its url and its status name it."""
    path = urlsplit(source.url).path if "://" in source.url else source.url.rpartition(":")[2]
    names = {_normalize(path)}
    return names | ({_normalize(source.status.repository)} if source.status else set())


def _normalize(path: str) -> str:
    return path.strip("/").removesuffix(".git").lower()
