"""How Git is run for a state: in a bare repository of this run, by plumbing with fixed arguments.

It lies in the temporary folder of the system and is removed at the end. It has no work tree, no
hooks and no configuration but its own, so that nothing of a checkout or a user steers it. Whether a
command did its work is told by its exit code alone, and is never read out of what it says.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from synapse_apply.files import programs
from synapse_apply.files.repository import (
    MINIMUM_GIT,
    Repository,
    find_old_git_version,
    find_size_reason,
    find_trusted_repository,
    list_checkouts,
    make_bare_repository,
    run_git,
    safe_directory_section,
    write_bare_configuration,
)
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.redaction import Redactor
from synapse_apply.model.secrets.proxies import is_proxy_variable, login_texts, needs_no_proxy
from synapse_apply.model.values import Sensitive
from synapse_apply.stores.git.git_url import GitStateLocation, RemoteUnreachable
from synapse_apply.stores.state_messages import fault

_MAX_GIT_LINES = 6
# What Git may hold, write into one file, and print. A state has at most 512 MiB.
_MAX_MEMORY = _MAX_FILE = 1024**3
_MAX_OUTPUT = 16 * 1024**2
_TIP_REF = "refs/tip"
_FOLDER_PREFIX = "synapse-apply-git-"
# Far longer than a run: a folder that is in use must never be removed.
_LEFTOVER_AGE_SECONDS = 24 * 3600
# In hexadecimal digits: repositories with SHA-256 have ids of 64.
_SHA256_LENGTH = 64
# unpackLimit 1: objects are written as a pack, not as thousands of files. No signature and no
# negotiation: neither is needed, and either may ask somebody or cost a request. Few threads: the
# stack of each is a part of _MAX_MEMORY, and Git starts one for each processor.
_SETTINGS = """[fastimport]
\tunpackLimit = 1
[pack]
\tthreads = 4
[push]
\tgpgSign = false
\tnegotiate = false
"""


class PrivateRepository:
    """A bare repository of this run, and the remote that it fetches from and pushes to.

    Nothing is made before the first use. Every method raises StateError if Git cannot be used.
    """

    def __init__(self, access: RemoteAccess, location: str, deadline_seconds: float) -> None:
        """`location` is for messages. A command that takes longer than the deadline is killed."""
        self._access = access
        self._location = location
        self._deadline_seconds = deadline_seconds
        self._folder: Path | None = None
        self._environment: dict[str, str] = {}
        self._reader: ObjectReader | None = None

    def ask_remote_for_commit_of_ref_or_empty(self, ref: str) -> str:
        """The commit that a ref of the remote names, "" for none; RemoteUnreachable."""
        # HEAD as well: the length of its id tells which digest a repository without a state uses.
        result = self.run_git_within_deadline("ls-remote", "--quiet", REMOTE_NAME, "HEAD", ref)
        if result.exit_code:
            raise _unreachable(self._location, result.error_text)
        # A line each: id, tab, ref. Refs that end with this one are listed, too.
        ids_by_ref = {
            line_ref: commit_id
            for commit_id, _, line_ref in (
                os.fsdecode(line).partition("\t") for line in result.output.splitlines()
            )
        }
        # Possible because it is empty until then: a repository keeps the digest of its first
        # object.
        if self._folder is not None and any(
            len(one) == _SHA256_LENGTH for one in ids_by_ref.values()
        ):
            write_bare_configuration(self._folder / "state.git", "sha256", _SETTINGS)
        return ids_by_ref.get(ref, "")

    def fetch_ref(self, ref: str, depth: int = 1) -> str:
        """Fetch the newest commits of a ref of the remote; returns the id of the last one.

        StateError where that is none of ours: it is larger than any.
        """
        # Nothing but the one ref: tags and submodules of a repository of code may be large.
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        result = self.run_git_within_deadline(
            "fetch",
            *options,
            f"--depth={depth}",
            REMOTE_NAME,
            f"+{ref}:{_TIP_REF}",
            find_stop_reason_or_empty=self._size_reason,
        )
        if result.exit_code:
            raise _unreachable(self._location, result.error_text)
        return self.read_commit(_TIP_REF, 1 << 20).object_id

    def read_commit(self, name: str, max_bytes: int) -> GitObject:
        """The commit with an id, or that a ref names; StateError where it is too large or none."""
        try:
            return next(self.reader.iter_objects([name], max_bytes))
        except UnreadableObjectError as problem:
            self.discard_reader()
            raise fault(
                "foreign ref", self._location, reason=f"its last commit: {problem}"
            ) from None

    def push_once(
        self, ref: str, old_id: str, new_id: str, *other_refspecs: str
    ) -> programs.ProgramResult:
        """Ask once to move a ref of the remote from `old_id` ("": no ref) to `new_id`.

        Exit code 0: it names the new commit. Any other decides nothing.
        """
        options = ("--quiet", "--no-verify", "--no-signed", "--no-recurse-submodules")
        # The host compares and moves in one step: of two pushes behind one commit, one is refused.
        lease = f"--force-with-lease={ref}:{old_id}"
        return self.run_git_within_deadline(
            "push", *options, lease, REMOTE_NAME, f"{new_id}:{ref}", *other_refspecs
        )

    @property
    def reader(self) -> ObjectReader:
        """The process that reads objects, started at its first use."""
        if self._reader is None:
            self._reader = ObjectReader(self._start("cat-file", "--batch"))
        return self._reader

    def start_import(self) -> programs.PipedProgram:
        """Start `git fast-import`, which writes objects only; `commit_writer.py` speaks to it."""
        # `done`: without the command at the end nothing counts, so that a broken pipe writes no
        # half.
        return self._start("fast-import", "--quiet", "--force", "--done")

    def list_ancestors(self, commit_id: str, max_count: int) -> list[str]:
        """The ids of a commit and its fetched ancestors, newest first; [] if there is none."""
        result = self.run_git_within_deadline(
            "rev-list", "--first-parent", f"--max-count={max_count}", commit_id
        )
        return result.output.decode("ascii").split() if result.exit_code == 0 else []

    def run_git_within_deadline(
        self, *arguments: str, find_stop_reason_or_empty: Callable[[], str] = str
    ) -> programs.ProgramResult:
        """Run one Git command; the text of its standard error holds no credential."""
        with _telling_no_git():
            command = (*self._command_head(), *arguments)
            result = programs.run_program(
                command,
                self._environment,
                timeout=self._deadline_seconds,
                max_output=_MAX_OUTPUT,
                find_stop_reason_or_empty=find_stop_reason_or_empty,
            )
        return result._replace(error_text=self._access.mask_credentials(result.error_text))

    def close(self) -> None:
        """End the processes and remove the repository."""
        self.discard_reader()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def discard_reader(self) -> None:
        """End the process that reads objects, after an answer that was not read to its end."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _start(self, *arguments: str) -> programs.PipedProgram:
        with _telling_no_git():
            command = (*self._command_head(), *arguments)
            return programs.PipedProgram(command, self._environment)

    def _size_reason(self) -> str:
        return find_size_reason(self._folder / "state.git", _MAX_FILE) if self._folder else ""

    def _command_head(self) -> tuple[str, ...]:
        """The program, after the repository is made; StateError for a Git that is too old."""
        program = programs.require_executable("git", self._access.checkouts)
        if self._folder is None:
            self._make_repository()
            if version_text := find_old_git_version(program):
                raise StateError.from_summary(
                    "Git is too old",
                    f"The state is in a Git repository, and git {version_text} is too old for "
                    "that.",
                    "Install git {}.{} or newer.".format(*MINIMUM_GIT),
                )
        # A pager could wait for a key to be pressed.
        return programs.limit_command((program, "--no-pager"), _MAX_MEMORY, _MAX_FILE)

    def _make_repository(self) -> None:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
            _remove_leftovers(self._folder.parent)
            # Also where nobody closes this.
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            git_dir = self._folder / "state.git"
            make_bare_repository(git_dir, settings=_SETTINGS)
            global_config = self._folder / "gitconfig"
            global_config.write_text(safe_directory_section(self._access.safe_directories))
            self._environment = self._access.build_environment(git_dir, global_config)
        except OSError as problem:
            raise StateError.from_summary(
                "No space for a Git repository",
                "The tool fetches the state into the system's temporary folder: "
                f"{problem.strerror}.",
                "Free space there, or set TMPDIR to another folder.",
            ) from None


def _remove_leftovers(parent: Path) -> None:
    """Remove old repositories of this user, as far as that is possible; never through a link.

    Others can write to the system's temporary folder, so a name alone says nothing.
    """
    newest_removed = time.time() - _LEFTOVER_AGE_SECONDS
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(_FOLDER_PREFIX):
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                is_own_folder = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
                if is_own_folder and status.st_mtime < newest_removed:
                    # It removes no link's target, and fails for a link in the folder's place.
                    shutil.rmtree(entry.path, ignore_errors=True)


# Its answers are `ID TYPE SIZE`, the content and a line end; or `NAME missing`.

# Requests that are written before their answers are read; all of them fit into the pipe.
_AHEAD = 64


class GitObject(NamedTuple):
    """An object of a repository; `kind` is commit, tree, blob or tag."""

    object_id: str
    kind: str
    content: bytes


class UnreadableObjectError(Exception):
    """An object is missing or too large; the text says so. The reader must be closed then."""


class ObjectReader:
    """A running `git cat-file --batch`; it also sees objects that were added since its start."""

    def __init__(self, program: programs.PipedProgram) -> None:
        self._program = program

    def iter_objects(self, names: Sequence[str], max_bytes: int) -> Iterator[GitObject]:
        """The objects in the order of their names; UnreadableObjectError for one above the limit.

        Has to be read to its end before the next request.
        """
        for start in range(0, len(names), _AHEAD):
            chunk = names[start : start + _AHEAD]
            try:
                self._program.input.write("".join(f"{name}\n" for name in chunk).encode())
                self._program.input.flush()
            except BrokenPipeError:
                raise UnreadableObjectError("git cat-file has ended") from None
            for _ in chunk:
                words = self._program.output.readline().decode("utf-8", "replace").split()
                if len(words) != 3 or not words[2].isdecimal():
                    raise UnreadableObjectError("it cannot be read")
                object_id, kind, size_text = words
                size = int(size_text)
                if size > max_bytes:
                    raise UnreadableObjectError(f"it is larger than {max_bytes // 1024} KiB")
                content = self._program.output.read(size + 1)
                if len(content) != size + 1:
                    raise UnreadableObjectError("it cannot be read")
                yield GitObject(object_id, kind, content[:-1])

    def close(self) -> None:
        self._program.kill()


# The objects of a state never touch the checkout, so that Git runs in a repository of its own.
# There it would not see what the checkout has for its remote: credentials and proxies in its
# `.git/config`, or in a file that the configuration includes for this checkout alone (`includeIf
# "gitdir:..."`). So the checkout is asked for these settings, and Git gets them in its environment.

REMOTE_NAME = "state"
_WORDS_OF_SERVER = re.compile(r"\b(remote(?: error)?:).*")

# Settings that say how a remote is reached. Git matches those for single URLs itself.
_SETTING_PATTERN = re.compile(
    r"(http|credential)\..+|core\.(sshcommand|askpass|gitproxy)|ssh\.variant", re.IGNORECASE
)
_SAFE_DIRECTORY = "safe.directory"
# A repository that a url names by its path has hooks and settings of its own, whose programs Git
# would start. That of a checkout's remote is the choice of the checkout's owner.
_LOCAL_PROGRAM = (
    "git -c core.hooksPath=/dev/null -c core.alternateRefsCommand=: -c receive.autogc=false"
)
# Variables by which Git, ssh and the usual credential helpers find credentials and proxies.
_PASSED_PATTERN = re.compile(
    r"GIT_(ASKPASS|USERNAME|PASSWORD|SSH|SSH_COMMAND|SSH_VARIANT|SSL_\w+|PROXY_SSL_\w+)"
    r"|SSH_(AUTH_SOCK|AGENT_PID|ASKPASS|ASKPASS_REQUIRE)|(?i:(https?|all|no)_proxy)"
    r"|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE|XDG_\w+|DBUS_SESSION_BUS_ADDRESS|GNUPGHOME|USER|LOGNAME"
    r"|(GH|GITHUB|GITHUB_ENTERPRISE|GH_ENTERPRISE|GITLAB)_(TOKEN|HOST|CONFIG_DIR)|AWS_\w+"
)
# Where the environment itself holds settings, or names files with them.
_CONFIGURING_PATTERN = re.compile(
    r"GIT_CONFIG_(COUNT|KEY_\d+|VALUE_\d+|PARAMETERS|GLOBAL|SYSTEM|NOSYSTEM)|XDG_CONFIG_HOME"
)
_SCHEMES = {"https": "https", "http": "http", "ssh": "ssh", "git+ssh": "ssh", "ssh+git": "ssh"}
# A remote helper of that name would be started (gitremote-helpers(7)).
_HELPER_PATTERN = re.compile(r"[A-Za-z0-9]+::")
_SCP_PATTERN = re.compile(r"[^/:\s]+:[^:].*")
_SCHEME_PATTERN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Setting(NamedTuple):
    """One setting of Git's configuration; `value` None is one without `=`."""

    key: str
    value: str | None


@frozen
class RemoteAccess:
    """How the repository of a state is reached.

    `protocol` is Git's name for it: https, http, ssh or file. `settings` may hold credentials, as
    may `url`. `safe_directories` are those of the user's configuration. `checkouts` are the folders
    whose files come from commits, from which no program is started.
    """

    url: Sensitive = field(repr=False)
    protocol: str
    settings: Sensitive = field(repr=False)
    safe_directories: tuple[str, ...]
    checkouts: programs.Folders

    def build_environment(self, git_dir: Path, global_config: Path) -> dict[str, str]:
        """The variables for Git in the repository `git_dir`, whose remote `state` is this one.

        `global_config` is a file that takes the place of the user's and the system's configuration.
        """
        passed = {
            name: value for name, value in os.environ.items() if _PASSED_PATTERN.fullmatch(name)
        }
        pairs = [(f"remote.{REMOTE_NAME}.url", self.url.reveal()), *self.settings.reveal()]
        variables = {
            "GIT_DIR": str(git_dir),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(global_config),
            # Takes precedence over any `protocol.NAME.allow`.
            "GIT_ALLOW_PROTOCOL": self.protocol,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_CONFIG_COUNT": str(len(pairs)),
        }
        for index, (key, value) in enumerate(pairs):
            variables[f"GIT_CONFIG_KEY_{index}"] = key
            # A setting without a value is a true one.
            variables[f"GIT_CONFIG_VALUE_{index}"] = "true" if value is None else value
        return programs.build_child_environment(self.checkouts, {**passed, **variables})

    def mask_credentials(self, text: str) -> str:
        """What Git wrote, without any credential of the URL or the settings that it may quote.

        Where a helper gives the credential, nobody here knows what the server was sent: its own
        words are left out.
        """
        settings = self.settings.reveal()
        values = [
            value.partition(":")[2]
            for key, value in settings
            if value and key.lower().endswith("extraheader")
        ]
        proxies = [value or "" for key, value in settings if key.lower().endswith("proxy")]
        proxies += [value for name, value in os.environ.items() if is_proxy_variable(name)]
        for url in (self.url.reveal(), *proxies):
            # Without a password an address is no secret, and an error has to name it.
            with suppress(ValueError):
                if "://" in url and (password := urlsplit(url).password):
                    text = text.replace(password, "***")  # however short
                    values.append(url)
        for proxy in proxies:
            values += login_texts(proxy)
        text = Redactor(values).mask_secrets_in_text(text)
        if os.environ.get("GIT_ASKPASS") or any(
            value and key.lower().endswith(("helper", "askpass")) for key, value in settings
        ):
            text = _WORDS_OF_SERVER.sub(
                r"\1 (what the server says is left out: `git push` in the checkout shows it)", text
            )
        return text


def resolve_remote_access(folder: Path, location: GitStateLocation) -> RemoteAccess:
    """How a state's repository is reached from a checkout; nothing is sent.

    `folder` is any folder of the checkout. InputError if the remote is unknown or unusable, or the
    checkout cannot be trusted.
    """
    repository = find_trusted_repository(folder)
    url = location.remote
    if not location.is_url:
        if repository is None:
            raise InputError.from_summary(
                "No Git repository found",
                f"state.url names the remote {location.remote}, but {folder} is not in a Git "
                "repository.",
                "Run the command in a clone, or specify the repository itself: url: git:https://HOST/PATH.",
            )
        # The URL to which the checkout pushes, after its `insteadOf`; InputError if there is none.
        arguments = ("remote", "get-url", "--push", "--", location.remote)
        code, output, _ = run_git(repository.top, repository, *arguments, variables=_configuring())
        url = os.fsdecode(output).removesuffix("\n")
        if code or not url:
            raise InputError.from_summary(
                "Unknown Git remote",
                f"state.url names the remote {location.remote}; the repository of "
                f"{repository.top} has no remote with that name.",
                "`git remote -v` lists its remotes. `git remote add NAME URL` adds one. Or specify "
                "the repository itself: url: git:https://HOST/PATH.",
            )
    protocol = _require_protocol_name(url, location.remote)
    if protocol == "file" and "://" not in url:
        # Relative to the top of the checkout, as Git has it.
        url = os.path.join(repository.top if repository else folder, url)  # noqa: PTH118 - a URL
    settings = _git_settings(repository.top if repository else folder, repository)
    checkouts = list_checkouts(folder, repository)
    own = [entry for entry in settings if _SETTING_PATTERN.fullmatch(entry.key)]
    if location.is_url and protocol == "file":
        if repository and programs.is_in_checkout(Path(unquote(urlsplit(url).path)), checkouts):
            raise _unusable_remote(
                location.remote, "lies in the checkout, where a commit could have put it"
            )
        own += (
            Setting(f"remote.{REMOTE_NAME}.{key}", f"{_LOCAL_PROGRAM} {command}")
            for key, command in (("receivepack", "receive-pack"), ("uploadpack", "upload-pack"))
        )
    # Git would send the checkout's header on to the host that a redirect names. Where the owner of
    # the checkout has set it for a URL, that one holds.
    own.append(Setting("http.followRedirects", "false"))
    if needs_no_proxy(url):
        own.append(Setting("http.proxy", ""))
    return RemoteAccess(
        Sensitive(url),
        protocol,
        Sensitive(tuple(own)),
        tuple(entry.value or "" for entry in settings if entry.key == _SAFE_DIRECTORY),
        checkouts,
    )


def _require_protocol_name(url: str, remote: str) -> str:
    """Git's name for the protocol of a URL (git-push(1), "GIT URLS"); InputError for another."""
    if url.startswith("-") or not url.isprintable() or _HELPER_PATTERN.match(url):
        raise _unusable_remote(remote, "is not supported for a state")
    scheme = _SCHEME_PATTERN.match(url)
    if scheme is None:
        return "ssh" if _SCP_PATTERN.fullmatch(url) else "file"
    protocol = {**_SCHEMES, "file": "file"}.get(scheme[1].lower(), "")
    if not protocol:
        raise _unusable_remote(remote, f"begins with {scheme[1]}://")
    return protocol


def _git_settings(folder: Path, repository: Repository | None) -> list[Setting]:
    """All settings of the configuration that a checkout has, in order of rising precedence."""
    arguments = ("config", "--null", "--includes", "--list")
    _, output, _ = run_git(folder, repository, *arguments, variables=_configuring())
    return [
        Setting(key, value if newline else None)
        for key, newline, value in (
            os.fsdecode(entry).partition("\n") for entry in output.split(b"\0") if entry
        )
    ]


def _configuring() -> Mapping[str, str]:
    return {
        name: value for name, value in os.environ.items() if _CONFIGURING_PATTERN.fullmatch(name)
    }


@contextmanager
def _telling_no_git() -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise StateError.from_summary(
            "Git cannot be started",
            f"The state is in a Git repository; git: {problem.strerror}.",
            "Install git {}.{} or newer.".format(*MINIMUM_GIT),
        ) from None


def _unusable_remote(remote: str, reason: str) -> InputError:
    return InputError.from_summary(
        "The Git remote cannot hold a state",
        f"The URL of the remote {remote} {reason}.",
        "Use https, ssh or a local path: `git remote set-url NAME URL`, or specify the repository "
        "itself: url: git:https://HOST/PATH.",
    )


def _unreachable(location: str, git_text: str) -> RemoteUnreachable:
    return RemoteUnreachable.from_summary(
        "The state's Git repository cannot be reached",
        f"Reading {location} failed. {quote_git(git_text)}",
        "Check the network and that Git may read there: `git ls-remote NAME` in this checkout "
        "must work. In a pipeline, the checkout must keep its credentials (actions/checkout "
        "keeps them unless persist-credentials is false).",
    )


def quote_git(git_text: str) -> str:
    """The last lines of what Git wrote, as a sentence; "" if it wrote nothing."""
    lines = [line.strip() for line in git_text.splitlines() if line.strip()]
    text = "; ".join(lines[-_MAX_GIT_LINES:])[:1000]
    return f"Git's message: {text.rstrip('.')}." if text else ""
