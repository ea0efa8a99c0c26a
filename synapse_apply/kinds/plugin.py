"""The kind Plugin (API page, "Plugin Management"): fields, identity, whose a plugin is, its calls.

Lists show public plugins of other tenants, too. Those are left out here, so that none is found,
exported or adopted; one of the platform is refused in a plan (`planning/decide_declared.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from synapse_apply.kinds.descriptor import (
    Api,
    ApiBinding,
    Bootstrap,
    CreateConstraint,
    FieldRule,
    ResourceType,
    UpdateMode,
)
from synapse_apply.kinds.job_lists import JobOwners
from synapse_apply.kinds.release import V2_READ_ONLY, list_releases_by_code
from synapse_apply.kinds.wire import (
    observe,
    require_remote_id_of_answer,
    select_sorted_non_null_fields,
    send_unchanging_update,
    to_wire_id,
)
from synapse_apply.model.errors import NotFound, RemoteError
from synapse_apply.model.job import parse_job
from synapse_apply.model.json_types import PageCheck, ServerObject, Spec
from synapse_apply.model.resource import Lookup, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks


def is_platform_owned(raw: ServerObject) -> bool:
    """Whether only the platform may change a plugin, by `system_only` or a public one of nobody."""
    has_no_tenant = "tenant" in raw and raw["tenant"] is None and raw.get("is_public") is True
    return raw.get("system_only") is True or has_no_tenant


def may_belong_to_tenant(api: Api, raw: ServerObject) -> bool:
    """Whether a plugin may be the tenant's own.

    False only if the answer says so: by a tenant's name other than ours, where ours is known. A
    tenant's id cannot be compared with our name.
    """
    if is_platform_owned(raw):
        return False
    owner, tenant = raw.get("tenant"), api.tenant.casefold()
    if isinstance(owner, Mapping):
        names = [owner[name] for name in ("code", "name", "slug") if name in owner]
    else:
        names = [owner]
    owner_names = {name.casefold() for name in names if isinstance(name, str) and name}
    return not tenant or not owner_names or tenant in owner_names


def select_tenant_plugins(api: Api, plugins: Sequence[ServerObject]) -> Sequence[ServerObject]:
    """The plugins that may be the tenant's own, in their order."""
    return [raw for raw in plugins if may_belong_to_tenant(api, raw)]


# The kind Plugin (API page, "Plugin Management"): fields, identity, whose a plugin is, its calls.
#
# The API page of v1 has no list of plugins, the platform has one: each backend is probed. Without a
# list a plugin is found by its code through its releases, which proves presence but never absence.
# v2 lists the plugins of one tenant: a code that is not listed may be taken by another tenant.

PREFIX = "plugin"
LIST_CAPABILITY = "plugin.list"
# Visibility, with the usual values. Sent only if declared: an update with them could publish it.
SHARING = {"is_public": False, "is_active": True, "system_only": False, "detail": {}}
FIELDS = frozenset(
    {"name", "code", "description", "version", "author", "category", "configuration", *SHARING}
)


def derive_natural_key(spec: Spec, _parents: Mapping[str, Observed]) -> str:
    """`code=CODE` if a code is declared (globally unique), else `name=NAME` (not unique)."""
    if spec.get("code"):
        return f"code={spec['code']}"
    return f"name={spec['name']}" if spec.get("name") else ""


def _decode_v1(raw: ServerObject, marks: SecretMarks) -> Observed:
    return observe(
        PREFIX,
        "v1",
        raw,
        select_sorted_non_null_fields(raw, FIELDS),
        marks,
        _list_natural_keys(raw),
        missing_fields=FIELDS - raw.keys(),
        is_platform_owned=is_platform_owned(raw),
    )


def _tenant_plugins(
    api: Api, max_pages: int, is_first_page_useful: PageCheck
) -> Sequence[ServerObject] | None:
    plugins = api.list_plugins_once(max_pages, is_first_page_useful)
    return None if plugins is None else select_tenant_plugins(api, plugins)


def _list_natural_keys(raw: ServerObject) -> tuple[str, ...]:
    return tuple([f"{form}={raw[form]}" for form in ("code", "name") if raw.get(form)])


def _plugin_by_code(api: Api, key: str) -> Sequence[ServerObject]:
    form, _, code = key.partition("=")
    # Releases are listed by a plugin's code only.
    if form != "code":
        return []
    for release in list_releases_by_code(api, code):
        owner = release.get("plugin")
        plugin_id = owner.get("id") if isinstance(owner, Mapping) else owner
        if plugin_id is not None:
            with suppress(NotFound):
                plugin = api.get_plugin(to_wire_id(str(plugin_id)))
                # A server may have taken a code of digits for the id of another plugin.
                if plugin.get("code") == code and may_belong_to_tenant(api, plugin):
                    return [plugin]
            return []
    return []


def _ids_of_jobs(api: Api) -> Iterator[str]:
    owners = JobOwners(api)
    ids: dict[str, str] = {}
    for raw in api.iterate_jobs():
        try:
            job = owners.with_plugin_of_release(parse_job(raw))
        except ValueError:
            raise RemoteError("the list of jobs holds something that is not a job") from None
        if job.plugin:
            yield job.plugin
        elif job.plugin_code:
            if job.plugin_code not in ids:
                matches = _plugin_by_code(api, f"code={job.plugin_code}")
                ids[job.plugin_code] = require_remote_id_of_answer(matches[0]) if matches else ""
            if ids[job.plugin_code]:
                yield ids[job.plugin_code]


# The platform's categories (vendor-facts.md, section 8); v2 and its service of v1 accept no others.
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
_CATEGORY_RULE = f"one of {', '.join(CATEGORIES)}"

# Newer backends create a first release with each plugin, and may require the input for it.
_FIRST_RELEASE_ADVICE = (
    "`source`, `data_type` and `file` are the input of the plugin's first release, which this "
    "backend requires with the plugin: create both on API v2 (`api: {plugin: v2, release: v2}` "
    "for the target in the project file), or create the plugin in Synapse and import it."
)

V1 = ApiBinding(
    api="v1",
    fields=FIELDS,
    lookup={"code": Lookup.POSITIVE},
    lookup_by_capability={LIST_CAPABILITY: {"code": Lookup.COMPLETE, "name": Lookup.COMPLETE}},
    read_object=lambda api, object_id: api.get_plugin(to_wire_id(object_id)),
    find_by_key=_plugin_by_code,
    list_objects=lambda api: select_tenant_plugins(api, api.list_plugins()),
    list_once_or_none=_tenant_plugins,
    belongs_to_tenant=may_belong_to_tenant,
    list_capability=LIST_CAPABILITY,
    probe_list=lambda api: api.ask_server_if_it_lists_plugins(),
    iter_ids_named_by_jobs=_ids_of_jobs,
    list_natural_keys=_list_natural_keys,
    create_object=lambda api, body, key: api.create_plugin(body, idempotency_key=key),
    update_object=lambda api, object_id, body: api.update_plugin(to_wire_id(object_id), body),
    update_mode=UpdateMode.PUT,
    decode=_decode_v1,
    encode=dict,
    platform_constraints={
        "code": CreateConstraint("a string that no other plugin has"),
        "category": CreateConstraint(_CATEGORY_RULE, choices=frozenset(CATEGORIES)),
    },
    advice_by_refused_field=dict.fromkeys(("source", "data_type", "file"), _FIRST_RELEASE_ADVICE),
)

# The fields of a plugin in v2, where version, author and configuration belong to releases.
FIELDS_V2 = frozenset({"name", "code", "description", "category"})


def _decode_v2(raw: ServerObject, marks: SecretMarks) -> Observed:
    spec = select_sorted_non_null_fields(raw, FIELDS_V2)
    return observe(PREFIX, "v2", raw, spec, marks, _list_natural_keys(raw))


def _made_release(raw: ServerObject) -> ServerObject | None:
    release = raw.get("release")
    if not isinstance(release, Mapping) or "id" not in release:
        return None
    return {**release, "plugin_id": raw["id"]}


V2 = ApiBinding(
    api="v2",
    fields=FIELDS_V2,
    lookup={"code": Lookup.COMPLETE, "name": Lookup.COMPLETE},
    read_object=lambda api, object_id: api.v2.get_plugin(to_wire_id(object_id)),
    list_objects=lambda api: api.v2.list_plugins(),
    list_once_or_none=lambda api, *limits: api.v2.list_plugins_once(*limits),
    list_natural_keys=_list_natural_keys,
    create_object=lambda api, body, key: api.v2.create_plugin(body, idempotency_key=key),
    update_object=lambda api, object_id, body: api.v2.update_plugin(to_wire_id(object_id), body),
    update_mode=UpdateMode.PATCH,
    decode=_decode_v2,
    encode=dict,
    immutable={"category": "API v2 changes only name and description of a plugin"},
    create_constraints={
        "code": CreateConstraint(
            "lower-case letters, digits and `-` between them",
            required=True,
            pattern="[a-z0-9]([a-z0-9-]*[a-z0-9])?",
        ),
        "category": CreateConstraint(
            _CATEGORY_RULE, required_to_create=True, choices=frozenset(CATEGORIES)
        ),
    },
    bootstrap=Bootstrap(
        "release",
        build_body=lambda body, release: {**body, "source": "file", **release},
        extract_member=_made_release,
    ),
    send_dry_run_probe=send_unchanging_update,
    read_only_advice=V2_READ_ONLY,
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
        "description": FieldRule("description", reset_value=""),
        "version": FieldRule("version", reset_value=""),
        "author": FieldRule("author", reset_value=""),
        "category": FieldRule("category", reset_value=""),
        "configuration": FieldRule("configuration", free_form=True, reset_value={}),
    }
    | {
        name: FieldRule(name, free_form=name == "detail", usual_value=usual)
        for name, usual in SHARING.items()
    },
    derive_natural_key=derive_natural_key,
    identity_fields=("code",),
    key_fields=frozenset({"code", "name"}),
    global_keys=frozenset({"code"}),
    bindings={"v1": V1, "v2": V2},
)
