"""How the user's own sops is found and run: one fixed argument list, one key, one empty folder.

It gets the document by standard input and PATH, the locale and the credentials of one target as its
whole environment. Its words are shown only where it has decrypted nothing.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from synapse_apply.files.programs import (
    Folders,
    ProgramResult,
    build_child_environment,
    require_executable_outside_checkouts,
    run_program_in_root_folder,
)
from synapse_apply.files.repository import (
    find_repository_or_raise_if_untrusted,
    list_own_and_outer_checkouts_or_folder_itself,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.secret_sources.sops.connection import list_proxy_passwords_as_written_and_decoded
from synapse_apply.secret_sources.source import UNAVAILABLE, UNUSABLE, raise_unavailable

PROGRAM = "sops"
# The first with `sops decrypt`, which does what was `sops --decrypt`.
MIN_VERSION = (3, 9)
TIMEOUT_SECONDS = 60
_VERSION_SECONDS = 10
_VERSION = re.compile(r"\bsops (\d+)\.(\d+)(\.\d+)?")
_GET_KEY_FAILED = 128
_MAX_SHOWN_WORDS = 400
# Without it, the library for AWS asks the machine it runs on for credentials.
_SETTINGS = {"AWS_EC2_METADATA_DISABLED": "true", "SOPS_DISABLE_VERSION_CHECK": "1"}

# Exit codes of sops (its package cmd/sops/codes), with why and what to do.
_BROKEN_MAC = (
    "the MAC of {name} does not match: it was changed after sops encrypted it",
    "Restore it from Git. If the change is yours, make it with `sops {name}`.",
)
_BROKEN_VALUE = (
    "a value of {name} cannot be decrypted: it was changed, moved or never encrypted",
    "Restore it from Git. If the change is yours, make it with `sops {name}`.",
)
_REASONS = {24: _BROKEN_MAC, 25: _BROKEN_VALUE, 51: _BROKEN_MAC, 52: _BROKEN_MAC}
# What sops says of a key that is there and opens nothing, and what is said of it here.
_KEY_WORDS = (
    ("did not match any of the recipients", "{credentials} opens none of its age keys"),
    ("failed to parse 'SOPS_AGE_KEY'", "what {credentials} holds is no age key"),
)
# What Go says of a server that was not reached, and what to do then.
_CONNECTION_HINTS = (
    (
        "x509: ",
        "If it is of an authority of your own, name the file of that one in SSL_CERT_FILE.",
    ),
    ("proxyconnect ", "Check HTTPS_PROXY, and NO_PROXY for hosts that need no proxy."),
    ("dial tcp", "Check the network. Behind a proxy, set HTTPS_PROXY."),
)


@frozen
class SopsProgram:
    """The program on PATH; `version` is "" where it does not say one that can be read."""

    path: str
    version: str
    checkouts: Folders

    @property
    def is_too_old(self) -> bool:
        """Whether it is known to be older than MIN_VERSION."""
        numbers = tuple(map(int, self.version.split(".")[:2])) if self.version else MIN_VERSION
        return numbers < MIN_VERSION

    def __str__(self) -> str:
        return f"{PROGRAM} {self.version or 'of an unknown version'} at {self.path}"


def find_sops_on_path_outside_checkout(root: Path) -> SopsProgram | None:
    """The program on PATH outside of the checkout, with its version; None if there is none."""
    checkouts = list_own_and_outer_checkouts_or_folder_itself(root, None)
    # What a folder contains whose repository is not trusted is not started either.
    with suppress(InputError):
        checkouts = list_own_and_outer_checkouts_or_folder_itself(
            root, find_repository_or_raise_if_untrusted(root)
        )
    try:
        path = require_executable_outside_checkouts(PROGRAM, checkouts)
        # Without the option, versions of today ask a server whether there is a newer one.
        answer = _run_sops_in_empty_folder(
            path, ("--version", "--disable-version-check"), {}, checkouts, b""
        )
    except OSError:
        return None
    match = _VERSION.search(answer.output.decode(errors="replace"))
    return SopsProgram(path, match[0].removeprefix(f"{PROGRAM} ") if match else "", checkouts)


def require_sops_program_not_known_too_old(root: Path) -> SopsProgram:
    """The program; SecretUnavailable without one, or for one that is known to be too old."""
    program = find_sops_on_path_outside_checkout(root)
    min_version = ".".join(map(str, MIN_VERSION))
    if program is None:
        raise_unavailable(
            UNAVAILABLE,
            f"the program {PROGRAM} is not on PATH",
            f"Install {PROGRAM} {min_version} or newer, outside of the checkout.",
        )
    if program.is_too_old:
        raise_unavailable(
            UNAVAILABLE,
            f"{PROGRAM} {program.version} is too old: {min_version} is needed",
            f"{program.path} was found first on PATH; install {min_version} or newer.",
        )
    return program


def decrypt_document_to_json(
    program: SopsProgram,
    document: bytes,
    name: str,
    variables: Mapping[str, str],
    connection_variables: Mapping[str, str],
    credential_names: Iterable[str],
) -> bytes:
    """The decrypted document as JSON; SecretUnavailable where sops fails.

    `variables` are the credentials for sops, `connection_variables` say how a server is reached,
    `credential_names` are the user's names of the credentials, and `name` the file's, for messages.
    """
    # `--config`: else a .sops.yaml above the folder it runs in is read.
    arguments = (
        *("--config", os.devnull, "decrypt", "--input-type", "yaml"),
        *("--output-type", "json", "/dev/stdin"),
    )
    try:
        all_variables = {**connection_variables, **variables}
        outcome = _run_sops_in_empty_folder(
            program.path, arguments, all_variables, program.checkouts, document
        )
    except OSError as problem:
        raise_unavailable(
            UNAVAILABLE,
            f"{program.path} cannot be started: {problem.strerror}",
            "Check that it runs here.",
        )
    if outcome.exit_code != 0:
        secrets = [
            *variables.values(),
            *list_proxy_passwords_as_written_and_decoded(connection_variables.values()),
        ]
        _raise_decryption_failure(outcome, name, secrets, " and ".join(credential_names))
    return outcome.output


def _raise_decryption_failure(
    outcome: ProgramResult, name: str, secrets: Sequence[str], credential_names: str
) -> NoReturn:
    if outcome.has_timed_out:
        raise_unavailable(
            UNAVAILABLE,
            f"{PROGRAM} did not decrypt {name} in {TIMEOUT_SECONDS} s",
            "It may wait for a server that does not answer, or for a passphrase, which it cannot "
            "ask for here.",
        )
    if outcome.exit_code == _GET_KEY_FAILED:
        raise_unavailable(
            UNAVAILABLE,
            f"no key opens {name}: "
            + _describe_key_failure(outcome.error_text, secrets, credential_names),
            _suggest_key_or_connection(outcome.error_text, name),
        )
    # Of anything else nothing is shown: sops quotes values that stand in plain text.
    reason, hint = _REASONS.get(
        outcome.exit_code,
        (
            f"{PROGRAM} failed on {{name}} with exit code {outcome.exit_code}",
            f"`{PROGRAM} decrypt {{name}}` says more; its words may hold values and are not shown.",
        ),
    )
    raise_unavailable(UNUSABLE, reason.format(name=name), hint.format(name=name))


def _suggest_key_or_connection(words: str, name: str) -> str:
    """What to do where no key was had: the server may not have been reached."""
    for part, hint in _CONNECTION_HINTS:
        if part in words:
            return hint
    return f"Check that it was encrypted for this key: `{PROGRAM} updatekeys {name}` adds one."


def _describe_key_failure(words: str, secrets: Sequence[str], credential_names: str) -> str:
    """Why no key was had: in our words for age, else in those of sops, which had no key yet."""
    plain_words = " ".join(words.replace("|", " ").split())
    for part, reason in _KEY_WORDS:
        if part in plain_words:
            return reason.format(credentials=credential_names)
    if any(secret.strip() and secret.strip() in words for secret in secrets):
        return f"{PROGRAM} could not use {credential_names}"
    shown_words = (
        plain_words.partition("Group 0: FAILED")[2].partition("Recovery failed")[0].strip()
    )
    return f"{PROGRAM} says: {shown_words[:_MAX_SHOWN_WORDS] or 'nothing'}"


def _run_sops_in_empty_folder(
    path: str,
    arguments: tuple[str, ...],
    variables: Mapping[str, str],
    checkouts: Folders,
    document: bytes,
) -> ProgramResult:
    # Empty: keys, configuration and caches of the user are not looked for there.
    with tempfile.TemporaryDirectory(prefix="synapse-apply-sops-") as folder:
        environment = build_child_environment(checkouts, {"HOME": folder, **_SETTINGS, **variables})
        return run_program_in_root_folder(
            (path, *arguments),
            environment,
            input_bytes=document,
            timeout=TIMEOUT_SECONDS if document else _VERSION_SECONDS,
        )
