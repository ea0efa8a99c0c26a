"""Where a source's mirror lies, which refs it has, and how Git reaches the repository.

Only https, ssh, and a path where `controller.yaml` names one. Git has no configuration but ours, no
prompt, no helper, and follows no redirect. A token travels in the environment of the one child that
fetches, bound to the host; an ssh key in a file of mode 0600 that is removed after.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import field
from pathlib import Path, PurePosixPath
from typing import NoReturn
from urllib.parse import urlsplit

from synapse_apply.controller.settings import HttpsToken, SecretName, Source, SshKey
from synapse_apply.files.programs import build_child_environment, require_executable
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.redaction import Redactor
from synapse_apply.model.secrets.proxies import needs_no_proxy, proxy_logins
from synapse_apply.model.secrets.secret_rules import is_loopback
from synapse_apply.model.values import Sensitive

REMOTE_NAME = "source"
ReadSecret = Callable[[SecretName], Sensitive]

_URL_PATTERN = re.compile(r"(https?|ssh|file)://[A-Za-z0-9._~%:/@\[\]+-]{1,1000}")
_SCP_PATTERN = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[A-Za-z0-9._~%/+-]+")
# Variables by which servers are reached; none that holds a login.
_PASSED_PATTERN = re.compile(
    r"(?i:(https?|all|no)_proxy)|GIT_SSL_CAINFO|GIT_SSL_CAPATH|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE"
)
# Old repositories of honest people have these, and they mean nothing to a reader.
_HARMLESS_FLAWS = ("zeroPaddedFilemode", "badTimezone", "missingSpaceBeforeDate")


@frozen
class SourceAccess:
    """A source's repository; `protocol` is Git's name for it, `url` has no password."""

    source: Source
    protocol: str
    url: str
    redactor: Redactor = field(default_factory=Redactor, repr=False, compare=False)

    @property
    def safe_directories(self) -> tuple[str, ...]:
        """The repository on this machine that is read whoever owns it: this file names it."""
        path = self.url.removeprefix("file://")
        return (path, os.path.realpath(path)) if self.protocol == "file" else ()

    @contextmanager
    def credentials_environment(
        self, git_dir: Path, global_config: Path, home: Path, read_secret: ReadSecret
    ) -> Iterator[Mapping[str, str]]:
        """The variables for Git while it talks to the repository, whose remote is REMOTE_NAME.

        `global_config` takes the place of the user's and the system's configuration. Raises what
        `read_secret` raises; OSError.
        """
        settings = [(f"remote.{REMOTE_NAME}.url", self.url), *_FIXED_SETTINGS]
        if needs_no_proxy(self.url):
            settings.append(("http.proxy", ""))
        variables = build_local_variables(git_dir, global_config, home)
        variables |= {
            name: value for name, value in os.environ.items() if _PASSED_PATTERN.fullmatch(name)
        }
        # Takes precedence over any `protocol.NAME.allow`.
        variables["GIT_ALLOW_PROTOCOL"] = self.protocol
        # A proxy may repeat the login that it was sent, and Git the whole of its URL.
        self.redactor.mask_from_now_on(list(proxy_logins(variables)))
        credentials = self.source.credentials
        if isinstance(credentials, HttpsToken):
            settings.append(self._token_setting(credentials, read_secret))
        with ExitStack() as stack:
            if isinstance(credentials, SshKey):
                command = _ssh_command(credentials, read_secret, git_dir.with_suffix(".ssh"))
                variables["GIT_SSH_COMMAND"] = stack.enter_context(command)
                variables["GIT_SSH_VARIANT"] = "ssh"
            variables["GIT_CONFIG_COUNT"] = str(len(settings))
            for number, (key, value) in enumerate(settings):
                variables[f"GIT_CONFIG_KEY_{number}"] = key
                variables[f"GIT_CONFIG_VALUE_{number}"] = value
            yield build_child_environment((), variables)

    def _token_setting(self, credentials: HttpsToken, read_secret: ReadSecret) -> tuple[str, str]:
        """The setting that sends the token to the repository's host, and to no other."""
        token = str(read_secret(credentials.token).reveal()).strip()
        if not token or not token.isascii() or not token.isprintable():
            raise InputError.from_summary(
                "Invalid source token",
                f"{credentials.token.name} in sources.{self.source.name} is empty, or has "
                "characters that a token cannot have.",
                "Set it to the token only.",
                position=credentials.token.position,
            )
        basic = base64.b64encode(f"{credentials.user}:{token}".encode()).decode()
        self.redactor.mask_from_now_on([token, f"Basic {basic}"])
        parts = urlsplit(self.url)
        key = f"http.{parts.scheme}://{parts.netloc}/.extraHeader"
        return key, f"Authorization: Basic {basic}"


_FIXED_SETTINGS = (
    ("http.followRedirects", "false"),
    ("credential.helper", ""),
    ("core.askPass", ""),
    ("transfer.bundleURI", "false"),
    ("fetch.unpackLimit", "1"),
    *((f"fetch.fsck.{flaw}", "ignore") for flaw in _HARMLESS_FLAWS),
)


def build_local_variables(git_dir: Path, global_config: Path, home: Path) -> dict[str, str]:
    """The variables of Git in a repository of ours, for what needs no network."""
    return {
        "GIT_DIR": str(git_dir),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(global_config),
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        # Where curl would look for `.netrc`, and ssh for keys.
        "HOME": str(home),
    }


@contextmanager
def _ssh_command(credentials: SshKey, read_secret: ReadSecret, folder: Path) -> Iterator[str]:
    """The command that Git starts for ssh, with a key and host keys in files of mode 0600.

    Also what a killed controller has left in `folder` is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(0o700)
    try:
        for name, secret in (("key", credentials.key), ("known_hosts", credentials.known_hosts)):
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                # OpenSSH reads no key without a line end.
                file.write(str(read_secret(secret).reveal()).strip() + "\n")
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityFile": folder / "key",
            "IdentityAgent": "none",
            "UserKnownHostsFile": folder / "known_hosts",
            "GlobalKnownHostsFile": os.devnull,
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "ForwardAgent": "no",
            "ClearAllForwardings": "yes",
            "ConnectTimeout": "30",
        }
        words = [require_executable("ssh", ()), "-F", os.devnull]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        yield shlex.join(words)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def build_source_access(source: Source) -> SourceAccess:
    """How a source's repository is reached; InputError for an unusable url or credentials.

    No secret is read yet, and nothing is sent.
    """
    url = source.url
    if _SCP_PATTERN.fullmatch(url):
        protocol = "ssh"
    elif "://" in url:
        protocol = _usable_protocol(source)
    else:
        # `HELPER::ADDRESS` would start a program of that name (gitremote-helpers(7)).
        if url.startswith("-") or "::" in url or not url.isprintable():
            _raise_unusable(
                source, "is not a path", "Write https://HOST/PATH, or the path of a clone."
            )
        protocol, url = "file", os.path.abspath(url)  # noqa: PTH100 - links stay as they are
    credentials = source.credentials
    if isinstance(credentials, HttpsToken) and protocol not in ("https", "http"):
        _raise_unusable(source, "has a token, which needs https", "Write https://HOST/PATH.")
    if isinstance(credentials, SshKey) != (protocol == "ssh"):
        _raise_unusable(
            source,
            "needs an ssh key and known hosts for ssh, and neither of them otherwise",
            "Write credentials: {ssh_key: {file: PATH}, known_hosts: {file: PATH}}.",
        )
    return SourceAccess(source, protocol, url)


def _usable_protocol(source: Source) -> str:
    """The scheme of a source's url; InputError for a url that is not used, such as plain http."""
    # Of the text: that of a malformed url is a password as well.
    if ":" in source.url.partition("://")[2].partition("/")[0].rpartition("@")[0]:
        hint = "Write `credentials: {token: {env: NAME}}`, and replace the secret."
        _raise_unusable(source, "contains a password", hint, "The file contains a secret")
    if not _URL_PATTERN.fullmatch(source.url):
        _raise_unusable(source, "is not an https, ssh or file URL", "Write https://HOST/PATH.")
    try:
        parts = urlsplit(source.url)
    except ValueError:
        _raise_unusable(source, "has no host", "Use brackets only for IPv6 addresses.")
    if parts.username and parts.scheme != "ssh":
        _raise_unusable(source, "contains a user", "Set the token: credentials: {token: ...}.")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        _raise_unusable(source, "is not encrypted", "Write https://.")
    return parts.scheme


def _raise_unusable(
    source: Source, reason: str, hint: str, summary: str = "Invalid source url"
) -> NoReturn:
    raise InputError.from_summary(
        summary, f"sources.{source.name}.url {reason}.", hint, position=source.position
    )


# Where a source's mirror lies in the data folder, and the folder that stands in for a checkout.
#
# `DATA/mirrors/SOURCE.git` is the bare repository. `DATA/places/SOURCE` has a `.git` file that
# leads to it, and else only `.synapse-apply` folders of the tool: local states, embedded backends.
# No file of a commit ever lies there. `DATA/homes/SOURCE` is the home folder of the source's
# workers.

_FOLDER_MODE = 0o700
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@frozen
class SourceFolders:
    """The folders of one source. `project` is that of its project file, below `empty_checkout`."""

    mirror: Path
    empty_checkout: Path
    project: Path
    home: Path

    def create_folders(self) -> None:
        """Make the place and the home where they are missing; OSError."""
        for folder in (self.mirror.parent, self.empty_checkout.parent, self.home.parent):
            folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        for folder in (self.empty_checkout, self.home):
            folder.mkdir(_FOLDER_MODE, exist_ok=True)
        self.project.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        text = f"gitdir: {self.mirror}\n"
        file = self.empty_checkout / ".git"
        if not file.is_file() or file.read_text(errors="replace") != text:
            # Renamed into place: a worker that reads it at this moment sees one or the other.
            new_file = self.empty_checkout / ".git.new"
            new_file.write_text(text)
            new_file.replace(file)


def source_folders(data_folder: Path, source: Source) -> SourceFolders:
    """The folders of a source, not made yet; InputError for an unusable name or path."""
    data_folder = Path(os.path.realpath(data_folder))
    path = PurePosixPath(source.path)
    if not _NAME.fullmatch(source.name):
        raise InputError.from_summary(
            "Invalid source name",
            f"{source.name!r} cannot be the name of a folder.",
            "Use letters, digits, dots, dashes and underscores.",
            position=source.position,
        )
    if path.is_absolute() or ".." in path.parts or "\0" in source.path:
        raise InputError.from_summary(
            "The source's path leaves its repository",
            f"sources.{source.name}.path is {source.path!r}.",
            "Write the path of the folder with synapse-apply.yaml, relative to the repository "
            "root.",
            position=source.position,
        )
    empty_checkout = data_folder / "places" / source.name
    return SourceFolders(
        data_folder / "mirrors" / f"{source.name}.git",
        empty_checkout,
        empty_checkout / path,
        data_folder / "homes" / source.name,
    )


# Which refs of a source's repository are followed, and under which names its mirror has them.
#
# In the mirror `refs/synapse-apply/` is ours: `head` is what the source's ref named last,
# `pin/NAME` the revision whose settings count, `kept/COMMIT` the commits that must not be pruned,
# and `followed/REF` the refs that were meant. Tags keep their names, since manifests name packages
# by them, and what they named first: a tag that is moved or deleted changes no package. A followed
# branch is `origin/BRANCH`, as in a clone.

HEAD_REF = "refs/synapse-apply/head"
KEPT_FOLDER = "refs/synapse-apply/kept"
FOLLOWED_FOLDER = "refs/synapse-apply/followed"
_PIN_FOLDER = "refs/synapse-apply/pin"
_REMOTE_FOLDER = "refs/remotes/origin"
# What lies there depends on what the source's settings name.
FOLLOWED_FOLDERS = (_PIN_FOLDER, _REMOTE_FOLDER)
_BRANCH_FOLDER, _TAG_FOLDER = "refs/heads/", "refs/tags/"
TAGS_PATTERN = f"{_TAG_FOLDER}*"

# A subset of git-check-ref-format(1).
_NAME_PATTERN = re.compile(
    r"[A-Za-z0-9_%+][A-Za-z0-9._%+@#=-]{0,199}(/[A-Za-z0-9_%+][A-Za-z0-9._%+@#=-]{0,199}){0,9}"
)
_NO_NAME_PATTERN = re.compile(r"\.\.|@\{|\.(?=/|$)|\.lock(?=/|$)|^HEAD$")
_COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def is_commit_id(text: str) -> bool:
    """Whether a text is the full id of a commit."""
    return bool(_COMMIT_ID.fullmatch(text))


def refs_meant_by(source: Source, ref: str) -> tuple[str, ...]:
    """The full refs that a name may mean, a branch before a tag; InputError for no ref's name."""
    if is_commit_id(ref):
        raise InputError.from_summary(
            "A source cannot follow a commit",
            f"sources.{source.name}.ref is {ref}, but no branch or tag has that name.",
            "Write a branch or a tag; `git tag NAME COMMIT` gives the commit a name.",
            position=source.position,
        )
    if not _NAME_PATTERN.fullmatch(ref) or _NO_NAME_PATTERN.search(ref):
        raise InputError.from_summary(
            "Invalid source ref",
            f"sources.{source.name}: {ref!r} is not the name of a branch or a tag.",
            "Write a branch, a tag, or a full ref such as refs/heads/main.",
            position=source.position,
        )
    return (ref,) if ref.startswith("refs/") else (f"{_BRANCH_FOLDER}{ref}", f"{_TAG_FOLDER}{ref}")


def build_pin_revision_or_empty(source: Source) -> str:
    """The ref or commit of the mirror whose settings count; "" for the revision's own."""
    if not source.project_from or is_commit_id(source.project_from):
        return source.project_from
    return f"{_PIN_FOLDER}/{source.project_from.removeprefix('refs/').removeprefix('heads/')}"


def build_own_refspecs(source: Source, head_name: str, pin_name: str) -> list[str]:
    """What is fetched under names of ours: the head's full ref, and that of the pin ("": none)."""
    refspecs = [f"+{head_name}:{HEAD_REF}"]
    if head_name.startswith(_BRANCH_FOLDER):
        branch = head_name.removeprefix(_BRANCH_FOLDER)
        refspecs.append(f"+{head_name}:{_REMOTE_FOLDER}/{branch}")
    if pin_name:
        refspecs.append(f"+{pin_name}:{build_pin_revision_or_empty(source)}")
    return refspecs


def build_tag_refspecs(moved_tags: Iterable[str]) -> list[str]:
    """What is fetched of tags: those that have not moved. Git refuses one that moves meanwhile."""
    return [f"{TAGS_PATTERN}:{TAGS_PATTERN}", *(f"^{tag}" for tag in moved_tags)]
