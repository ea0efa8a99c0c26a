"""Plugins (API page, "Plugin Management"): created and updated by id, found through releases.

The page of v1 has no plugin list, the platform has: each backend is probed. Without it a plugin is
found by its code through its releases, which proves presence but never absence. v2 lists plugins,
the tenant's alone: a code it does not list may still be another tenant's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synapse_apply.kinds.descriptor import (
    Binding,
    Bootstrap,
    FieldRule,
    Raw,
    ResourceType,
    Takes,
    UpdateMode,
)
from synapse_apply.kinds.harmless import changes_nothing
from synapse_apply.kinds.job_lists import JobOwners
from synapse_apply.kinds.release import V2_READ_ONLY, releases_of
from synapse_apply.kinds.wire import lacking, pick, remote_id, secure, wire_id
from synapse_apply.model.errors import NotFound, RemoteError
from synapse_apply.model.job import job_of
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Lookup, Observed

PREFIX = "plugin"
LIST = "plugin.list"
# Who sees and runs it: sent only where a manifest says so, since an update with them could publish.
SHARING = {"is_public": False, "is_active": True, "system_only": False, "detail": {}}
FIELDS = frozenset(
    {"name", "code", "description", "version", "author", "category", "configuration", *SHARING}
)

if TYPE_CHECKING:
    from synapse_apply.model.ports import Api, IsOfUse


def natural_key(spec: Mapping[str, Any], _parents: Mapping[str, Observed]) -> str:
    """The code where one is declared (globally unique), else the name (which is not)."""
    if spec.get("code"):
        return f"code={spec['code']}"
    return f"name={spec['name']}" if spec.get("name") else ""


def _decode(raw: Raw, marks: SecretMarks) -> Observed:
    found, lacks = remote_id(raw), lacking(raw, FIELDS)
    spec = secure(PREFIX, pick(raw, FIELDS), marks, "v1", found, _keys(raw))
    return Observed(found, "v1", spec, lacks=lacks, is_foreign=_is_platforms_own(raw))


def _is_platforms_own(raw: Raw) -> bool:
    is_nobodys = "tenant" in raw and raw["tenant"] is None and raw.get("is_public") is True
    return raw.get("system_only") is True or is_nobodys


def _is_ours(api: Api, raw: Raw) -> bool:
    """Whether a plugin may be the tenant's: lists show public ones of others, and the platform's.

    Only what is said can tell: a tenant by its name, where ours is known. An id says nothing of it.
    """
    if _is_platforms_own(raw):
        return False
    owner, ours = raw.get("tenant"), api.tenant.casefold()
    if isinstance(owner, Mapping):
        names = [owner[name] for name in ("code", "name", "slug") if name in owner]
    else:
        names = [owner]
    said = {name.casefold() for name in names if isinstance(name, str) and name}
    return not ours or not said or ours in said


def _ours_of(api: Api, listed: Sequence[Raw]) -> Sequence[Raw]:
    return [raw for raw in listed if _is_ours(api, raw)]


def _glance(api: Api, most_pages: int, is_of_use: IsOfUse) -> Sequence[Raw] | None:
    listed = api.glance_at_plugins(most_pages, is_of_use)
    return None if listed is None else _ours_of(api, listed)


def _keys(raw: Raw) -> tuple[str, ...]:
    return tuple(f"{form}={raw[form]}" for form in ("code", "name") if raw.get(form))


def _find(api: Api, key: str) -> Sequence[Raw]:
    form, _, code = key.partition("=")
    if form != "code":
        return []
    for release in releases_of(api, code):
        owner = release.get("plugin")
        found = owner.get("id") if isinstance(owner, Mapping) else owner
        if found is not None:
            plugin = _read_if_there(api, str(found))
            if plugin is None or plugin.get("code") != code or not _is_ours(api, plugin):
                return []
            return [plugin]
    return []


def _read_if_there(api: Api, found: str) -> Raw | None:
    try:
        return api.get_plugin(wire_id(found))
    except NotFound:
        return None


def _named_by_jobs(api: Api) -> Iterator[str]:
    owners = JobOwners(api)
    ids: dict[str, str] = {}
    for raw in api.iterate_jobs():
        try:
            job = owners.complete(job_of(raw))
        except ValueError:
            raise RemoteError("the list of jobs holds something that is no job") from None
        if job.plugin:
            yield job.plugin
        elif job.plugin_code:
            if job.plugin_code not in ids:
                found = _find(api, f"code={job.plugin_code}")
                ids[job.plugin_code] = remote_id(found[0]) if found else ""
            if ids[job.plugin_code]:
                yield ids[job.plugin_code]


# The platform's list (vendor-facts.md, section 8), closed on v2 and on its service of v1.
CATEGORIES = (
    "neural_net",
    "export",
    "upload",
    "smart_tool",
    "pre_annotation",
    "post_annotation",
    "data_validation",
    "converter",
)
_WORDS = f"one of {', '.join(CATEGORIES)}"

# Newer backends make a first release along with a plugin, and may ask for what it is made of.
_OF_THE_FIRST_RELEASE = (
    "`source`, `data_type` and `file` are the input of the plugin's first release, which this "
    "backend wants along with the plugin: create both on API v2 (`api: {plugin: v2, release: v2}` "
    "of the target in the project file), or create the plugin in the product and import it."
)

V1 = Binding(
    api="v1",
    fields=FIELDS,
    lookup={"code": Lookup.POSITIVE},
    lookup_if={LIST: {"code": Lookup.COMPLETE, "name": Lookup.COMPLETE}},
    read=lambda api, found: api.get_plugin(wire_id(found)),
    find=_find,
    list=lambda api: _ours_of(api, api.list_plugins()),
    glance=_glance,
    is_ours=_is_ours,
    list_needs=LIST,
    has_list=lambda api: api.lists_plugins(),
    named_by_jobs=_named_by_jobs,
    keys=_keys,
    create=lambda api, body, key: api.create_plugin(body, idempotency_key=key),
    update=lambda api, found, body: api.update_plugin(wire_id(found), body),
    update_mode=UpdateMode.PUT,
    decode=_decode,
    encode=dict,
    platform_takes={
        "code": Takes("a text that no other plugin has"),
        "category": Takes(_WORDS, choices=frozenset(CATEGORIES)),
    },
    if_refused=dict.fromkeys(("source", "data_type", "file"), _OF_THE_FIRST_RELEASE),
)

# What v2 carries of a plugin; version, author and configuration are the release's business there.
FIELDS_V2 = frozenset({"name", "code", "description", "category"})


def _decode_v2(raw: Raw, marks: SecretMarks) -> Observed:
    found = remote_id(raw)
    spec = secure(PREFIX, pick(raw, FIELDS_V2), marks, "v2", found, _keys(raw))
    return Observed(found, "v2", spec)


def _with_release(body: Mapping[str, Any], release: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, "source": "file", **release}


def _release_of(raw: Raw) -> Raw | None:
    release = raw.get("release")
    if not isinstance(release, Mapping) or "id" not in release:
        return None
    return {**release, "plugin_id": raw["id"]}


V2 = Binding(
    api="v2",
    fields=FIELDS_V2,
    lookup={"code": Lookup.COMPLETE, "name": Lookup.COMPLETE},
    read=lambda api, found: api.v2.get_plugin(wire_id(found)),
    list=lambda api: api.v2.list_plugins(),
    glance=lambda api, most, is_of_use: api.v2.glance_at_plugins(most, is_of_use),
    keys=_keys,
    create=lambda api, body, key: api.v2.create_plugin(body, idempotency_key=key),
    update=lambda api, found, body: api.v2.update_plugin(wire_id(found), body),
    update_mode=UpdateMode.PATCH,
    decode=_decode_v2,
    encode=dict,
    immutable={"category": "API v2 changes only name and description of a plugin"},
    takes={
        "code": Takes(
            "lower-case letters, digits and `-` between them",
            required=True,
            pattern="[a-z0-9]([a-z0-9-]*[a-z0-9])?",
        ),
        "category": Takes(_WORDS, to_create=True, choices=frozenset(CATEGORIES)),
    },
    bootstraps=Bootstrap("release", body=_with_release, member=_release_of),
    harmless=changes_nothing,
    read_only=V2_READ_ONLY,
)

PLUGIN = ResourceType(
    kind="Plugin",
    prefix=PREFIX,
    rank=1,
    rules={
        "name": FieldRule("name", required=True),
        "code": FieldRule(
            "code",
            immutable=True,
            fixed_hint="a plugin's code never changes: declare a new plugin under a new name",
        ),
        "description": FieldRule("description", reset=""),
        "version": FieldRule("version", reset=""),
        "author": FieldRule("author", reset=""),
        "category": FieldRule("category", reset=""),
        "configuration": FieldRule("configuration", free_form=True, reset={}),
    }
    | {
        name: FieldRule(name, free_form=name == "detail", usual=usual)
        for name, usual in SHARING.items()
    },
    natural_key=natural_key,
    identity=("code",),
    key_fields=frozenset({"code", "name"}),
    global_keys=frozenset({"code"}),
    bindings={"v1": V1, "v2": V2},
)
