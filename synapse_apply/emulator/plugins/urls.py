"""Which paths plugins have on API v1, and from which source each behaviour is known."""

from __future__ import annotations

from synapse_apply.emulator.core.call import Endpoint
from synapse_apply.emulator.core.facts import Fact, FactSource
from synapse_apply.emulator.plugins import responses

ENDPOINTS = (
    Endpoint(
        "GET",
        "plugins/",
        responses.list_plugins,
        FactSource.PROCEDURE,
        "List plugins.",
        switch=("plugin_list", "list"),
    ),
    Endpoint(
        "POST", "plugins/", responses.create_plugin, FactSource.DOCUMENTED, "Create a plugin: 201."
    ),
    Endpoint(
        "GET",
        "plugins/{lookup}/",
        responses.read_plugin,
        FactSource.DOCUMENTED,
        "Read a plugin by id.",
    ),
    Endpoint(
        "PUT", "plugins/{lookup}/", responses.update_plugin, FactSource.OBSERVED, "Change a plugin."
    ),
)

FACTS = (
    Fact("`name` is required and need not be unique.", FactSource.GUESSED),
    Fact("`code` is unique over all tenants: a second one is 409.", FactSource.OBSERVED),
    Fact(
        "`code` is letters, digits, `-` and `_`; once set, it cannot be changed (400).",
        FactSource.GUESSED,
    ),
    Fact(
        "`category` is free text; `configuration` any object, replaced as a whole.",
        FactSource.DOCUMENTED,
    ),
    Fact(
        "A plugin is read and changed by its id alone; by its code it is 404.", FactSource.GUESSED
    ),
    Fact("There is no delete: 405.", FactSource.DOCUMENTED),
    Fact(
        "With `plugin_fields=platform`, `system_only` is for plugins of no tenant: 400.",
        FactSource.PROCEDURE,
    ),
    Fact(
        "A plugin stored from outside with tenant `*` is a system plugin, one with "
        "`is_public: true` is public.",
        FactSource.GUESSED,
    ),
)
