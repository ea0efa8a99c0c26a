"""Which fields of a storage are secret: those with `x-secret` in the schemas of providers.

The schemas are schemas/v1/providers/*.schema.json; a project may describe further providers. What
looks like a secret in a manifest is another question: `decode/secret_fields.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from synapse_apply.manifests.schema.schemas import list_providers_with_schema, read_schema
from synapse_apply.model.project import Provider
from synapse_apply.model.secrets.secret_marks import KindMarks, SecretMarks


@cache
def read_marks_of_storage_secrets() -> SecretMarks:
    """Which storage fields hold secrets, read from `x-secret` of the provider schemas.

    A provider whose schema itself is `x-secret` is left out, so that every leaf is secret.
    """
    by_value, described = {}, {}
    for provider in list_providers_with_schema():
        schema = read_schema("providers/" + provider)
        if schema.get("x-secret"):
            continue
        fields = schema.get("properties", {})
        described[provider] = frozenset(("configuration", key) for key in fields)
        by_value[provider] = frozenset(
            ("configuration", key)
            for key, field in fields.items()
            if isinstance(field, Mapping) and field.get("x-secret")
        )
    marks = KindMarks("configuration", "provider", by_value, described)
    return SecretMarks({"storage": marks})


@cache
def list_providers_with_known_secrets() -> frozenset[str]:
    """The storage providers whose schema lists their keys and which of these are secret."""
    return frozenset(read_marks_of_storage_secrets().kinds["storage"].secret_paths_by_value)


def build_marks_with_project_providers(project_providers: Mapping[str, Provider]) -> SecretMarks:
    """The marks of `read_marks_of_storage_secrets`, and of providers that the project describes."""
    # Not built anew for each target, since nearly no project describes providers.
    if not project_providers:
        return read_marks_of_storage_secrets()
    marks = read_marks_of_storage_secrets().kinds["storage"]
    by_value, described = dict(marks.secret_paths_by_value), dict(marks.described_paths_by_value)
    for name, provider in project_providers.items():
        secrets = provider.secrets | provider.doubted
        by_value[name] = frozenset((marks.container, key) for key in secrets)
        described[name] = frozenset((marks.container, key) for key in provider.keys)
    return SecretMarks({"storage": KindMarks(marks.container, marks.selector, by_value, described)})
