"""Which paths releases have on API v1, and from which source each behaviour is known."""

from __future__ import annotations

from synapse_apply.emulator.core.call import Endpoint
from synapse_apply.emulator.core.facts import Fact, FactSource
from synapse_apply.emulator.releases import responses

ENDPOINTS = (
    Endpoint(
        "GET",
        "plugin_releases/",
        responses.list_releases,
        FactSource.OBSERVED,
        "List releases; `?plugin=` takes a code or an id.",
    ),
    Endpoint(
        "POST",
        "plugin_releases/",
        responses.create_release,
        FactSource.DOCUMENTED,
        "Create a release: 201. Multipart with its package, or JSON without one.",
    ),
    Endpoint(
        "GET",
        "plugin_releases/{lookup}/",
        responses.read_release,
        FactSource.DOCUMENTED,
        "Read a release by id or `code@version`; `?expand=plugin`.",
    ),
    Endpoint(
        "GET",
        "media/plugin_releases/{id}/package.zip",
        responses.send_package,
        FactSource.PROCEDURE,
        "The package of a release, by the URL that its `file` has; no token.",
        switch=("release_file", "signed"),
        is_open=True,
    ),
)

FACTS = (
    Fact("`plugin` is an integer id.", FactSource.DOCUMENTED),
    Fact("`plugin` is a code, or an id as text (digits are an id first).", FactSource.OBSERVED),
    Fact("`changelog`, `is_stable` and the file are taken.", FactSource.DOCUMENTED),
    Fact("`config`, `requirements` and `debug` are taken.", FactSource.OBSERVED),
    Fact("A release without a file is taken.", FactSource.OBSERVED),
    Fact("The `code@version` lookup and `?plugin=code` exist.", FactSource.OBSERVED),
    Fact(
        "A second release of one plugin and version is 409 with `already exists`.",
        FactSource.OBSERVED,
    ),
    Fact("An unknown plugin is 400 on create, an empty list in `?plugin=`.", FactSource.GUESSED),
    Fact(
        "An empty file is 400; otherwise the file is not looked into with `release_source=form`.",
        FactSource.GUESSED,
    ),
    Fact(
        "With `release_source=package` a file is required, and a zip without a config.yaml that "
        "can be read is 400. A config.yaml without `version` has that of the form, else 0.1.0.",
        FactSource.DERIVED,
    ),
    Fact("A `debug` release is not validated.", FactSource.PROCEDURE),
    Fact(
        "A debug release that replaces another keeps its id; the answer is 201.", FactSource.GUESSED
    ),
    Fact("A locked release is not replaced: 409.", FactSource.DESCRIBED),
    Fact("A release of another tenant's public plugin cannot be made: 403.", FactSource.DERIVED),
    Fact("Releases are immutable: PUT, PATCH and DELETE are 405.", FactSource.DOCUMENTED),
    Fact("`file` is null or `{name, url}`; no digest of the bytes is shown.", FactSource.GUESSED),
    Fact(
        "With `release_file=signed` it is a URL below `/media/` that is good for one hour, then "
        "403, as with any change of it.",
        FactSource.GUESSED,
    ),
    Fact("Beside a token or a tenant in the headers, such a URL is 400.", FactSource.DERIVED),
    Fact(
        "An `Idempotency-Key` is passed over: the same POST twice is two POSTs.",
        FactSource.OBSERVED,
    ),
)
