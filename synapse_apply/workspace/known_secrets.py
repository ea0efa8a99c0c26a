"""Which values a backend's words are searched for: secrets and tokens that are declared.

They are told before the first call, since a server may quote today what it was sent last week.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.project import Target
from synapse_apply.model.resource import Desired
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.values import SecretRef, Sensitive, is_map

if TYPE_CHECKING:
    from synapse_apply.client.http.redaction import Redactor

ResolveSecret = Callable[[SecretRef], Sensitive]

# A literal stands in the file for all to read. It may be `us-west-2` where every leaf counts as
# secret; only what looks like a credential is worth hiding in a report.
_CREDENTIAL_PATTERN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])\S{12,}", re.DOTALL)


def register_declared_secrets(
    redactor: Redactor, desired: Iterable[Desired], marks: SecretMarks, resolve: ResolveSecret
) -> None:
    """Tell the redactor the secrets of declared resources, and which texts of them are public.

    A secret that cannot be had is not sent either, and is passed over.
    """
    public_texts = set(_iter_field_names(marks))
    sources: dict[tuple[str, str, str], SecretRef] = {}
    for resource in desired:
        for value in _collect_texts(resource.spec, public_texts):
            if isinstance(value, SecretRef):
                if value.source in ("env", "file"):
                    sources[value.source, value.name, value.format] = value
                elif value.literal is not None:
                    _register_literal_secret(redactor, value.literal.reveal())
    redactor.allow_public_texts(public_texts)
    for ref in sources.values():
        with suppress(SecretUnavailable):
            redactor.add_secret(resolve(ref).reveal())


def know_references(
    redactor: Redactor, references: Iterable[SecretRef], marks: SecretMarks, resolve: ResolveSecret
) -> None:
    """Tell the redactor the values of references, for a command that reads no manifests.

    One that cannot be had is passed over.
    """
    redactor.allow_public_texts(set(_iter_field_names(marks)))
    for ref in references:
        with suppress(SecretUnavailable):
            redactor.add_secret(resolve(ref).reveal())


def register_setting_secrets(redactor: Redactor, target: Target, resolve: ResolveSecret) -> None:
    """Tell the redactor the tokens of the target's agents, and the url of its state.

    The token that calls carry is known to the client.
    """
    for token in target.agents.values():
        with suppress(SecretUnavailable):
            redactor.add_secret(resolve(token).reveal())
    url = target.state.url
    if isinstance(url, SecretRef):
        with suppress(SecretUnavailable):
            redactor.add_secret(resolve(url).reveal())
    elif "@" in url:
        redactor.add_secret(url)


def _register_literal_secret(redactor: Redactor, value: Any) -> None:
    if isinstance(value, str) and _CREDENTIAL_PATTERN.fullmatch(value):
        redactor.add_secret(value)


def _collect_texts(tree: Mapping[str, Any], public_texts: set[str]) -> list[Any]:
    """Add the texts and the names of fields of a spec to `public_texts`; its other values."""
    other_values: list[Any] = []
    public_texts.update(tree)
    for value in tree.values():
        if type(value) is str:
            public_texts.add(value)
        elif is_map(value):
            other_values += _collect_texts(value, public_texts)
        elif isinstance(value, list | tuple):
            public_texts.update(item for item in value if isinstance(item, str))
            other_values += (item for item in value if not isinstance(item, str))
        elif isinstance(value, str):
            public_texts.add(value)
        else:
            other_values.append(value)
    return other_values


def _iter_field_names(marks: SecretMarks) -> Iterator[str]:
    """Names of fields as the kinds and the schemas have them."""
    for kind in CATALOGUE.values():
        yield from kind.rules
        for binding in kind.bindings.values():
            yield from binding.fields
    for kind_marks in marks.kinds.values():
        for paths in (
            *kind_marks.secret_paths_by_value.values(),
            *kind_marks.described_paths_by_value.values(),
        ):
            yield from (str(part) for path in paths for part in path)
