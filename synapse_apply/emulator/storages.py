"""Storages: their fields, how the server answers, and from which source each behaviour is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synapse_apply.emulator.core.backend import format_iso
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest, Endpoint
from synapse_apply.emulator.core.fields import (
    REQUIRED_MESSAGE,
    AnswerObject,
    ApiError,
    Fact,
    FactSource,
    Field,
    build_error_of_field,
    build_not_found_error,
    convert_sent_fields,
    with_default_values,
)
from synapse_apply.emulator.core.paging import add_v1_filters, build_page_answer
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject


def session_refused(code: str, detail: str) -> ApiError:
    return ApiError(400, {"code": code, "detail": detail})


def require_keys(missing: Sequence[str]) -> None:
    """Raises ApiError (400) for these missing keys of `configuration`, if there are any."""
    if missing:
        raise ApiError(400, {"configuration": {key: [REQUIRED_MESSAGE] for key in missing}})


FIELDS = (
    Field("name", required=True),
    Field("provider", required=True),
    Field("category", "choice", choices=("internal", "external"), default="external"),
    Field("configuration", "object", default={}),
    Field("is_default", "boolean", default=False),
)
SHORT_FIELDS = ("id", "name", "provider", "category")
MASK = "********"
_S3_SECRET_KEYS = frozenset({"access_key", "secret_key", "access_key_id", "secret_access_key"})
SECRET_KEYS: dict[str, frozenset[str]] = {
    "amazon_s3": _S3_SECRET_KEYS,
    "minio": _S3_SECRET_KEYS,
    "gcp": frozenset({"credentials"}),
    "file_system": frozenset(),
    "sftp": frozenset({"password", "private_key", "private_key_passphrase"}),
    "smb": frozenset({"username", "password"}),
    "synology": frozenset({"password", "otp_code"}),
}
REQUIRED_KEYS: dict[str, tuple[str, ...]] = {
    "amazon_s3": ("bucket_name", "access_key", "secret_key"),
    "minio": ("bucket_name", "access_key", "secret_key"),
    "gcp": ("bucket_name", "credentials"),
    "file_system": ("location",),
    "sftp": ("host", "username"),
    "smb": ("host", "share"),
    "synology": ("url", "username", "password"),
}
# Providers outside of SECRET_KEYS have unknown keys: no session, and any value may be a secret.
SESSION_PROVIDERS = frozenset(SECRET_KEYS) - {"smb"}


def list_missing_keys(provider: str, configuration: Mapping[str, Any]) -> list[str]:
    """The keys that a provider requires and the configuration lacks."""
    return [key for key in REQUIRED_KEYS.get(provider, ()) if not configuration.get(key)]


def redact_configuration(provider: str, configuration: Any, secrets: str) -> Any:
    """The configuration as an answer shows it: `secrets` is plain, omitted or masked.

    It is an object, unless an outside edit made it something else.
    """
    if secrets == "plain":
        return configuration
    if not isinstance(configuration, dict):
        return _mask_value(configuration) if secrets == "masked" else None
    # Of an unknown provider any value may be a secret.
    secret_keys = SECRET_KEYS.get(provider)
    redacted: dict[str, Any] = {}
    for key, value in configuration.items():
        if secret_keys is not None and key not in secret_keys:
            redacted[key] = value
        elif secrets == "masked":
            redacted[key] = _mask_value(value)
    return redacted


def _mask_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mask_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mask_value(item) for item in value]
    return MASK


def build_storage_json(
    row: StoredObject, *, secrets: str, with_configuration: bool
) -> AnswerObject:
    values = {field.name: row.body.get(field.name, field.default) for field in FIELDS}
    configuration = values.pop("configuration")
    if with_configuration:
        values["configuration"] = redact_configuration(values["provider"], configuration, secrets)
    return {
        "id": row.id,
        **values,
        "created": format_iso(row.created),
        "modified": format_iso(row.body.get("modified", row.created)),
    }


SESSION_SECONDS = 3600
_PURPOSE_FIELDS = (Field("purpose", "choice", choices=("read", "write"), default="read"),)


def _require_storage_in_path(request: EmulatorRequest) -> StoredObject:
    """The tenant's storage with the id in the path. Raises ApiError (404)."""
    text = request.path["id"]
    row = None
    if text.isdecimal() and len(text) < 20:
        row = request.backend.store.find_by_id("storage", int(text), request.tenant)
    if row is None:
        raise build_not_found_error()
    return row


def _build_storage_json(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    is_in_session = request.has_server_switch_value("credential_regime", "session")
    return build_storage_json(
        row,
        # In this regime the session alone shows credentials, whatever the switch `secrets` says.
        secrets="omitted" if is_in_session else request.backend.switches["secrets"],
        with_configuration=request.has_server_switch_value("configuration", "always")
        or request.is_query_true("with_configuration"),
    )


def read_storage(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(_build_storage_json(request, _require_storage_in_path(request)))


def list_storages(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's storages of `?category=`, or all, by the switch `storage_pages`."""
    store = request.backend.store
    query = ObjectQuery(
        request.tenant, newest_first=request.has_server_switch_value("list_order", "newest")
    )
    query = add_v1_filters(request, query)
    # Filtered in Python, since the category is no column.
    category = request.query.get("category")
    if category is not None and category not in ("internal", "external"):
        raise build_error_of_field(
            "category", f"Select a valid choice. {category} is not one of the available choices."
        )
    if request.has_server_switch_value("storage_pages", "bare"):
        rows = [row for row in store.select("storage", query) if _has_category(row, category)]
        return EmulatorAnswer([_build_list_item(request, row) for row in rows])
    if category is None:
        return build_page_answer(
            request,
            store.count("storage", query),
            lambda limit, offset: [
                _build_list_item(request, row)
                for row in store.select("storage", query, limit=limit, offset=offset)
            ],
        )
    rows = [row for row in store.select("storage", query) if _has_category(row, category)]
    return build_page_answer(
        request,
        len(rows),
        lambda limit, offset: [
            _build_list_item(request, row) for row in rows[offset : offset + limit]
        ],
    )


def _has_category(row: StoredObject, category: str | None) -> bool:
    return category is None or row.body["category"] == category


def _build_list_item(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    item = _build_storage_json(request, row)
    if request.backend.switches.has_value("list_items", "short"):
        return {name: item[name] for name in SHORT_FIELDS}
    return item


def create_storage(request: EmulatorRequest) -> EmulatorAnswer:
    values = with_default_values(FIELDS, convert_sent_fields(FIELDS, request.body))
    if request.has_server_switch_value("storage_keys", "checked"):
        require_keys(list_missing_keys(values["provider"], values["configuration"]))
    now = request.backend.clock.now()
    row = request.backend.store.insert(
        "storage", request.tenant, {**values, "modified": now}, created=now
    )
    return EmulatorAnswer(_build_storage_json(request, row), 201)


def answer_configuration(request: EmulatorRequest) -> EmulatorAnswer:
    """The configuration with its credentials, valid for an hour. Raises ApiError (400, 404)."""
    row = _require_storage_in_path(request)
    # Only checked: a session to read and one to write show the same configuration.
    convert_sent_fields(_PURPOSE_FIELDS, request.body)
    provider = row.body["provider"]
    if provider == "smb":
        raise session_refused(
            "credential_not_registered", "No credential is registered for this storage."
        )
    if provider not in SESSION_PROVIDERS:
        raise session_refused("provider_unsupported", f'Provider "{provider}" has no sessions.')
    return EmulatorAnswer(
        {
            "provider": provider,
            "configuration": row.body["configuration"],
            "expires_at": format_iso(request.backend.clock.now() + SESSION_SECONDS),
            "contract_version": 1,
        }
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "storages/",
        list_storages,
        FactSource.DOCUMENTED,
        "List storages; `?category=`.",
    ),
    Endpoint(
        "POST",
        "storages/",
        create_storage,
        FactSource.DOCUMENTED,
        "Create a storage: 201.",
    ),
    Endpoint(
        "GET",
        "storages/{id}/",
        read_storage,
        FactSource.DOCUMENTED,
        "Read a storage; `?with_configuration=true`.",
    ),
    Endpoint(
        "POST",
        "storages/{id}/session/",
        answer_configuration,
        FactSource.OBSERVED,
        "Open a session: `{purpose: read | write}`.",
    ),
)

FACTS = (
    Fact("`name` and `provider` are required; any provider is taken.", FactSource.DOCUMENTED),
    Fact("Names need not be unique: each POST makes another storage.", FactSource.GUESSED),
    Fact("`category` is internal or external, else 400; external unless sent.", FactSource.GUESSED),
    Fact("There is no update and no delete: 405.", FactSource.OBSERVED),
    Fact(
        "A session shows the plain configuration; smb and unknown providers are 400.",
        FactSource.OBSERVED,
    ),
)
