"""Whether an answered object is the one that a call was about, by its identifying fields."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.applying.step import Step
from synapse_apply.kinds.compare import is_same_value
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.observed import Observed
from synapse_apply.model.secrets.masked_text import unmask_value
from synapse_apply.model.state import CREATE_VERB, Intent
from synapse_apply.model.values import ABSENT, SecretRef, WithheldSecret, get_at_or_absent

_BETWEEN_WORDS = re.compile(r"[\s_-]+")


def list_fields_that_identify_answer(step: Step, intent: Intent) -> tuple[str, ...]:
    """The fields by which an answer shows which object it is about.

    For an update these are the fields that never change; for a create also those of its natural
    key.
    """
    if intent.verb != CREATE_VERB:
        return step.type.identity_fields
    form = intent.natural_key.partition("=")[0]
    return tuple(dict.fromkeys((*step.type.identity_fields, *step.type.confirming_fields, form)))


# An answer is not believed to be ours: a create must show its natural key and identity fields
# (case, blanks and hyphens are the server's). Otherwise the object is read by the id that was
# answered, then looked up by its key.
def iter_identifying_fields_unlike_sent(
    step: Step, intent: Intent, sent: Mapping[FieldPath, Any], observed: Observed
) -> Iterator[str]:
    """The identifying fields that an object shows with another value than was sent."""
    for name in list_fields_that_identify_answer(step, intent):
        wants, has = sent.get((name,), ABSENT), get_at_or_absent(observed.spec, (name,))
        if (
            wants is ABSENT
            or isinstance(wants, SecretRef)
            or not is_neither_absent_nor_withheld(has)
        ):
            continue
        if not _is_same_value_up_to_rewriting(wants, unmask_value(has)):
            yield name


def iter_identifying_fields_not_shown(
    step: Step, intent: Intent, sent: Mapping[FieldPath, Any], observed: Observed
) -> Iterator[str]:
    """The identifying fields that were sent, and that an object does not show."""
    for name in list_fields_that_identify_answer(step, intent):
        if (name,) in sent and not is_neither_absent_nor_withheld(
            get_at_or_absent(observed.spec, (name,))
        ):
            yield name


def is_neither_absent_nor_withheld(value: Any) -> bool:
    """Whether a server shows a value: it is neither absent nor withheld."""
    return value is not ABSENT and not isinstance(value, WithheldSecret)


def _is_same_value_up_to_rewriting(sent: Any, live: Any) -> bool:
    """Whether two values are equal up to how servers rewrite names: case, blanks, hyphens."""
    if isinstance(sent, str) and isinstance(live, str):
        return _normalize_text(sent) == _normalize_text(live)
    return is_same_value(sent, live)


def _normalize_text(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    return _BETWEEN_WORDS.sub("-", text).strip("-")
