"""`{valueFrom: {vault: {path: MOUNT/NAME, key: KEY}}}`: what may be read of a target's Vault.

The target's `vault` block says where Vault is, how to log in and which paths are allowed; without
it no secret of Vault can be read on that target, which is told where one is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from synapse_apply.model.coding.json_types import SettingsBlock
from synapse_apply.model.secrets.login import SettingOffer, is_loopback
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secret_sources.environment_variable import ENVIRONMENT_VARIABLE
from synapse_apply.secret_sources.file import (
    read_secret_text_of_file,
    require_path_that_project_may_read,
)
from synapse_apply.secret_sources.secret_text import parse_secret_or_raise_unusable
from synapse_apply.secret_sources.source import (
    UNAVAILABLE,
    UNUSABLE,
    Denial,
    SecretSource,
    SettingFault,
    SourceContext,
    raise_unavailable,
)
from synapse_apply.secret_sources.vault.settings import (
    VaultSettings,
    build_settings_of_valid_block,
    describe_path_fault_or_empty,
)

if TYPE_CHECKING:
    from synapse_apply.secret_sources.vault.reader import VaultReader

SOURCE_NAME = "vault"
_HOME = "~/"
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_JSON_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)


def find_path_or_version_denial(ref: SecretRef, context: SourceContext) -> Denial | None:
    """Why manifests may not name a secret of Vault, by its texts alone; None where they may."""
    path, version = ref.get_argument_or_empty("path"), ref.get_argument_or_empty("version")
    if fault := describe_path_fault_or_empty(path):
        return Denial(
            "Malformed path",
            f"`{path}` is no path of a secret in Vault: {fault}",
            "write MOUNT/NAME, such as kv/raw-data",
            reason=f"{path} is no path of a secret in Vault: {fault}",
            remedy="Write MOUNT/NAME, such as kv/raw-data.",
        )
    if version and not _VERSION.fullmatch(version):
        return Denial(
            "Malformed version",
            f"what stands there is no version of {path}: versions are counted from 1",
            "write a number, or leave version out for the newest one",
            reason=f"the version of {path} is none that a secret can have",
            remedy="Write a number, or leave version out for the newest one.",
        )
    # A target without Vault is told so where it needs the secret: the manifest may be for others.
    settings = _build_settings_or_none_without_vault(context)
    if settings is None or settings.is_path_allowed(path):
        return None
    return Denial(
        "Path is not allowed",
        f"{path} fits no pattern of vault.allow: {', '.join(settings.allowed_paths)}",
        f"add {path} to targets.{context.target}.vault.allow",
        reason=f"{path} fits no pattern of vault.allow of the target",
        remedy=f"Add {path} to vault.allow of the target in the project file.",
        names_target=True,
    )


def find_address_and_login_faults(block: SettingsBlock) -> tuple[SettingFault, ...]:
    """What is wrong with a `vault` block that fits its schema."""
    faults = []
    parts = urlsplit(block["address"])
    if parts.scheme.lower() != "https" and not is_loopback(parts.hostname or ""):
        faults.append(
            SettingFault(
                ("address",),
                "Vault without TLS",
                "secrets and tokens would travel unencrypted: http is for a loopback address only",
                "write https://",
            )
        )
    if not ("token" in block or "jwt" in block):
        faults.append(
            SettingFault(
                (),
                "Vault without a login",
                "nothing says how to log in to Vault",
                "name a token, or the jwt of a pipeline's job: token: {env: VAULT_TOKEN}",
            )
        )
    return tuple(faults)


def _build_settings_or_none_without_vault(context: SourceContext) -> VaultSettings | None:
    block = context.settings.get(SOURCE_NAME)
    return None if block is None else build_settings_of_valid_block(block)


def _read_value_as_text(ref: SecretRef, context: SourceContext) -> str:
    """The text of a value, or the JSON of one that is no text; SecretUnavailable."""
    version = ref.get_argument_or_empty("version")
    value = (
        _get_or_make_reader_of_target(context)
        .require_value_of_key(
            ref.get_argument_or_empty("path"),
            ref.get_argument_or_empty("key"),
            int(version) if version else None,
        )
        .reveal()
    )
    if not isinstance(value, str) and ref.format != "json":
        _raise_no_text(ref, value)
    return value if isinstance(value, str) else json.dumps(value)


def _raise_no_text(ref: SecretRef, value: Any) -> NoReturn:
    kind = next((name for kind, name in _JSON_KINDS if isinstance(value, kind)), "null")
    raise_unavailable(
        UNUSABLE,
        f"{ref.name} is {kind}, and no text",
        "Write format: json beside vault, or store it as a text in Vault.",
    )


def _get_or_make_reader_of_target(context: SourceContext) -> VaultReader:
    """The reader of the target's Vault, made once a run; SecretUnavailable without settings."""
    reader: VaultReader = context.memo.get_or_make_or_raise_failure_again(
        SOURCE_NAME, lambda: _make_reader(context)
    )
    return reader


def _make_reader(context: SourceContext) -> VaultReader:
    # Here, not above: most commands read no secret of Vault.
    from synapse_apply.secret_sources.vault.reader import VaultReader

    settings = _build_settings_or_none_without_vault(context)
    if settings is None or context.connect_http is None:
        raise_unavailable(
            UNAVAILABLE,
            "this target names no Vault",
            "Name it in the project file: targets.NAME.vault with address, token or jwt, and "
            "allow.",
        )
    ca_file = (
        str(require_path_that_project_may_read(settings.ca_file, context))
        if settings.ca_file
        else ""
    )
    connection = context.connect_http(settings.origin, ca_file)
    # Called in the reverse order: the reader gives its token back over this connection first.
    context.memo.register_call_at_close(connection.close)
    reader = VaultReader(
        settings, connection.send_request, lambda ref: _read_nonempty_credential(ref, context)
    )
    context.memo.register_call_at_close(reader.close)
    return reader


def _read_nonempty_credential(ref: SecretRef, context: SourceContext) -> Sensitive:
    """The token or JWT that the project file names; SecretUnavailable."""
    if ref.source == ENVIRONMENT_VARIABLE.name:
        text = ENVIRONMENT_VARIABLE.read_text(ref, context)
    else:
        home = context.environ.get("HOME", "")
        is_in_home = ref.name.startswith(_HOME) and bool(home)
        name = str(Path(home) / ref.name.removeprefix(_HOME)) if is_in_home else ref.name
        text = read_secret_text_of_file(require_path_that_project_may_read(name, context), ref.name)
    return parse_secret_or_raise_unusable(text, "text", ref.name)


def _list_login_offers(context: SourceContext) -> tuple[SettingOffer, ...]:
    return _get_or_make_reader_of_target(context).list_login_offers()


def _log_in_to_vault_and_describe_accepted_login(context: SourceContext) -> str:
    settings, check = (
        _build_settings_or_none_without_vault(context),
        _get_or_make_reader_of_target(context).log_in_and_check_token(),
    )
    lasting = (
        f", for {_format_duration(check.remaining_seconds)}" if check.remaining_seconds else ""
    )
    return (
        f"{settings.address if settings else ''} accepts {check.login}{lasting} "
        f"({check.seconds * 1000:.0f} ms)"
    )


def _format_duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _format_name(texts: Mapping[str, str]) -> str:
    version = f" (version {texts['version']})" if texts.get("version") else ""
    return f"{texts['path']} {texts['key']}{version}"


VAULT = SecretSource(
    name=SOURCE_NAME,
    example="{valueFrom: {vault: {path: kv/raw-data, key: secret}}}",
    find_denial=find_path_or_version_denial,
    read_text=_read_value_as_text,
    required_keys=("path", "key"),
    optional_keys=("version",),
    format_name=_format_name,
    list_setting_offers=_list_login_offers,
    ask_server_for_access_phrase_or_empty=_log_in_to_vault_and_describe_accepted_login,
    find_faults=find_address_and_login_faults,
)
