"""Whether what a server answered to a call is the object that the call was about."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.applying.task import Task
from synapse_apply.kinds.compare import same
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.masked import as_answered
from synapse_apply.model.observed import Observed
from synapse_apply.model.state import CREATE_VERB, Intent
from synapse_apply.model.values import ABSENT, SecretRef, Withheld, dig

_BETWEEN_WORDS = re.compile(r"[\s_-]+")


def identifying(task: Task, intent: Intent) -> tuple[str, ...]:
    """The fields by which an answer tells which object it is about.

    Of an update those that never change; of a create those of its natural key as well.
    """
    if intent.verb != CREATE_VERB:
        return task.type.identity
    form = intent.natural_key.partition("=")[0]
    return tuple(dict.fromkeys((*task.type.identity, *task.type.telling, form)))


def shown_otherwise(
    task: Task, intent: Intent, sent: Mapping[Path, Any], found: Observed
) -> Iterator[str]:
    """The identifying fields that an object shows with another value than was sent."""
    for name in identifying(task, intent):
        wants, has = sent.get((name,), ABSENT), dig(found.spec, (name,))
        if wants is ABSENT or isinstance(wants, SecretRef) or not is_visible(has):
            continue
        if not _alike(wants, as_answered(has)):
            yield name


def hidden(task: Task, intent: Intent, sent: Mapping[Path, Any], found: Observed) -> Iterator[str]:
    """The identifying fields that were sent, and that an object does not show."""
    for name in identifying(task, intent):
        if (name,) in sent and not is_visible(dig(found.spec, (name,))):
            yield name


def is_visible(value: Any) -> bool:
    """Whether a server shows a value at all."""
    return value is not ABSENT and not isinstance(value, Withheld)


def _alike(sent: Any, has: Any) -> bool:
    """Whether a value is what was sent, as servers write it: trimmed, in lower case, as a slug."""
    if isinstance(sent, str) and isinstance(has, str):
        return _written_plainly(sent) == _written_plainly(has)
    return same(sent, has)


def _written_plainly(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    return _BETWEEN_WORDS.sub("-", text).strip("-")
