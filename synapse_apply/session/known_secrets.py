"""Which values a backend's words are searched for: secrets and tokens that are declared.

They are told before the first call, since a server may quote today what it was sent last week.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from synapse_apply.client.masking import Redactor
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.desired import Desired
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.project import Target
from synapse_apply.model.values import SecretRef, Sensitive, is_map

Resolve = Callable[[SecretRef], Sensitive]

# A literal stands in the file for all to read. It may be `us-west-2` where every leaf counts as
# secret; only what looks like a credential is worth hiding in a report.
_LIKE_A_CREDENTIAL = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])\S{12,}", re.DOTALL)


def know_declared(
    redactor: Redactor, desired: Iterable[Desired], marks: SecretMarks, resolve: Resolve
) -> None:
    """Tell the redactor the secrets of declared resources, and which texts of them are public.

    A secret that cannot be had is not sent either, and is passed over.
    """
    public = set(_field_names(marks))
    sources: dict[tuple[str, str, str], SecretRef] = {}
    for one in desired:
        for value in _leaves(one.spec, public):
            if isinstance(value, SecretRef):
                if value.source in ("env", "file"):
                    sources[value.source, value.name, value.format] = value
                elif value.literal is not None:
                    _know_literal(redactor, value.literal.reveal())
            elif isinstance(value, str):
                public.add(value)
    redactor.allow(public)
    for ref in sources.values():
        with suppress(SecretUnavailable):
            redactor.add(resolve(ref).reveal())


def know_references(
    redactor: Redactor, references: Iterable[SecretRef], marks: SecretMarks, resolve: Resolve
) -> None:
    """Tell the redactor the values of references, for a command that reads no manifests.

    One that cannot be had is passed over.
    """
    redactor.allow(set(_field_names(marks)))
    for ref in references:
        with suppress(SecretUnavailable):
            redactor.add(resolve(ref).reveal())


def know_settings(redactor: Redactor, target: Target, resolve: Resolve) -> None:
    """Tell the redactor the tokens of the target's agents, and the url of its state.

    The token that calls carry is known to the client.
    """
    for token in target.agents.values():
        with suppress(SecretUnavailable):
            redactor.add(resolve(token).reveal())
    url = target.state.url
    if isinstance(url, SecretRef):
        with suppress(SecretUnavailable):
            redactor.add(resolve(url).reveal())
    elif "@" in url:
        redactor.add(url)


def _know_literal(redactor: Redactor, value: Any) -> None:
    if isinstance(value, str) and _LIKE_A_CREDENTIAL.fullmatch(value):
        redactor.add(value)


def _leaves(tree: Mapping[str, Any], public: set[str]) -> Iterator[Any]:
    """The values of a spec that are no maps; names of its fields go to `public`."""
    for key, value in tree.items():
        public.add(key)
        if is_map(value):
            yield from _leaves(value, public)
        elif isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def _field_names(marks: SecretMarks) -> Iterator[str]:
    """Names of fields as the kinds and the schemas have them."""
    for kind in CATALOGUE.values():
        yield from kind.rules
        for binding in kind.bindings.values():
            yield from binding.fields
    for kind_marks in marks.kinds.values():
        for paths in (*kind_marks.by_value.values(), *kind_marks.described.values()):
            yield from (str(part) for path in paths for part in path)
