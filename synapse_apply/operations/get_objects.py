"""How `get` reads plugins, releases and storages, and in which order it lists them."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.kinds.search import list_objects_or_none_if_unsupported
from synapse_apply.live.live_backend import (
    LiveBackend,
    LiveObject,
    decode_live_object,
    find_recorded_id_or_none_but_raise_for_address,
    parse_typed_id_or_none_for_name,
    require_live_object_where_absence_can_be_told,
    require_raw_object_by_id,
    require_single_live_object_by_id_or_name,
)
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError, NotFound
from synapse_apply.model.packages import get_version_sort_key_or_none


def require_object_by_id_or_name(live_backend: LiveBackend, prefix: str, text: str) -> LiveObject:
    """Read the object that a text names: by id, recorded name or natural key; else InputError."""
    return require_single_live_object_by_id_or_name(live_backend, prefix, text)


def read_owner_or_none_if_unnamed(
    live_backend: LiveBackend, prefix: str, member: LiveObject
) -> LiveObject | None:
    """Read the object that `member` belongs to; None where it names none.

    By a call of its own: servers answer `expand` in different forms. InputError where it is gone.
    """
    kind = live_backend.catalogue[prefix]
    owner = member.observed.spec.get(kind.series_field)
    if owner is None:
        return None
    prefix = kind.rules[kind.series_field].references
    return decode_live_object(
        live_backend,
        live_backend.select_binding(prefix),
        require_raw_object_by_id(live_backend, prefix, str(owner)),
    )


def list_all_objects_or_raise_if_unlistable(
    live_backend: LiveBackend, prefix: str
) -> list[LiveObject]:
    """Every object of a kind that this token can see. Items of a list may lack fields.

    InputError where this backend has no such list.
    """
    kind, binding = live_backend.catalogue[prefix], live_backend.select_binding(prefix)
    raws = list_objects_or_none_if_unsupported(live_backend.api, binding)
    if raws is not None:
        return _decode_objects(live_backend, prefix, raws)
    name, owner = kind.kind.lower(), kind.series_field
    raise InputError.from_summary(
        f"This backend has no list of {name}s",
        f"API {binding.api} of target {live_backend.target.name} cannot list every {name}.",
        Text(Command("get", f"{prefix}s", f"--{owner}", "NAME"), f" lists those of one {owner}.")
        if owner
        else Text(
            Command("get", prefix, "NAME"),
            " shows one, and ",
            Command("state list"),
            " lists those that are recorded.",
        ),
    )


def list_releases_of_plugin_newest_first(
    live_backend: LiveBackend, plugin: str
) -> list[LiveObject]:
    """The releases of a plugin, which is given by its code, its id or a recorded name.

    The newest version first; what is not a semantic version comes last.

    Where the API lists releases by code and cannot list plugins, an unknown code gives an empty
    list. InputError for a plugin that is certainly not there, or that has no code.
    """
    list_by_owner = live_backend.select_binding("release").list_belonging
    if list_by_owner is not None:
        owner_id = require_single_live_object_by_id_or_name(
            live_backend, "plugin", plugin
        ).observed.remote_id
        return _sort_newest_version_first(
            _decode_objects(live_backend, "release", list_by_owner(live_backend.api, owner_id))
        )
    plugin_id = parse_typed_id_or_none_for_name(
        "plugin", plugin
    ) or find_recorded_id_or_none_but_raise_for_address(live_backend, "plugin", plugin)
    code = (
        plugin
        if plugin_id is None
        else _require_plugin_code(
            require_raw_object_by_id(live_backend, "plugin", plugin_id), plugin
        )
    )
    try:
        raw_releases: Sequence[ServerObject] = live_backend.api.list_plugin_releases(code)
    # A 404 does not tell a plugin without releases from a code that no plugin has.
    except NotFound:
        raw_releases = ()
    if not raw_releases:
        require_live_object_where_absence_can_be_told(live_backend, "plugin", plugin)
    return _sort_newest_version_first(_decode_objects(live_backend, "release", raw_releases))


def _sort_newest_version_first(live_objects: list[LiveObject]) -> list[LiveObject]:
    keyed_objects = [
        (get_version_sort_key_or_none(str(live_object.observed.spec.get("version"))), live_object)
        for live_object in live_objects
    ]
    versioned_objects = [
        (version_key, live_object)
        for version_key, live_object in keyed_objects
        if version_key is not None
    ]
    versioned_objects.sort(key=lambda pair: pair[0], reverse=True)
    return [
        *(live_object for _, live_object in versioned_objects),
        *(live_object for version_key, live_object in keyed_objects if version_key is None),
    ]


def _require_plugin_code(raw: ServerObject, plugin: str) -> str:
    code = raw.get("code")
    if isinstance(code, str) and code:
        return code
    raise InputError.from_summary(
        "This plugin has no code",
        f"{plugin}: the API lists releases by the code of their plugin, and this one has none.",
        Text(Command("state list"), " shows the releases that the state knows, with their ids."),
    )


def _decode_objects(
    live_backend: LiveBackend, prefix: str, raws: Sequence[ServerObject]
) -> list[LiveObject]:
    binding = live_backend.select_binding(prefix)
    return [decode_live_object(live_backend, binding, raw) for raw in raws]
