"""Which paths storages have, and from which source each behaviour is known."""

from __future__ import annotations

from synapse_apply.emulator.core.call import Endpoint
from synapse_apply.emulator.core.facts import Fact, FactSource
from synapse_apply.emulator.storages import responses

ENDPOINTS = (
    Endpoint(
        "GET",
        "storages/",
        responses.list_storages,
        FactSource.DOCUMENTED,
        "List storages; `?category=`.",
    ),
    Endpoint(
        "POST",
        "storages/",
        responses.create_storage,
        FactSource.DOCUMENTED,
        "Create a storage: 201.",
    ),
    Endpoint(
        "GET",
        "storages/{id}/",
        responses.read_storage,
        FactSource.DOCUMENTED,
        "Read a storage; `?with_configuration=true`.",
    ),
    Endpoint(
        "POST",
        "storages/{id}/session/",
        responses.answer_configuration,
        FactSource.OBSERVED,
        "Open a session: `{purpose: read | write}`.",
    ),
)

FACTS = (
    Fact("`name` and `provider` are required; any provider is taken.", FactSource.DOCUMENTED),
    Fact("Names need not be unique: each POST makes another storage.", FactSource.GUESSED),
    Fact("`category` is internal or external, else 400; external unless sent.", FactSource.GUESSED),
    Fact("There is no update and no delete: 405.", FactSource.OBSERVED),
    Fact(
        "A session shows the plain configuration; smb and unknown providers are 400.",
        FactSource.OBSERVED,
    ),
)
