"""How a value of a sops file is read by the user's own sops: one decryption a run."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from synapse_apply.files.programs import (
    Folders,
    ProgramResult,
    build_child_environment,
    is_in_checkout,
    limit_command,
    require_executable,
    run_program,
)
from synapse_apply.files.repository import list_checkouts_around
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.redaction import Redactor
from synapse_apply.model.secrets.proxies import needs_no_proxy, proxy_logins
from synapse_apply.model.secrets.secret_rules import SettingOffer
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secret_sources.file import (
    find_file_denial,
    read_limited_bytes,
    require_allowed_path,
    require_secret_size,
)
from synapse_apply.secret_sources.sops.encrypted_file import (
    SopsFile,
    is_listed,
    listed_credentials,
    parse_sops_file,
    require_encrypted_value,
    require_value_at,
)
from synapse_apply.secret_sources.source import (
    FORBIDDEN,
    UNAVAILABLE,
    UNUSABLE,
    SourceContext,
    parse_json_with_problem,
    raise_if_denied,
    raise_unavailable,
)

# They are the operator's own, of the environment, and say how a server is reached, not which one.
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
# By the first of these other programs find the authorities of a company. Go, in which sops is
# written, knows the first one alone.
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def build_connection(environ: Mapping[str, str], servers: Iterable[str] = ()) -> dict[str, str]:
    """The variables for sops, with which it asks no proxy for those of `servers` on this machine.

    Paths are absolute, since it runs in another folder.
    """
    names = [*_PROXY_VARIABLES, *(name.lower() for name in _PROXY_VARIABLES)]
    variables = {name: environ[name] for name in names if environ.get(name)}
    # Of itself it knows only the usual spellings.
    local_hosts = [urlsplit(url).hostname or "" for url in servers if needs_no_proxy(url)]
    if local_hosts:
        excluded = filter(None, (variables.get("NO_PROXY"), variables.pop("no_proxy", "")))
        variables["NO_PROXY"] = ",".join((*local_hosts, *excluded))
    if environ.get("SSL_CERT_DIR"):
        folders = environ["SSL_CERT_DIR"].split(":")
        variables["SSL_CERT_DIR"] = ":".join(str(Path(folder).absolute()) for folder in folders)
    bundle = next((environ[name] for name in _CERTIFICATE_VARIABLES if environ.get(name)), "")
    if bundle:
        path = Path(bundle).absolute()
        variables["SSL_CERT_DIR" if path.is_dir() else "SSL_CERT_FILE"] = str(path)
    return variables


# It gets the document by standard input and PATH, the locale and the credentials of one target as
# its whole environment. Its words are shown only where it has decrypted nothing.

PROGRAM = "sops"
# The first with `sops decrypt`, which does what was `sops --decrypt`.
MIN_VERSION = (3, 9)
TIMEOUT_SECONDS = 60
_VERSION_SECONDS = 10
# A file has 1 MiB at most, but sops keeps all that a server of its keys answers.
_MAX_MEMORY, _MAX_FILE = 512 * 1024**2, 16 * 1024**2
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
    ("did not match any of the recipients", "{credentials} does not match any of its age keys"),
    ("failed to parse 'SOPS_AGE_KEY'", "{credentials} does not contain an age key"),
)
# What Go says of a server that was not reached, and what to do then.
_CONNECTION_HINTS = (
    (
        "x509: ",
        (
            "If your own authority signed the certificate, set SSL_CERT_FILE to the "
            "authority's file."
        ),
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


def find_sops(root: Path) -> SopsProgram | None:
    """The program on PATH outside of the checkout, with its version; None if there is none."""
    checkouts = list_checkouts_around(root)
    try:
        path = require_executable(PROGRAM, checkouts)
        # Without the option, versions of today ask a server whether there is a newer one.
        answer = _run_sops(path, ("--version", "--disable-version-check"), {}, checkouts, b"")
    except OSError:
        return None
    match = _VERSION.search(answer.output.decode(errors="replace"))
    return SopsProgram(path, match[0].removeprefix(f"{PROGRAM} ") if match else "", checkouts)


def require_sops(root: Path) -> SopsProgram:
    """The program; SecretUnavailable without one, or for one that is known to be too old."""
    program = find_sops(root)
    min_version = ".".join(map(str, MIN_VERSION))
    if program is None:
        raise_unavailable(
            UNAVAILABLE,
            f"the program {PROGRAM} is not on PATH",
            f"Install {PROGRAM} {min_version} or newer outside the checkout.",
        )
    if program.is_too_old:
        raise_unavailable(
            UNAVAILABLE,
            f"{PROGRAM} {program.version} is too old: {min_version} is needed",
            f"{program.path} was found first on PATH; install {min_version} or newer.",
        )
    return program


def decrypt_document(
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
        outcome = _run_sops(program.path, arguments, all_variables, program.checkouts, document)
    except OSError as problem:
        raise_unavailable(
            UNAVAILABLE,
            f"{program.path} cannot be started: {problem.strerror}",
            "Check that the program runs on this machine.",
        )
    if outcome.exit_code != 0:
        secrets = [*variables.values(), *proxy_logins(connection_variables)]
        _raise_failure(outcome, name, secrets, " and ".join(credential_names))
    return outcome.output


def _raise_failure(
    outcome: ProgramResult, name: str, secrets: Sequence[str], credential_names: str
) -> NoReturn:
    if outcome.has_timed_out:
        raise_unavailable(
            UNAVAILABLE,
            f"{PROGRAM} did not decrypt {name} in {TIMEOUT_SECONDS} s",
            "The program may be waiting for a server, or for a passphrase, which it cannot ask "
            "for here.",
        )
    # As Go says it.
    if "out of memory" in outcome.error_text:
        raise_unavailable(
            UNAVAILABLE,
            f"{PROGRAM} needs more than {_MAX_MEMORY // 1024**2} MiB of memory for {name}",
            "Check the servers of its keys: one may send an endless answer.",
        )
    if outcome.exit_code == _GET_KEY_FAILED:
        raise_unavailable(
            UNAVAILABLE,
            f"no key opens {name}: "
            + _describe_key_failure(outcome.error_text, secrets, credential_names),
            # The server may not have been reached.
            next(
                (hint for part, hint in _CONNECTION_HINTS if part in outcome.error_text),
                f"Check that it was encrypted for this key: `{PROGRAM} updatekeys {name}` adds "
                "one.",
            ),
        )
    # Of anything else nothing is shown: sops quotes values that stand in plain text.
    reason, hint = _REASONS.get(
        outcome.exit_code,
        (
            f"{PROGRAM} failed on {{name}} with exit code {outcome.exit_code}",
            (
                f"`{PROGRAM} decrypt {{name}}` prints the reason. It may contain secret values, so "
                "it is not shown here."
            ),
        ),
    )
    raise_unavailable(UNUSABLE, reason.format(name=name), hint.format(name=name))


def _describe_key_failure(words: str, secrets: Sequence[str], credential_names: str) -> str:
    """Why no key was had: in our words for age, else in those of sops, which had no key yet."""
    plain_words = " ".join(words.replace("|", " ").split())
    for part, reason in _KEY_WORDS:
        if part in plain_words:
            return reason.format(credentials=credential_names)
    # A server may repeat a credential in any spelling, and sops breaks lines.
    redactor = Redactor(secrets)
    texts = (plain_words, plain_words.replace(" ", ""))
    if any(redactor.mask_secrets_in_text(text) is not text for text in texts):
        return f"{PROGRAM} could not use {credential_names}"
    shown_words = (
        plain_words.partition("Group 0: FAILED")[2].partition("Recovery failed")[0].strip()
    )
    return f"{PROGRAM} says: {shown_words[:_MAX_SHOWN_WORDS] or 'nothing'}"


def _run_sops(
    path: str,
    arguments: tuple[str, ...],
    variables: Mapping[str, str],
    checkouts: Folders,
    document: bytes,
) -> ProgramResult:
    # Empty: keys, configuration and caches of the user are not looked for there.
    with tempfile.TemporaryDirectory(prefix="synapse-apply-sops-") as folder:
        environment = build_child_environment(checkouts, {"HOME": folder, **_SETTINGS, **variables})
        return run_program(
            limit_command((path, *arguments), _MAX_MEMORY, _MAX_FILE),
            environment,
            input_bytes=document,
            timeout=TIMEOUT_SECONDS if document else _VERSION_SECONDS,
        )


_BLOCK = "sops"
_GOOGLE_CREDENTIALS = "GOOGLE_CREDENTIALS"


def require_encrypted(ref: SecretRef, context: SourceContext) -> None:
    """SecretUnavailable unless the file may be opened and has an encrypted value at the key.

    Decrypts nothing and starts nothing.
    """
    require_encrypted_value(_load_file(ref, context), ref.get_argument_or_empty("key"))


def _load_file(ref: SecretRef, context: SourceContext) -> SopsFile:
    """The file of a reference, read once a run; SecretUnavailable also for keys not listed."""
    name = ref.get_argument_or_empty("file")
    file: SopsFile = context.memo.get_or_make(
        (_BLOCK, "file", name), lambda: _read_file(name, context)
    )
    return file


def _read_file(name: str, context: SourceContext) -> SopsFile:
    content = context.read_committed_file(name) if context.read_committed_file else None
    # A revision of Git that is planned has its own file; that of the working tree may differ.
    if content is None:
        raise_if_denied(find_file_denial(name, context))
        content = read_limited_bytes(require_allowed_path(name, context), name)
    require_secret_size(content, name)
    if context.read_single_mapping is None:
        raise_unavailable(UNUSABLE, f"{name} cannot be read without a YAML reader", "Report it.")
    file = parse_sops_file(content, name, context.read_single_mapping)
    settings = context.settings.get(_BLOCK, {})
    # Whoever can change the file chooses its keys: without a list the file would decide which
    # server gets the credential of this machine.
    if unlisted_keys := [key for key in file.keys if not is_listed(key, settings)]:
        raise_unavailable(
            FORBIDDEN,
            f"{name} names keys that the target does not list: {format_short_list(unlisted_keys)}",
            "A key may be on a server, which would then receive a credential. If the keys are "
            f"yours, add them to the target's {_BLOCK}. Otherwise restore the file.",
        )
    return file


def read_decrypted_value(ref: SecretRef, context: SourceContext) -> str:
    """The value as text, or as JSON where the format is json; SecretUnavailable."""
    file, key = _load_file(ref, context), ref.get_argument_or_empty("key")
    require_encrypted_value(file, key)
    decrypted: Sensitive = context.memo.get_or_make(
        (_BLOCK, "decrypted", file.name), lambda: _decrypt_file(file, context)
    )
    value = require_value_at(decrypted.reveal(), key, file.name)
    if not isinstance(value, str) and ref.format != "json":
        raise_unavailable(
            UNUSABLE, f"{ref.name} is not text", "Quote it in the file, or add format: json."
        )
    return value if isinstance(value, str) else json.dumps(value)


def _decrypt_file(file: SopsFile, context: SourceContext) -> Sensitive:
    named_kinds = {key.kind.setting for key in file.keys}
    matching = [
        credentials
        for credentials in listed_credentials(context.settings[_BLOCK], context.environ)
        if credentials.kind.setting in named_kinds
    ]
    usable = [credentials for credentials in matching if credentials.is_usable]
    if not usable:
        missing_names = [name for credentials in matching for name in credentials.missing_names]
        if missing_names:
            raise_unavailable(
                UNAVAILABLE,
                f"{format_short_list(missing_names)} "
                f"{'is' if len(missing_names) == 1 else 'are'} not set, but needed to decrypt "
                f"{file.name}",
                "Set the variable to the key or credential for which the project file names it.",
            )
        raise_unavailable(
            UNAVAILABLE,
            f"the target has no credential for the keys of {file.name}",
            f"The target's {_BLOCK} lists the keys: add the variable with one of them there, as in "
            f"age: {{env: NAME}}.",
        )
    # The keys are those of the file, and the project file that lists them may be a commit's, too.
    kinds = {credentials.kind for credentials in usable}
    for key in file.keys:
        if context.require_server and key.server and key.kind in kinds:
            context.require_server(key.server, f"{_BLOCK}.{key.kind.setting}")
    program = context.memo.get_or_make((_BLOCK, "program"), lambda: require_sops(context.root))
    for home in (one.variables.get("GNUPGHOME") for one in usable):
        # GnuPG starts the programs that a configuration in its home names.
        if home and (not home.startswith("/") or is_in_checkout(Path(home), program.checkouts)):
            raise_unavailable(
                FORBIDDEN,
                "the home of GnuPG is not an absolute path outside the checkout",
                f"{_BLOCK}.pgp.home names the variable with the path: choose a path outside the "
                "checkout.",
            )
    variables = {name: value for one in usable for name, value in one.variables.items()}
    if google := variables.get(_GOOGLE_CREDENTIALS):
        variables[_GOOGLE_CREDENTIALS] = _read_google_credentials(google, program, context)
    # Only the kinds of keys that have a credential are passed on: sops would try the servers of
    # the others as well.
    output = decrypt_document(
        program,
        file.to_json({credentials.kind.section for credentials in usable}),
        file.name,
        variables,
        # How a server is reached, where one of the keys lies at a server.
        build_connection(context.environ, (key.server for key in file.keys))
        if any(one.kind.needs_listing for one in usable)
        else {},
        [name for credentials in usable for name in credentials.variable_names],
    )
    document, problem = parse_json_with_problem(output.decode("utf-8", "replace"))
    if problem or not isinstance(document, Mapping):
        raise_unavailable(
            UNUSABLE,
            f"{PROGRAM} did not return the decrypted content of {file.name}",
            f"The program is {program}. Check that it is sops from getsops.io.",
        )
    return Sensitive(document)


def _read_google_credentials(value: str, program: SopsProgram, context: SourceContext) -> str:
    """The JSON that is in the value or at this path; SecretUnavailable for servers of others.

    It may say which servers get a token, or the content of any file (`external_account`).
    """
    setting = f"{_BLOCK}.gcp_kms.credentials"
    if not value.lstrip().startswith("{"):
        path = Path(value)
        if not path.is_absolute() or is_in_checkout(path, program.checkouts):
            raise_unavailable(
                FORBIDDEN,
                "the path of the Google credentials is not an absolute path outside the checkout",
                f"{setting} names the variable with the path: choose a path outside the checkout, "
                "or set the variable to the file's JSON.",
            )
        value = read_limited_bytes(path, setting).decode("utf-8", "replace")
    document, problem = parse_json_with_problem(value)
    if problem or not isinstance(document, Mapping):
        raise_unavailable(
            UNUSABLE,
            "the Google credentials are not a JSON object",
            f"{setting} names the variable with the credentials, or with the path of their file.",
        )
    for server in _find_servers(document):
        is_of_google = re.fullmatch(r"https://[a-z0-9.-]+\.(googleapis|google)\.com(/.*)?", server)
        if context.require_server and not is_of_google:
            context.require_server(server, setting)
    # It is read once: a file that is exchanged meanwhile is not used.
    return json.dumps(document)


def _find_servers(value: object, key: str = "") -> Iterable[str]:
    """The URLs in a JSON value, with the domain that stands in the place of googleapis.com."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _find_servers(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _find_servers(inner, key)
    elif isinstance(value, str) and ("://" in value or key == "universe_domain"):
        yield value if "://" in value else f"https://www.{value}"


def list_key_offers(context: SourceContext) -> tuple[SettingOffer, ...]:
    """The kinds of keys in the order of trying, and the program; starts sops for its version."""
    program = find_sops(context.root)
    if program is None:
        return (SettingOffer(f"the program {PROGRAM}", "is not on PATH"),)
    if program.is_too_old:
        return (SettingOffer(str(program), "is too old"),)
    offers = []
    for one in listed_credentials(context.settings[_BLOCK], context.environ):
        offer, reason = one.kind.setting, "(listed without a credential)"
        if one.is_usable:
            offer, reason = f"{offer} from {', '.join(one.variable_names)}, by {program}", ""
        elif one.missing_names:
            reason = f"({', '.join(one.missing_names)} is not set)"
        offers.append(SettingOffer(offer, reason))
    return tuple(offers)
