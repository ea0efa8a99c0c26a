"""The paths of plugin releases, and how sure each behaviour is."""

from __future__ import annotations

from synapse_apply.emulator.core.call import Endpoint
from synapse_apply.emulator.core.facts import Fact, Mark
from synapse_apply.emulator.releases import responses

ENDPOINTS = (
    Endpoint(
        "GET",
        "plugin_releases/",
        responses.list_all,
        Mark.OBSERVED,
        "List releases; `?plugin=` takes a code or an id.",
    ),
    Endpoint(
        "POST",
        "plugin_releases/",
        responses.create,
        Mark.DOCUMENTED,
        "Create a release: 201. Multipart with its package, or JSON without one.",
    ),
    Endpoint(
        "GET",
        "plugin_releases/{lookup}/",
        responses.read,
        Mark.DOCUMENTED,
        "Read a release by id or `code@version`; `?expand=plugin`.",
    ),
)

FACTS = (
    Fact("`plugin` is an integer id.", Mark.DOCUMENTED),
    Fact("`plugin` is a code, or an id as text (digits are an id first).", Mark.OBSERVED),
    Fact("`changelog`, `is_stable` and the file are taken.", Mark.DOCUMENTED),
    Fact("`config`, `requirements` and `debug` are taken.", Mark.OBSERVED),
    Fact("A release without a file is taken.", Mark.OBSERVED),
    Fact("The `code@version` lookup and `?plugin=code` exist.", Mark.OBSERVED),
    Fact("A second release of one plugin and version is 409 with `already exists`.", Mark.OBSERVED),
    Fact("An unknown plugin is 400 on create, an empty list in `?plugin=`.", Mark.GUESSED),
    Fact("An empty file is 400; otherwise the file is not looked into.", Mark.GUESSED),
    Fact("Releases are immutable: PUT, PATCH and DELETE are 405.", Mark.DOCUMENTED),
    Fact("`file` is null or `{name, url}`; no digest of the bytes is shown.", Mark.GUESSED),
)
