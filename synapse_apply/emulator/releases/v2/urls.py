"""Which paths releases have on API v2, and from which source each behaviour is known."""

from __future__ import annotations

from synapse_apply.emulator.core.call import Endpoint
from synapse_apply.emulator.core.facts import Fact, FactSource
from synapse_apply.emulator.releases.v2 import responses

_D = FactSource.DOCUMENTED

_WRITES = ("v2_writes", "all")

ENDPOINTS = (
    Endpoint(
        "GET",
        "plugin-releases/",
        responses.list_visible_releases,
        _D,
        "List releases; `?plugin=` takes an id, `?debug=`.",
    ),
    Endpoint(
        "POST",
        "plugin-releases/",
        responses.create_release,
        _D,
        "Create a release: 201. Multipart with `plugin`, `version`, `sha256`, `file`.",
        switch=_WRITES,
    ),
    Endpoint("GET", "plugin-releases/{id}/", responses.read_release, _D, "Read a release by id."),
    Endpoint(
        "DELETE",
        "plugin-releases/{id}/",
        responses.delete_release,
        _D,
        "Delete a release: 204.",
        switch=_WRITES,
    ),
    Endpoint(
        "POST",
        "plugin-releases/{id}/release/",
        responses.lock_release,
        _D,
        "Lock a version for good.",
        switch=_WRITES,
        dry_run_action="release",
    ),
)

FACTS = (
    Fact("All four fields are required; another content type is 415.", _D),
    Fact("A second release of one plugin and version is 409.", _D),
    Fact("`config` comes from `config.yaml` inside the zip.", _D),
    Fact(
        "A file that is no zip, or whose `config.yaml` cannot be read, is 400.", FactSource.GUESSED
    ),
    Fact("`sha256` is not compared with the file, not kept and never shown.", _D),
    Fact("`sha256` is 64 hexadecimal digits, else 400.", FactSource.GUESSED),
    Fact("A release never changes, but for the lock; the lock is never taken back.", _D),
    Fact("To lock what is locked is 200.", _D),
    Fact("The version of a locked release that was deleted stays taken: 409.", FactSource.GUESSED),
    Fact("A release in use is not deleted: 409.", _D),
    Fact(
        "A release is in use while it has `in_use: true`, which "
        "`PATCH /_emulator/objects/release/{id}/` gives it.",
        FactSource.GUESSED,
    ),
    Fact(
        "A job keeps the number and the version of a release that was deleted.", FactSource.GUESSED
    ),
    Fact("An unknown plugin is 400 on create, an empty list in `?plugin=`.", FactSource.GUESSED),
    Fact(
        "`run_schema` and `installation_schema` are empty; there is one author.", FactSource.GUESSED
    ),
)
