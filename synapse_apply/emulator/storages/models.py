"""Which fields a storage has, which keys of its configuration are secret or required."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.emulator.core.clock import format_iso
from synapse_apply.emulator.core.fields import AnswerObject, Field
from synapse_apply.emulator.core.store import StoredObject

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
