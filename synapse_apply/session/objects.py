"""Use case: look at plugins, releases and storages as they are live; secrets come out wrapped."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.kinds.descriptor import Raw
from synapse_apply.kinds.search import probe
from synapse_apply.model.errors import InputError, NotFound
from synapse_apply.model.versions import order
from synapse_apply.session.reach import Live, Reach, find, given_id, live, read, recorded_id


def get(reach: Reach, prefix: str, text: str) -> Live:
    """The object of a kind that is meant: by id, by a recorded name, or by its natural key."""
    return find(reach, prefix, text)


def owner_of(reach: Reach, prefix: str, member: Live) -> Live | None:
    """The object that a live one belongs to; None where it names none. InputError for none there.

    It is read by its own call: what servers put into `expand` is of forms that differ.
    """
    kind = reach.kind(prefix)[0]
    owner = member.observed.spec.get(kind.series)
    if owner is None:
        return None
    prefix = kind.rules[kind.series].references
    return live(reach, reach.kind(prefix)[1], read(reach, prefix, str(owner)))


def storages(reach: Reach) -> list[Live]:
    """Every storage this token sees. The items of a list may be short of fields."""
    _, binding = reach.kind("storage")
    return _lives(reach, "storage", probe(reach.api, binding) or ())


def releases(reach: Reach, plugin: str) -> list[Live]:
    """The releases of a plugin, named by its code, its id, or the name that state knows it by.

    The newest version first; what is no semantic version comes last.

    Where releases are listed by the code, there are none also of a code that no plugin has: the API
    does not tell; InputError for a plugin without a code.
    """
    belonging = reach.kind("release")[1].belonging
    if belonging is not None:
        owner = find(reach, "plugin", plugin).observed.remote_id
        return _by_version(_lives(reach, "release", belonging(reach.api, owner)))
    known = given_id("plugin", plugin) or recorded_id(reach, "plugin", plugin)
    code = plugin if known is None else _code(read(reach, "plugin", known), plugin)
    try:
        found: Sequence[Raw] = reach.api.list_plugin_releases(code)
    except NotFound:
        found = ()
    return _by_version(_lives(reach, "release", found))


def _by_version(lives: list[Live]) -> list[Live]:
    versions = [(order(str(one.observed.spec.get("version"))), one) for one in lives]
    ordered = [(at, one) for at, one in versions if at is not None]
    ordered.sort(key=lambda pair: pair[0], reverse=True)
    return [*(one for _, one in ordered), *(one for at, one in versions if at is None)]


def _code(raw: Raw, plugin: str) -> str:
    code = raw.get("code")
    if isinstance(code, str) and code:
        return code
    raise InputError.of(
        "This plugin has no code",
        f"{plugin}: the API lists releases by the code of their plugin, and this one has none.",
        "`synapse-apply state list` shows the releases that the state knows, with their ids.",
    )


def _lives(reach: Reach, prefix: str, raws: Sequence[Raw]) -> list[Live]:
    _, binding = reach.kind(prefix)
    return [live(reach, binding, raw) for raw in raws]
