"""How a thing of a kind proves itself: by a run, whose job anybody can look at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synapse_apply.kinds.compare import canonical
from synapse_apply.model.ports import Api

# In the context of a run: the id of the intent that announced it.
MARK = "x-synapse-apply-run"
_CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Proof:
    """A run of the object that the field `owner` refers to.

    `body` makes what is sent of a spec and its `verify:` block, `run` sends it for the owner's
    remote id and gives the server's answer. `jobs` are the owner's jobs since a time (RFC 3339);
    it may give more. Both raise RemoteError. `mend` says how to go on when what was published is
    wrong; `{owner}` in it is the owner's name.
    """

    owner: str
    body: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    run: Callable[[Api, str, Mapping[str, Any]], Mapping[str, Any]]
    jobs: Callable[[Api, str, str], Iterable[Mapping[str, Any]]]
    mend: str = ""


def digest_of(body: Mapping[str, Any]) -> str:
    """The digest of a run's body, which tells whether a run with other parameters is due."""
    return "sha256:" + hashlib.sha256(canonical(body).encode()).hexdigest()


def context_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The context that a body sends, empty where its form has none."""
    found = body.get(_CONTEXT)
    return found if isinstance(found, Mapping) else {}


def marked(body: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The body with our mark in its context, where its form has one."""
    if _CONTEXT not in body:
        return dict(body)
    return {**body, _CONTEXT: {**context_of(body), MARK: run}}
