"""Which sources of secrets there are, by their keys below `valueFrom`."""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.secret_sources.environment_variable import ENVIRONMENT_VARIABLE, LIVE
from synapse_apply.secret_sources.file import FILE
from synapse_apply.secret_sources.sops.source import SOPS
from synapse_apply.secret_sources.source import SecretSource
from synapse_apply.secret_sources.vault.source import VAULT

SECRET_SOURCES: Mapping[str, SecretSource] = {
    source.name: source for source in (ENVIRONMENT_VARIABLE, FILE, LIVE, SOPS, VAULT)
}


def format_source_names() -> str:
    """The names of all sources, as a sentence has them."""
    *names, last_name = SECRET_SOURCES
    return f"{', '.join(names)} and {last_name}"
