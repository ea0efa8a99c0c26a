"""Storages: their fields, which of their keys are secret, and how the server answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from synapse_apply.emulator.core.backend import format_iso
from synapse_apply.emulator.core.call import EmulatorRequest, require_found
from synapse_apply.emulator.core.fields import (
    REQUIRED_MESSAGE,
    AnswerObject,
    ApiError,
    Field,
    convert_all_fields,
    convert_sent_fields,
    no_choice,
    with_default_values,
    wrong_field,
)
from synapse_apply.emulator.core.lists import add_filters, build_page
from synapse_apply.emulator.core.store import StoredObject

CATEGORIES = ("internal", "external")
FIELDS = (
    Field("name", required=True),
    Field("provider", required=True),
    Field("category", "choice", choices=CATEGORIES, default="external"),
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
SESSION_SECONDS = 3600
_PURPOSE_FIELDS = (Field("purpose", "choice", choices=("read", "write"), default="read"),)


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


def require_in_path(request: EmulatorRequest) -> StoredObject:
    """The tenant's storage with the id in the path. Raises ApiError (404)."""
    return require_found(request.find("storage"))


def show(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """A storage as answers show it, by the switches."""
    values = with_default_values(FIELDS, row.body)
    configuration = values.pop("configuration")
    if request.has("configuration", "always") or request.is_query_true("with_configuration"):
        # In this regime the session alone shows credentials, whatever the switch `secrets` says.
        is_in_session = request.has("credential_regime", "session")
        secrets = "omitted" if is_in_session else request.backend.switches["secrets"]
        values["configuration"] = redact_configuration(values["provider"], configuration, secrets)
    return {
        "id": row.id,
        **values,
        "created": format_iso(row.created),
        "modified": format_iso(row.body.get("modified", row.created)),
    }


def _show_item(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """A storage as lists show it."""
    item = show(request, row)
    is_short = request.has("list_items", "short")
    return {name: item[name] for name in SHORT_FIELDS} if is_short else item


def list_storages(request: EmulatorRequest) -> Any:
    """One page of the tenant's storages of `?category=`, or all, by the switch `storage_pages`."""
    category = request.query.get("category")
    if category not in (None, *CATEGORIES):
        raise wrong_field("category", no_choice(category))

    # In Python, since the category is no column.
    def is_included(row: StoredObject) -> bool:
        return category is None or row.body["category"] == category

    query, show_item = request.list_query(), partial(_show_item, request)
    if request.has("storage_pages", "bare"):
        rows = request.store.select("storage", add_filters(request, query))
        return list(map(show_item, filter(is_included, rows)))
    return build_page(request, "storage", query, show_item, is_included if category else None)


def create_storage(request: EmulatorRequest) -> AnswerObject:
    values = convert_all_fields(FIELDS, request.body)
    if request.has("storage_keys", "checked"):
        _require_keys(values["provider"], values["configuration"])
    now = request.now()
    body = {**values, "modified": now}
    return show(request, request.store.insert("storage", request.tenant, body, created=now))


def _require_keys(provider: str, configuration: Mapping[str, Any]) -> None:
    """Raises ApiError (400) for the keys that a provider requires and the configuration lacks."""
    missing = [key for key in REQUIRED_KEYS.get(provider, ()) if not configuration.get(key)]
    if missing:
        raise ApiError(400, {"configuration": {key: [REQUIRED_MESSAGE] for key in missing}})


def open_session(request: EmulatorRequest) -> AnswerObject:
    """The configuration with its credentials, valid for an hour. Raises ApiError (400, 404)."""
    row = require_in_path(request)
    # Only checked: a session to read and one to write show the same configuration.
    convert_sent_fields(_PURPOSE_FIELDS, request.body)
    provider = row.body["provider"]
    if provider == "smb":
        text = "No credential is registered for this storage."
        raise ApiError(400, {"code": "credential_not_registered", "detail": text})
    if provider not in SESSION_PROVIDERS:
        text = f'Provider "{provider}" has no sessions.'
        raise ApiError(400, {"code": "provider_unsupported", "detail": text})
    return {
        "provider": provider,
        "configuration": row.body["configuration"],
        "expires_at": format_iso(request.now() + SESSION_SECONDS),
        "contract_version": 1,
    }
