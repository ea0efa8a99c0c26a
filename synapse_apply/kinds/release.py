"""The kind Release (API page, "Plugin Release Management"): its fields, identity, v1, v2, runs.

A release is published once and never changed. Its identity is CODE@VERSION, with the code of the
live plugin that it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from synapse_apply.kinds.descriptor import (
    Api,
    ApiBinding,
    FieldRule,
    FinalCall,
    ResourceType,
    VerificationSpec,
)
from synapse_apply.kinds.job_lists import iter_jobs_at_least_since
from synapse_apply.kinds.run_forms import PLATFORM_FORM
from synapse_apply.kinds.wire import (
    observe,
    require_remote_id_of_answer,
    select_sorted_non_null_fields,
    send_unchanging_update,
    to_wire_id,
)
from synapse_apply.model.command import Command
from synapse_apply.model.errors import NotFound, RemoteError
from synapse_apply.model.json_types import JsonObject, ServerObject, Spec
from synapse_apply.model.packages import is_package_digest
from synapse_apply.model.remote import parse_field_errors
from synapse_apply.model.resource import Lookup, Observed
from synapse_apply.model.secrets.secret_marks import MaskedText, SecretMarks

PREFIX = "release"
FIELDS = frozenset(
    {"plugin", "version", "changelog", "is_stable", "config", "requirements", "debug"}
)

_BAD_FILTER_STATUS = 400
# The key in `meta`, and in a release's free-form `config`, of the digest of the published package.
# A package's digest is sent in the release's `config` only where the manifest declares `config`:
# the field is the user's. The platform stores `meta` and shows it beside the package's own config.
# What `replaceable_if` marks (debug releases) has bytes that anybody may replace, so no digest of
# it is proof.
DIGEST_KEY = "x-synapse-apply-digest"
# Who manages the release. Only in `meta`: `config` is what the user's plugin gets.
OWNER_KEY = "x-synapse-apply-owner"
_OWNER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def derive_natural_key(spec: Spec, parents: Mapping[str, Observed]) -> str:
    """`code=CODE@VERSION`; "" as long as the plugin is not live, or has no code."""
    plugin = parents.get("plugin")
    code = plugin.spec.get("code") if plugin else None
    return f"code={code}@{spec['version']}" if code and spec.get("version") else ""


def _decode_v1(raw: ServerObject, marks: SecretMarks) -> Observed:
    spec = select_sorted_non_null_fields(raw, FIELDS)
    owner = spec.get("plugin")
    if owner is not None:
        spec["plugin"] = (
            require_remote_id_of_answer(owner) if isinstance(owner, Mapping) else str(owner)
        )
    extra: dict[str, Any] = {}
    config, meta = spec.get("config"), raw.get("meta")
    if isinstance(config, Mapping) and DIGEST_KEY in config:
        spec["config"] = {key: value for key, value in config.items() if key != DIGEST_KEY}
    for container in (meta, config):
        # Both may be edited by others: any other text says nothing about the published bytes.
        if isinstance(container, Mapping) and is_package_digest(container.get(DIGEST_KEY)):
            extra.setdefault("digest", container[DIGEST_KEY])
    owner = meta.get(OWNER_KEY) if isinstance(meta, Mapping) else None
    is_name = isinstance(owner, str) and _OWNER_NAME.fullmatch(owner)
    return observe(
        PREFIX,
        "v1",
        raw,
        spec,
        marks,
        extra=extra,
        missing_fields=FIELDS - raw.keys(),
        owner=str(owner) if is_name else "",
    )


def _encode(names: Collection[str], spec: Spec) -> JsonObject:
    """The body with the fields of these names: the plugin as a number if its id is one.

    A release that is created with its plugin has no `plugin` id yet.
    """
    return {
        name: to_wire_id(str(value)) if name == "plugin" else value
        for name, value in spec.items()
        if name in names
    }


def _platform_fields(spec: Spec, key: str) -> JsonObject:
    """The fields as the platform's service takes them: the plugin by its code, digest, owner.

    A code of digits is not sent, since it would be taken for an id. The digest is sent in `meta`
    and in `config`, from where an answer may return it.
    """
    body: dict[str, Any] = {}
    marks = {DIGEST_KEY: spec.get("digest"), OWNER_KEY: spec.get("owner")}
    if meta := {key: text for key, text in marks.items() if text}:
        body["meta"] = meta
    code = key.partition("=")[2].removesuffix(f"@{spec.get('version')}")
    if code and not code.isdecimal():
        body["plugin"] = code
    if DIGEST_KEY in meta and isinstance(spec.get("config"), Mapping):
        body["config"] = {**spec["config"], DIGEST_KEY: meta[DIGEST_KEY]}
    return body


def _release_by_key(api: Api, key: str) -> Sequence[ServerObject]:
    try:
        return [api.get_plugin_release_by_lookup(key.partition("=")[2], expand=None)]
    except NotFound:
        return []


def list_releases_by_code(api: Api, code: str) -> Sequence[ServerObject]:
    """The releases of the plugin with this code; [] if there is no such plugin.

    For an unknown code servers answer an empty list, 404, or 400 on that filter.
    """
    try:
        return api.list_plugin_releases(code)
    except NotFound:
        return []
    except RemoteError as failure:
        # Only a refusal of this very filter means an unknown plugin.
        refused_paths = {path[:1] for path in parse_field_errors(failure.detail)}
        if failure.status_code == _BAD_FILTER_STATUS and refused_paths == {("plugin",)}:
            return []
        raise


def _releases_of_plugin(api: Api, owner: Observed) -> Sequence[ServerObject] | None:
    """The releases of one plugin; None if a list cannot tell.

    A server takes a code of digits for an id, and then lists the releases of another plugin.
    """
    code = owner.spec.get("code")
    listed = list_releases_by_code(api, code) if code else []
    owned_releases = []
    for raw in listed:
        plugin = raw.get("plugin")
        plugin_id = plugin.get("id") if isinstance(plugin, Mapping) else plugin
        if plugin_id is None or str(plugin_id) == owner.remote_id:
            owned_releases.append(raw)
    return owned_releases if owned_releases or (code and not str(code).isdecimal()) else None


def _run_body(spec: Spec, verify: Mapping[str, Any]) -> JsonObject:
    if any(name in verify for name in PLATFORM_FORM):
        names = (*PLATFORM_FORM, "context")
        run_fields = {name: verify[name] for name in names if name in verify}
        return {"params": {}, **run_fields, "version": spec["version"]}
    return {"parameters": verify.get("parameters", {}), "context": verify.get("context", {})}


def _file_url(raw: ServerObject) -> str:
    """The signed URL in `file`, which needs no token; "" if the server has something else there."""
    url = raw.get("file")
    return url if isinstance(url, str) and not isinstance(url, MaskedText) else ""


RUN_VERIFICATION = VerificationSpec(
    owner_field="plugin",
    build_body=_run_body,
    send_run=lambda api, owner, body: api.run_plugin(to_wire_id(owner), body),
    list_jobs=lambda api, owner, since: iter_jobs_at_least_since(
        api, {"plugin": to_wire_id(owner)}, since
    ),
    build_repair_command=lambda owner: Command("bump", owner.name, "patch"),
)

V1 = ApiBinding(
    api="v1",
    fields=FIELDS,
    lookup={"code": Lookup.COMPLETE},
    read_object=lambda api, object_id: api.get_plugin_release(to_wire_id(object_id)),
    find_by_key=_release_by_key,
    list_members_or_none=_releases_of_plugin,
    create_object=lambda api, body, key: api.create_plugin_release(body, idempotency_key=key),
    decode=_decode_v1,
    encode=lambda spec: _encode(spec.keys() - {"digest", "owner"}, spec),
    extract_file_url=_file_url,
    encode_for_platform=_platform_fields,
)

V2_READ_ONLY = (
    "This backend's API v2 is read-only: use API v1 for plugins and releases, with "
    "`api: {plugin: v1, release: v1}` for the target in the project file."
)
# The fields of a release in v2; the server reads config and the rest from the package.
LOCKED_FIELD = "locked"
FIELDS_V2 = frozenset({"plugin", "version", LOCKED_FIELD})


def _v2_releases(api: Api) -> Sequence[ServerObject]:
    """All releases, each with a `code` added: in v2 only plugins have their code."""
    codes = {str(plugin["id"]): plugin["code"] for plugin in api.v2.list_plugins()}
    releases = api.v2.list_plugin_releases()
    return [{**raw, "code": codes.get(str(raw["plugin_id"]))} for raw in releases]


def _decode_v2(raw: ServerObject, marks: SecretMarks) -> Observed:
    locked = bool(raw.get("is_released"))
    spec = {"plugin": str(raw["plugin_id"]), "version": raw["version"], LOCKED_FIELD: locked}
    return observe(PREFIX, "v2", raw, spec, marks)


def _code_for_runs(api: Api, plugin: str) -> str:
    """The code of a plugin of v2, by which v1, which has the runs, knows it; ids differ.

    RemoteError for a code of digits, which v1 would take for an id.
    """
    code = str(api.v2.get_plugin(to_wire_id(plugin))["code"])
    if code.isdecimal():
        raise RemoteError(f"API v1, which runs it, would read the code {code} as an id")
    return code


# Jobs are started on v1; v2 has the same jobs under UUIDs.
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


V2 = ApiBinding(
    api="v2",
    fields=FIELDS_V2,
    lookup={"code": Lookup.COMPLETE},
    read_object=lambda api, object_id: api.v2.get_plugin_release(to_wire_id(object_id)),
    list_objects=_v2_releases,
    lists_whole_objects=True,
    list_once_or_none=lambda api, *limits: api.v2.list_releases_once(*limits),
    list_natural_keys=lambda raw: (
        (f"code={raw['code']}@{raw['version']}",) if raw.get("code") else ()
    ),
    create_object=lambda api, body, key: api.v2.create_plugin_release(body, idempotency_key=key),
    delete_object=lambda api, object_id: api.v2.delete_plugin_release(to_wire_id(object_id)),
    decode=_decode_v2,
    encode=partial(_encode, ("plugin", "version")),
    immutable={LOCKED_FIELD: "API v2 cannot remove the lock of a release"},
    final_call=FinalCall(
        LOCKED_FIELD,
        "lock",
        lambda api, object_id: api.v2.lock_plugin_release(to_wire_id(object_id)),
        "locked permanently: this cannot be undone, and the version cannot be published again",
    ),
    resolve_run_owner=_code_for_runs,
    select_job_calls=lambda api, job: api.v2 if _UUID.fullmatch(job) else api,
    list_belonging=lambda api, plugin: api.v2.list_plugin_releases({"plugin": to_wire_id(plugin)}),
    send_dry_run_probe=send_unchanging_update,
    extract_file_url=_file_url,
    read_only_advice=V2_READ_ONLY,
)

_UNCHANGEABLE_ADVICE = "published releases never change: publish a new version"

# On the platform these come from config.yaml in the package; on the API page they are form fields.
_PACKAGED_FIELDS = frozenset({"changelog", "config", "is_stable", "requirements"})

RELEASE = ResourceType(
    kind="Release",
    prefix=PREFIX,
    rank=2,
    rules={
        name: FieldRule(
            name,
            required=name in {"plugin", "version"},
            immutable=True,
            free_form=name == "config",
            packaged=name in _PACKAGED_FIELDS,
            references="plugin" if name == "plugin" else "",
            fixed_hint=_UNCHANGEABLE_ADVICE,
        )
        for name in sorted(FIELDS)
    }
    # A lock cannot be undone: a manifest that drops the field changes nothing.
    | {LOCKED_FIELD: FieldRule(LOCKED_FIELD, reset_value=True)},
    derive_natural_key=derive_natural_key,
    identity_fields=("plugin", "version"),
    key_fields=frozenset({"plugin", "version", "code"}),
    bindings={"v1": V1, "v2": V2},
    series_field="plugin",
    version_field="version",
    carries_package=True,
    update_hint=_UNCHANGEABLE_ADVICE,
    verification_spec=RUN_VERIFICATION,
    replaceable_if="debug",
)
