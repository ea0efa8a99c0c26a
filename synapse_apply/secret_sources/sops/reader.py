"""How a value of a sops file is read: which keys open the file, and one decryption a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NoReturn

from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.secrets.login import SettingOffer
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secret_sources.file import (
    MAX_SECRET_BYTES,
    find_file_denial,
    read_bytes_of_limited_regular_file,
    require_path_that_project_may_read,
)
from synapse_apply.secret_sources.secret_text import parse_json_with_problem
from synapse_apply.secret_sources.sops.connection import (
    build_connection_variables_with_absolute_paths,
)
from synapse_apply.secret_sources.sops.encrypted_file import (
    SopsFile,
    parse_and_validate_sops_file,
    require_encrypted_value,
    require_value_at_key_path,
)
from synapse_apply.secret_sources.sops.keys import (
    KeyCredentials,
    is_key_or_its_serverless_kind_listed,
    iter_credentials_of_listed_kinds,
)
from synapse_apply.secret_sources.sops.program import (
    PROGRAM,
    SopsProgram,
    decrypt_document_to_json,
    find_sops_on_path_outside_checkout,
    require_sops_program_not_known_too_old,
)
from synapse_apply.secret_sources.source import (
    FORBIDDEN,
    UNAVAILABLE,
    UNUSABLE,
    SourceContext,
    raise_if_denied,
    raise_unavailable,
)

_SETTINGS = "sops"


def require_encrypted_value_of_reference(ref: SecretRef, context: SourceContext) -> None:
    """SecretUnavailable unless the file may be opened and has an encrypted value at the key.

    Decrypts nothing and starts nothing.
    """
    require_encrypted_value(
        _load_sops_file_of_listed_keys_once(ref, context), ref.get_argument_or_empty("key")
    )


def _load_sops_file_of_listed_keys_once(ref: SecretRef, context: SourceContext) -> SopsFile:
    """The file of a reference, read once a run; SecretUnavailable also for keys not listed."""
    name = ref.get_argument_or_empty("file")
    file: SopsFile = context.memo.get_or_make_or_raise_failure_again(
        (_SETTINGS, "file", name),
        lambda: _read_sops_file_refusing_keys_unlisted_by_target(name, context),
    )
    return file


def _read_sops_file_refusing_keys_unlisted_by_target(name: str, context: SourceContext) -> SopsFile:
    content = (
        context.read_committed_file_or_none(name) if context.read_committed_file_or_none else None
    )
    # A revision of Git that is planned has its own file; that of the working tree may differ.
    if content is None:
        raise_if_denied(find_file_denial(name, context))
        content = read_bytes_of_limited_regular_file(
            require_path_that_project_may_read(name, context), name
        )
    if len(content) > MAX_SECRET_BYTES:
        raise_unavailable(UNUSABLE, f"{name} is larger than 1 MiB", "Is this the file you meant?")
    if context.read_single_mapping is None:
        raise_unavailable(UNUSABLE, f"{name} cannot be read without a YAML reader", "Report it.")
    file = parse_and_validate_sops_file(content, name, context.read_single_mapping)
    settings = context.settings.get(_SETTINGS, {})
    # Whoever can change the file chooses its keys: without a list the file would decide which
    # server gets the credential of this machine.
    if unlisted_keys := [
        key for key in file.keys if not is_key_or_its_serverless_kind_listed(key, settings)
    ]:
        raise_unavailable(
            FORBIDDEN,
            f"{name} names keys that the target does not list: {format_short_list(unlisted_keys)}",
            f"A key may lie at a server, which would be sent a credential. If they are yours, add "
            f"them to {_SETTINGS} of the target; else restore the file.",
        )
    return file


def read_decrypted_value_as_text(ref: SecretRef, context: SourceContext) -> str:
    """The value as text, or as JSON where the format is json; SecretUnavailable."""
    file, key = _load_sops_file_of_listed_keys_once(ref, context), ref.get_argument_or_empty("key")
    require_encrypted_value(file, key)
    decrypted: Sensitive = context.memo.get_or_make_or_raise_failure_again(
        (_SETTINGS, "decrypted", file.name), lambda: _decrypt_file_with_usable_keys(file, context)
    )
    value = require_value_at_key_path(decrypted.reveal(), key, file.name)
    if not isinstance(value, str) and ref.format != "json":
        raise_unavailable(
            UNUSABLE, f"{ref.name} is no text", "Quote it in the file, or add format: json."
        )
    return value if isinstance(value, str) else json.dumps(value)


def _decrypt_file_with_usable_keys(file: SopsFile, context: SourceContext) -> Sensitive:
    named_kinds = {key.kind.setting for key in file.keys}
    matching = [
        credentials
        for credentials in iter_credentials_of_listed_kinds(
            context.settings[_SETTINGS], context.environ
        )
        if credentials.kind.setting in named_kinds
    ]
    usable = [credentials for credentials in matching if credentials.is_usable]
    if not usable:
        _raise_no_credential_for_keys(file, matching)
    program = context.memo.get_or_make_or_raise_failure_again(
        (_SETTINGS, "program"), lambda: require_sops_program_not_known_too_old(context.root)
    )
    # Only the kinds of keys that have a credential are passed on: sops would try the servers of
    # the others as well.
    output = decrypt_document_to_json(
        program,
        file.build_json_with_keys_of_sections({credentials.kind.section for credentials in usable}),
        file.name,
        {name: value for credentials in usable for name, value in credentials.variables.items()},
        _build_connection_variables_if_server_is_asked(usable, context.environ),
        [name for credentials in usable for name in credentials.variable_names],
    )
    document, problem = parse_json_with_problem(output.decode("utf-8", "replace"))
    if problem or not isinstance(document, Mapping):
        raise_unavailable(
            UNUSABLE,
            f"{PROGRAM} did not answer with the document of {file.name}",
            f"{program} was asked; is it the program of getsops.io?",
        )
    return Sensitive(document)


def _build_connection_variables_if_server_is_asked(
    all_credentials: Iterable[KeyCredentials], environ: Mapping[str, str]
) -> dict[str, str]:
    """How a server is reached, where one of the keys lies at a server; {} for all others."""
    is_server_asked = any(credentials.kind.needs_listing for credentials in all_credentials)
    return build_connection_variables_with_absolute_paths(environ) if is_server_asked else {}


def _raise_no_credential_for_keys(file: SopsFile, listed: list[KeyCredentials]) -> NoReturn:
    missing_names = [name for credentials in listed for name in credentials.missing_names]
    if missing_names:
        raise_unavailable(
            UNAVAILABLE,
            f"{format_short_list(missing_names)} {'is' if len(missing_names) == 1 else 'are'} not "
            f"set, with which {file.name} is opened",
            "Set it to the key or the credential that the project file names it for.",
        )
    raise_unavailable(
        UNAVAILABLE,
        f"the target has no credential for the keys of {file.name}",
        f"Its {_SETTINGS} lists them; name the variable of one there, as age: {{env: NAME}} does.",
    )


def list_key_offers_or_program_problem(context: SourceContext) -> tuple[SettingOffer, ...]:
    """The kinds of keys in the order of trying, and the program; starts sops for its version."""
    program = find_sops_on_path_outside_checkout(context.root)
    if program is None:
        return (SettingOffer(f"the program {PROGRAM}", "is not on PATH"),)
    if program.is_too_old:
        return (SettingOffer(str(program), "is too old"),)
    return tuple(
        _build_offer(credentials, program)
        for credentials in iter_credentials_of_listed_kinds(
            context.settings[_SETTINGS], context.environ
        )
    )


def _build_offer(credentials: KeyCredentials, program: SopsProgram) -> SettingOffer:
    setting = credentials.kind.setting
    if credentials.is_usable:
        names = ", ".join(credentials.variable_names)
        return SettingOffer(f"{setting} from {names}, by {program}")
    if credentials.missing_names:
        return SettingOffer(setting, f"({', '.join(credentials.missing_names)} is not set)")
    return SettingOffer(setting, "(listed without a credential)")
