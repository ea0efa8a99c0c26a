"""Which variables and files `valueFrom` may read; used by the check of manifests and by the read.

A manifest in a pull request must not be able to print or send a secret of the CI job that plans it,
so the tokens of such jobs are never readable, whatever an allow-list says.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import SecretRef, Sensitive

LOGIN_FILE_LABEL = "~/.synapse/config.json"
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Up to what ends one in a URL, in a list, or on a command line.
_PATH = re.compile(r"~?/[^\s,;:=?&'\"]+")
# Of any section: what is no file that is included does no harm.
_GIT_PATH = re.compile(
    r'(?im)(?:^|\])[ \t]*path[ \t]*=[ \t]*"?([^\s"#;][^\n"#;]*?)[ \t\r]*(?:["#;\n]|\Z)'
)
_MOST_GIT_FILES = 100
_HOST_NAME = re.compile(r"(?!.{254})([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")


@frozen
class Login:
    """The login in a file; url, token and tenant belong together.

    `file_label` is the file's name in messages. `no_login_reason` says why there is no token, ""
    where there is one; `problem` why nothing of it can be used. `is_exposed`: other users of this
    machine can read it.
    """

    file_label: str
    url: str = ""
    tenant: str = ""
    token: Sensitive | None = None
    no_login_reason: str = ""
    problem: str = ""
    is_exposed: bool = False


@frozen
class SettingOffer:
    """A source that was searched for a setting; `reason` says why it gave none, "" if it did.

    `unused`: it has a value, which was not used.
    """

    source: str
    reason: str = ""
    unused: bool = False

    def __str__(self) -> str:
        return f"{self.source} {self.reason}".rstrip()


class UrlOrigin(NamedTuple):
    """Who answers at a URL."""

    scheme: str
    host: str
    port: int | None


def parse_url_origin_or_none(url: str) -> UrlOrigin | None:
    """Scheme, host and port of a URL; None for a URL without a host."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return UrlOrigin(parts.scheme, parts.hostname, port) if parts.hostname else None


def have_same_origin(first_url: str, second_url: str) -> bool:
    """Whether two URLs have the same scheme, host and port.

    Only then may a token for one be sent to the other.
    """
    first_origin = parse_url_origin_or_none(first_url)
    return first_origin is not None and first_origin == parse_url_origin_or_none(second_url)


def spell_host(host: str) -> str:
    """A host of a URL in one spelling for all that reach it; ValueError for what is no host."""
    name = host.lower().removesuffix(".")
    if ":" in name and "%" not in name:
        address = ipaddress.IPv6Address(name)
        return str(address.ipv4_mapped or address)
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("neither a name nor an address")
    with suppress(OSError):
        # As a connection reads it: 127.1, 0x7f.1 and 2130706433 are 127.0.0.1.
        name = socket.inet_ntoa(socket.inet_aton(name))
    return name


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback address, `localhost` or below it (RFC 6761, 6.3)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


# Compared with the name in upper case: on Windows, names of variables are case-insensitive.
FORBIDDEN_ENV = (
    "SYNAPSE_*",  # our own tokens, host, state key and state URL
    "ACTIONS_*",  # GitHub Actions: run-time, cache and OIDC tokens
    "GITHUB_TOKEN",
    "GITHUB_OAUTH_TOKEN",
    "GITHUB_PAT",
    "GH_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "RUNNER_TOKEN",
    "CI_*TOKEN*",  # GitLab: job, deploy, dependency proxy, Pages ...
    "CI_*PASSWORD*",
    "CI_*JWT*",
    "CI_REPOSITORY_URL",  # holds the job token
    "GITLAB_TOKEN",
    "GITLAB_*_TOKEN",
    "GITEA_*TOKEN*",
    "FORGEJO_*TOKEN*",
    "SYSTEM_*ACCESSTOKEN",  # Azure Pipelines
    "AZURE_DEVOPS_EXT_PAT",
    "AZURE_*_OIDC_TOKEN",
    "BITBUCKET_*TOKEN*",
    "PIPELINES_JWT_TOKEN",
    "BUILDKITE_*TOKEN*",
    "APPVEYOR_*TOKEN*",
    "CODEBUILD_*TOKEN*",
    "SEMAPHORE_*TOKEN*",
    "WOODPECKER_*TOKEN*",
    "CIRCLE_TOKEN",
    "CIRCLE_OIDC_TOKEN*",
    "DRONE_*TOKEN*",
    "DRONE_NETRC_*",
    "CI_NETRC_*",
    "JENKINS_*TOKEN*",
    "JENKINS_*SECRET*",
    "TRAVIS_*TOKEN*",
)


# A name of the state key in the environment; `_TARGET` is behind it for one target.
KEY_VARIABLE = "SYNAPSE_APPLY_STATE_KEY"
# Forges set these to what the author of a commit or a pull request wrote, or to a path of the
# checkout, so that none of them is a credential, nor the url of a state.
TEXTS_OF_AUTHORS = (
    *("GITHUB_*", "GITEA_*", "FORGEJO_*", "GITLAB_USER_*"),
    *("CI_COMMIT_*", "CI_MERGE_REQUEST_*", "CI_EXTERNAL_PULL_REQUEST_*", "CI_PROJECT_*"),
    *("CI_BUILD_REF*", "CI_BUILD_TAG", "CI_RELEASE_DESCRIPTION", "CI_CONFIG_PATH", "CI_BUILDS_DIR"),
    *("BUILD_SOURCE*", "BUILD_REQUESTEDFOR*", "SYSTEM_PULLREQUEST_*", "BITBUCKET_PR_*"),
    *("BITBUCKET_TAG", "BITBUCKET_CLONE_DIR", "CHANGE_*", "TAG_NAME", "WORKSPACE", "PWD", "OLDPWD"),
    *("CIRCLE_TAG", "CIRCLE_PR_*", "CIRCLE_WORKING_DIRECTORY", "BUILDKITE_TAG", "BUILDKITE_PULL_*"),
    *("DRONE_COMMIT*", "DRONE_TAG*", "DRONE_PULL_*", "TRAVIS_TAG", "TRAVIS_PULL_*"),
    *("*_MESSAGE", "*_TITLE", "*_DESCRIPTION", "*_BRANCH", "*_BRANCH_NAME", "*_AUTHOR"),
    *("*_HEAD_REF", "*_REF_NAME", "BRANCH_NAME", "*_PR_NAME", "*_MESSAGE_*", "*_COMMIT_SUBJECT"),
    *("GHPRB*", "GITLAB*REQUEST*", "GITLABSOURCE*", "GITLABBRANCH", "SEMAPHORE_GIT_*"),
    *("APPVEYOR_*", "GIT_CLONE_*", "CODEBUILD_*", "CI_PREV_*", "CI_PIPELINE_*", "CI_ENVIRONMENT_*"),
    # Jenkins: a job of a branch has the branch in its name.
    *("JOB_NAME", "JOB_BASE_NAME", "JOB_URL", "BUILD_TAG", "BUILD_URL", "HEAD_REF", "BRANCH"),
    *("CIRRUS_TAG", "CIRRUS_PR_*", "CIRRUS_WORKING_DIR", "BITRISE_GIT_*", "BITRISE_SOURCE_DIR"),
    *("VERCEL_GIT_*", "BUILDKITE_BUILD_*", "BUILDKITE_REPO", "TRAVIS_BUILD_DIR", "*_WORKSPACE"),
    *("SYSTEM_DEFAULTWORKINGDIRECTORY", "AGENT_BUILDDIRECTORY", "BAMBOO_*BRANCH*", "*_PAYLOAD"),
    *("GITLABTRIGGERPHRASE", "GITLABUSER*", "DRONE_SEMVER*", "CF_BRANCH*", "REF_NAME", "HEAD"),
)


class CredentialFamily(NamedTuple):
    """Who reads the variables of a family, and what of it lies in a home.

    Readers are schemes of a state's url, blocks of a target, keys of its block `sops`, and `proxy`
    for each target.
    """

    readers: tuple[str, ...]
    home_paths: tuple[str, ...] = ()


# How servers are reached, in any case of the letters: such a URL may have a password.
PROXY_VARIABLES = "*_PROXY"
# By the pattern of the variables that stores and sources of secrets, or the libraries and programs
# in them, read without being told their names. Credentials of libpq have no underscore in them.
CREDENTIAL_FAMILIES = {
    "AWS_*": CredentialFamily(("s3", "aws_kms"), (".aws",)),
    "AZURE_*": CredentialFamily(("az", "azure_kv"), (".azure",)),
    "IDENTITY_HEADER": CredentialFamily(("az",)),
    "GOOGLE_*": CredentialFamily(("gs", "gcp_kms"), (".config/gcloud",)),
    "CLOUDSDK_*": CredentialFamily(("gs", "gcp_kms")),
    "PG*": CredentialFamily(
        ("postgresql", "postgres"), (".pgpass", ".pg_service.conf", ".postgresql")
    ),
    "KRB5*": CredentialFamily(("postgresql", "postgres")),
    "GIT_*": CredentialFamily(
        ("git",),
        (
            *(".git-credentials", ".netrc", ".gitconfig", ".ssh"),
            *(".config/git", ".config/gh", ".config/glab-cli"),
        ),
    ),
    "SOPS_*": CredentialFamily(("age",), (".config/sops",)),
    "GNUPGHOME": CredentialFamily(("pgp",), (".gnupg",)),
    "VAULT_*": CredentialFamily(("vault", "hc_vault"), (".vault-token",)),
    PROXY_VARIABLES: CredentialFamily(("proxy",)),
}
STATE_SCHEMES: tuple[str, ...] = ("s3", "az", "gs", "postgresql", "git")

# Never readable and never part of a package, listed or not: our state and its key, the credentials
# of a checkout, the login of the vendor's tools.
FORBIDDEN_FOLDERS = (".synapse-apply", ".git", ".synapse")

# Nor is what lies in these. /dev/shm is a folder as any other.
_SYSTEM_FOLDERS = (("proc",), ("sys",), ("dev",))

# Ours in the folder of a user's settings: their state keys lie there.
USER_FOLDER = "synapse-apply"


# Closed for all targets and for both revisions of `--project-from`: otherwise a manifest could send
# prod's token to staging's backend.
@frozen
class ReservedVariables:
    """The variables and files of the targets' own credentials, which no manifest may read.

    `variables` (in upper case) and `files` (as written in the project file) are each mapped to the
    path of the setting that names them; `references` are those of other sources, with that path.
    `families` are keys of CREDENTIAL_FAMILIES with the path of a setting by which they are read;
    `opened` are the names of variables and files that manifests may read all the same: whoever
    gives the credentials says so, never the checkout that has the manifests.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    references: tuple[tuple[SecretRef, str], ...] = ()
    families: Mapping[str, str] = field(default_factory=dict)
    opened: tuple[str, ...] = ()

    def merge_preferring_own(self, other: ReservedVariables) -> ReservedVariables:
        """The variables and files that either reserves; own settings win."""
        return ReservedVariables(
            {**other.variables, **self.variables},
            {**other.files, **self.files},
            (*self.references, *other.references),
            {**other.families, **self.families},
        )

    def find_closed_family(self, name: str) -> str:
        """The family whose variables are closed and that a variable is of; "" where it is open."""
        upper = name.upper()
        if name in self.opened:
            return ""
        matching = (family for family in self.families if fnmatchcase(upper, family))
        return next((family for family in matching if "_" in family or "_" not in upper), "")

    def list_names(self) -> tuple[str, ...]:
        """All of it as texts, which `build_reserved_by_names` reads."""
        references = (
            f"{ref.source}?{urlencode(ref.arguments, errors='backslashreplace')}"
            for ref, _ in self.references
        )
        # Of what is read by a fixed name, the one that any server of a target may be sent.
        passwords = ("PGPASSWORD",) * ("PG*" in self.families)
        return (*dict.fromkeys((*self.variables, *passwords)), *self.files, *references)


def build_reserved_by_names(names: Collection[str]) -> ReservedVariables:
    """What `list_names` of an earlier commit gave, each as a variable, a file and a reference."""
    setting = "a target of an earlier commit"
    split = (name.partition("?") for name in names if "?" in name)
    references = tuple(
        (SecretRef(source, arguments=tuple(parse_qsl(text, keep_blank_values=True))), setting)
        for source, _, text in split
    )
    by_name = dict.fromkeys(names, setting)
    return ReservedVariables(by_name, by_name, references)


NO_RESERVED_SOURCES = ReservedVariables()


class ClosedFiles:
    """The files that `reserved` closes to manifests and packages, as they are on this machine now.

    Settings or variables of a closed family name them, or they lie at a family's place in the home
    or are state keys of the user. Without `environ` it is told by the texts of the settings alone.
    """

    def __init__(
        self, reserved: ReservedVariables, root: Path, environ: Mapping[str, str] | None
    ) -> None:
        root = root.absolute()
        places = {Path(_normalize(name, root)): setting for name, setting in reserved.files.items()}
        # Below and beside these; and what has an inode of them, which may have other names, too.
        self._settings: dict[object, str] = dict[object, str](places.items())
        if environ is None:
            return
        home, configuration = Path(environ.get("HOME", "")), environ.get("XDG_CONFIG_HOME")
        for name, setting in reserved.files.items():
            if name.startswith("~/"):
                places[home / name[2:]] = setting
        for path in (
            f".config/{USER_FOLDER}",
            *(path for name in reserved.families for path in CREDENTIAL_FAMILIES[name].home_paths),
        ):
            places[home / path] = f"~/{path}"
            if configuration and (name := path.removeprefix(".config/")) != path:
                places[Path(configuration, name)] = f"$XDG_CONFIG_HOME/{name}"
        of_git = [one for one in places if one.name in {".gitconfig", "git"}]
        for config, included in _find_git_includes(root.resolve(), of_git, home):
            if str(included) not in reserved.opened:
                places.setdefault(included, str(config))
        named: dict[Path, str] = {}
        for variable, value in environ.items():
            if reserved.find_closed_family(variable):
                named[Path(value)] = variable  # it may be relative to the working directory
            elif variable.upper() not in reserved.variables:
                continue
            named |= dict.fromkeys(_find_absolute_paths(value, home), variable)
        for place, setting in {**named, **places}.items():
            with suppress(OSError, ValueError, RuntimeError):
                paths = {place, place.resolve()}
                # GIT_WORK_TREE and its like name a folder that has the project itself, and an empty
                # variable the working directory.
                is_around = any(
                    one.is_relative_to(path) for one in (root, root.resolve()) for path in paths
                )
                if place in places or (place.is_absolute() and not is_around):
                    self._settings |= dict.fromkeys(paths, setting)
                self._settings[_identify_file(place)] = setting

    @cached_property
    def _greatest_depth(self) -> int:
        return max((len(key.parts) for key in self._settings if isinstance(key, Path)), default=1)

    def find_setting_or_empty(self, file: Path) -> str:
        """The setting, variable or place in the home by which a file is closed; "" for none.

        `file` is absolute.
        """
        # Of the system itself: they show the variables and the memory of processes.
        if file.parts[1:2] in _SYSTEM_FOLDERS and file.parts[1:3] != ("dev", "shm"):
            return "the list of folders that are never open (/proc, /sys, /dev)"
        # A folder below all that is closed is none of that: a commit nests folders deeply.
        keys: list[object] = [file, *file.parents[-self._greatest_depth :]]
        # SQLite keeps `-wal` and `-journal` beside a database, and we keep `.lock` and `.key`.
        ends = (found.start() for found in re.finditer(r"[.-]", file.name) if found.start())
        keys += (file.with_name(file.name[:end]) for end in ends)
        with suppress(OSError, ValueError):
            keys.append(_identify_file(file))
        return next((self._settings[key] for key in keys if key in self._settings), "")


def _find_absolute_paths(value: str, home: Path) -> Iterator[Path]:
    """The paths that a value may name: by itself, in a URL, in a list, or as a command's option."""
    for found in (value, *_PATH.findall(unquote(value))):
        if found.startswith("~/"):
            yield home / found[2:]
        elif found.startswith("/"):
            yield Path(os.path.normpath(found))


def _find_git_includes(
    root: Path, of_user: Iterable[Path], home: Path
) -> Iterator[tuple[Path, Path]]:
    """The files that Git's configuration of a checkout includes, each after the file that names it.

    And that of the user; whatever the conditions say. CI keeps the token of a job in such a file.
    """
    configs, seen = [*of_user, *(one / "config" for one in of_user)], set[Path]()
    for folder in (root, *root.parents):
        git = Path(
            folder, _read_git_file(folder / ".git").removeprefix("gitdir:").strip() or ".git"
        )
        common = Path(git, _read_git_file(git / "commondir").strip())  # of a worktree
        configs += [git / "config.worktree", common / "config"]
    while configs and len(seen) < _MOST_GIT_FILES:
        config = configs.pop()
        text = "" if config in seen else _read_git_file(config)
        seen.add(config)
        for found in _GIT_PATH.finditer(text):
            path = home / found[1][2:] if found[1].startswith("~/") else config.parent / found[1]
            configs.append(Path(os.path.normpath(path)))
            yield config, configs[-1]


def _read_git_file(path: Path) -> str:
    """The text of a file, "" where there is none that can be read."""
    with suppress(OSError, ValueError):
        return path.read_text(errors="replace") if path.is_file() else ""
    return ""


def find_paths_in_url(url: str) -> list[str]:
    """The absolute paths that parameters of a URL name, such as `sslkey` of PostgreSQL."""
    return [value for _, value in parse_qsl(urlsplit(url).query) if value.startswith(("/", "~/"))]


def _identify_file(path: Path) -> tuple[int, int]:
    return (info := path.stat()).st_dev, info.st_ino


def is_in_forbidden_folder(path: str) -> bool:
    """Whether a path is or lies in a folder that no manifest may read."""
    # In lower case, as file systems may ignore the case.
    return not set(FORBIDDEN_FOLDERS).isdisjoint(path.lower().replace(os.sep, "/").split("/"))


def is_forbidden_variable(name: str) -> bool:
    """Whether a variable is never readable by `valueFrom`, even when an allow-list names it."""
    return _fits_any(name.upper(), FORBIDDEN_ENV)


def is_text_of_authors(name: str) -> bool:
    """Whether a forge sets a variable to a text or a path that a commit's author chooses."""
    return _fits_any(name.upper(), TEXTS_OF_AUTHORS) and not is_forbidden_variable(name)


# One expression of all of them takes 20,000 function calls to compile.
def _fits_any(name: str, patterns: Iterable[str]) -> bool:
    """As `fnmatchcase` of any of these patterns, whose only wildcard is `*`."""
    for pattern in patterns:
        first, *inner = pattern.split("*")
        if not inner:
            if name == pattern:
                return True
            continue
        last, position = inner.pop(), len(first)
        for part in inner:
            found = name.find(part, position)
            position = len(name) + 1 if found < 0 else found + len(part)
        is_long_enough = len(name) - len(last) >= position
        if is_long_enough and name.startswith(first) and name.endswith(last):
            return True
    return False


def is_allowed_file(path: str, root: Path, allow_files: Sequence[str]) -> bool:
    """Whether `valueFrom: {file: ...}` may name this path, by its text alone.

    `path` is relative to `root` or absolute; `allow_files` are exact names of files, most of them
    outside the project, relative to `root` or absolute. Links are not followed here:
    the reader checks the resolved path again.
    """
    # The system would reject such a path with another error.
    if not path or "\0" in path:
        return False
    normalized_path, project_root = (_normalize(path, root), _normalize(".", root))
    # After normalizing, so that `..` cannot lead out.
    is_in_project = normalized_path != project_root and normalized_path.is_relative_to(project_root)
    checked_path = normalized_path.relative_to(project_root) if is_in_project else normalized_path
    if is_in_forbidden_folder(str(checked_path)):
        return False
    return is_in_project or any(normalized_path == _normalize(name, root) for name in allow_files)


def _normalize(path: str, root: Path) -> PurePath:
    return PurePath(os.path.normpath(root / path))
