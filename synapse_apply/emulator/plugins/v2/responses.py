"""Answers to requests about plugins, API v2."""

from __future__ import annotations

from functools import partial
from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.cursors import answer_cursors, filters
from synapse_apply.emulator.core.errors import ApiError, field_error, not_found
from synapse_apply.emulator.core.fields import Field, check, noting, with_resets
from synapse_apply.emulator.core.rehearsal import look_away
from synapse_apply.emulator.core.store import Row, Wanted
from synapse_apply.emulator.plugins import models as v1
from synapse_apply.emulator.plugins.errors import code_taken
from synapse_apply.emulator.plugins.v2 import models
from synapse_apply.emulator.releases.v2 import models as releases

_FILTERS = (
    Field("category", "choice", choices=v1.CATEGORIES),
    Field("is_active", "boolean"),
)


def _by_id(call: Call) -> Row:
    row = models.find(call.backend, call.tenant, call.path["id"])
    if row is None:
        raise not_found()
    return row


def _whole(call: Call, row: Row) -> dict[str, Any]:
    return models.whole(call.backend, row)


def read(call: Call) -> Answer:
    return Answer(_whole(call, _by_id(call)))


def list_all(call: Call) -> Answer:
    asked = filters(call, _FILTERS)

    def keep(row: Row) -> bool:
        shown = {"is_active": True, **row.body}
        return models.is_shown(row) and all(shown.get(name) == asked[name] for name in asked)

    newest = call.backend.switches.is_on("list_order", "newest")
    wanted = Wanted(call.tenant, newest_first=newest)
    return answer_cursors(call, "plugin", wanted, partial(models.item, call.backend), keep)


def create(call: Call) -> Answer:
    """A plugin and its first release, or neither."""
    backend = call.backend
    values, contents = _checked(call)
    now = backend.clock.now()
    own = {field.name: values[field.name] for field in models.OWN_FIELDS}
    body = {**with_resets(v1.fields(backend), own), "is_active": True, "modified": now}
    with backend.store.transaction():
        row = backend.store.insert("plugin", call.tenant, body, created=now, key=own["code"])
        release = releases.make(call, row, values["version"], contents)
    return Answer({**_whole(call, row), "release": releases.reference(backend, release)}, 201)


def _checked(call: Call) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plugin's values and the contents of its first release. Raises ApiError (400, 409)."""
    problems: dict[str, Any] = {}
    values: dict[str, Any] = {}
    contents: dict[str, Any] = {}
    with noting(problems):
        values = with_resets(models.FIELDS, check(models.FIELDS, call.body.loosened(models.FIELDS)))
    with noting(problems):
        contents = _contents(call, values)
    if problems:
        raise ApiError(400, problems)
    # By the database on the platform, and so the only word about a code that is taken.
    look_away(call, "plugin", values["code"])
    if call.backend.store.find("plugin", values["code"]):
        raise code_taken(values["code"])
    models.check_name(call.backend, call.tenant, values["name"])
    return values, contents


def _contents(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """What the first release holds: what the file has, or a scaffold of what was said."""
    told = {name: values.get(name) for name in ("readme", "debug", "meta")}
    if call.body.values.get("source") != "file":
        named = ("code", "name", "category", "version", "description")
        fields = (*named, *(field.name for field in models.SCAFFOLD_FIELDS))
        config = {name: values[name] for name in fields if values.get(name)}
        return {**told, "config": config}
    upload = call.uploads.get("file")
    if upload is None:
        raise field_error("file", "A file is required when source is file.")
    return {**told, **releases.contents_of(upload)}


def update(call: Call) -> Answer:
    """Change the name and the description; everything else of a plugin is final."""
    backend, row = call.backend, _by_id(call)
    v1.check_owner(backend, call.tenant, row)
    problems: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name in models.FINAL:
        if name in call.body.values:
            problems |= models.is_final(name).body
    with noting(problems):
        values = check(models.CHANGEABLE, call.body, partial=True)
    with noting(problems):
        if "name" in values:
            models.check_name(backend, call.tenant, values["name"], apart=row.id)
    if problems:
        raise ApiError(400, problems)
    body = {**row.body, **values, "modified": backend.clock.now()}
    return Answer(_whole(call, backend.store.replace("plugin", row, body, key=row.key)))
