"""Which declared secrets and tokens are masked in a backend's answers.

They are registered before the first call: a server may quote what it was sent a week ago.
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


def mask_declared_secrets_but_not_public_texts(
    redactor: Redactor, desired: Iterable[Desired], marks: SecretMarks, resolve: ResolveSecret
) -> None:
    """Register the secrets of declared resources with the redactor, and their public texts.

    A secret that does not resolve is skipped: it is not sent either.
    """
    public_texts = set(_iter_field_names_of_kinds_and_schemas(marks))
    references: dict[tuple[str, ...], SecretRef] = {}
    for resource in desired:
        for value in _collect_texts_and_return_other_values(resource.spec, public_texts):
            if isinstance(value, SecretRef):
                if value.literal is not None:
                    _mask_literal_if_credential_like(redactor, value.literal.reveal())
                elif not value.keeps_live_value:
                    references[value.identity] = value
    redactor.stop_masking_equal_texts(public_texts)
    for ref in references.values():
        with suppress(SecretUnavailable):
            redactor.mask_from_now_on(resolve(ref).reveal())


def mask_resolvable_secrets_of_references(
    redactor: Redactor, references: Iterable[SecretRef], marks: SecretMarks, resolve: ResolveSecret
) -> None:
    """Register the values of references with the redactor, for commands without manifests.

    A reference that does not resolve is skipped.
    """
    redactor.stop_masking_equal_texts(set(_iter_field_names_of_kinds_and_schemas(marks)))
    for ref in references:
        with suppress(SecretUnavailable):
            redactor.mask_from_now_on(resolve(ref).reveal())


def mask_agent_tokens_and_secret_state_url(
    redactor: Redactor, target: Target, resolve: ResolveSecret
) -> None:
    """Register the tokens of the target's agents, and the url of its state, with the redactor.

    The client itself masks the token that calls carry.
    """
    for token in target.agents.values():
        with suppress(SecretUnavailable):
            redactor.mask_from_now_on(resolve(token).reveal())
    url = target.state.url
    if isinstance(url, SecretRef):
        with suppress(SecretUnavailable):
            redactor.mask_from_now_on(resolve(url).reveal())
    # Only a url with user information can hold a password.
    elif "@" in url:
        redactor.mask_from_now_on(url)


def _mask_literal_if_credential_like(redactor: Redactor, value: Any) -> None:
    if isinstance(value, str) and _CREDENTIAL_PATTERN.fullmatch(value):
        redactor.mask_from_now_on(value)


def _collect_texts_and_return_other_values(
    tree: Mapping[str, Any], public_texts: set[str]
) -> list[Any]:
    """Add texts and field names of a spec to `public_texts`; returns its other values."""
    other_values: list[Any] = []
    public_texts.update(tree)
    for value in tree.values():
        if type(value) is str:
            public_texts.add(value)
        elif is_map(value):
            other_values += _collect_texts_and_return_other_values(value, public_texts)
        elif isinstance(value, list | tuple):
            public_texts.update(item for item in value if isinstance(item, str))
            other_values += (item for item in value if not isinstance(item, str))
        elif isinstance(value, str):
            public_texts.add(value)
        else:
            other_values.append(value)
    return other_values


def _iter_field_names_of_kinds_and_schemas(marks: SecretMarks) -> Iterator[str]:
    """All field names of the kinds and of their schemas, which are never secret."""
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
