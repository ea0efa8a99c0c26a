"""Which paths plugins have on API v2, and from which source each behaviour is known."""

from __future__ import annotations

from synapse_apply.emulator.core.call import Endpoint
from synapse_apply.emulator.core.facts import Fact, FactSource
from synapse_apply.emulator.plugins.v2 import responses

_D = FactSource.DOCUMENTED

_WRITES = ("v2_writes", "all")

ENDPOINTS = (
    Endpoint(
        "GET", "plugins/", responses.list_plugins, _D, "List plugins; `?category=`, `?is_active=`."
    ),
    Endpoint(
        "POST",
        "plugins/",
        responses.create_with_release,
        _D,
        "Create a plugin and its first release: 201. JSON, form or multipart.",
        switch=_WRITES,
    ),
    Endpoint("GET", "plugins/{id}/", responses.read_plugin, _D, "Read a plugin by id."),
    Endpoint(
        "PATCH",
        "plugins/{id}/",
        responses.update_plugin,
        _D,
        "Change a plugin's name and description.",
        switch=_WRITES,
    ),
)

FACTS = (
    Fact("Both versions show one data set: what one makes, the other has.", FactSource.GUESSED),
    Fact(
        "A plugin of v1 without a code is not there on v2: 404, and in no list.", FactSource.GUESSED
    ),
    Fact("A plugin of v1 with a category v2 does not have is shown with it.", FactSource.GUESSED),
    Fact("`code` is lower-case letters, digits and inner `-`; there is no `_`.", _D),
    Fact("A code that any tenant has is 409.", _D),
    Fact("The first release, of `version` or else 0.0.0, is made with the plugin or neither.", _D),
    Fact("`source=scaffold` makes it from the fields sent, `source=file` from `file`.", _D),
    Fact("A scaffold's `config` holds the fields that were sent.", FactSource.GUESSED),
    Fact("A name is had once by a tenant: 400.", _D),
    Fact("Where the code and the name are taken, the answer is 409.", FactSource.GUESSED),
    Fact("PATCH with `code`, `tenant` or `category` is 400, also with the value they have.", _D),
    Fact("PUT and DELETE are 405.", _D),
    Fact(
        "Lists, objects, booleans and numbers are read from texts, in JSON too.",
        FactSource.OBSERVED,
    ),
    Fact(
        "In a dry run a code that is taken is 409; with `v2_dry_run=blind` nobody looks.",
        FactSource.GUESSED,
    ),
)
