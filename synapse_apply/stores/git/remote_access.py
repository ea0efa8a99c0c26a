"""Where the repository of a state is, and which of the checkout's settings reach it.

The objects of a state never touch the checkout, so that Git runs in a repository of its own. There
it would not see what the checkout has for its remote: credentials and proxies in its `.git/config`,
or in a file that the configuration includes for this checkout alone (`includeIf "gitdir:..."`). So
the checkout is asked for these settings, and Git gets them in its environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from synapse_apply.files.programs import Folders, build_child_environment
from synapse_apply.files.repository import (
    Repository,
    find_repository_or_raise_if_untrusted,
    list_own_and_outer_checkouts_or_folder_itself,
    run_git,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive
from synapse_apply.stores.git import git_messages
from synapse_apply.stores.git.git_url import GitStateLocation

REMOTE_NAME = "state"
# Characters: shorter words of a setting are those of its syntax, such as `basic`.
_SHORTEST_MASKED = 16

# Settings that say how a remote is reached. Git matches those for single URLs itself.
_SETTING_PATTERN = re.compile(
    r"(http|credential)\..+|core\.(sshcommand|askpass|gitproxy)|ssh\.variant", re.IGNORECASE
)
_SAFE_DIRECTORY = "safe.directory"
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
    checkouts: Folders

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
        return build_child_environment(self.checkouts, {**passed, **variables})

    def mask_credentials(self, text: str) -> str:
        """What Git wrote, without any credential of the URL or the settings that it may quote."""
        parts = urlsplit(self.url.reveal()) if "://" in self.url.reveal() else None
        secrets = [parts.password] if parts is not None and parts.password else []
        secrets += [
            word
            for key, value in self.settings.reveal()
            if key.lower().endswith(("extraheader", "proxy")) and value
            for word in value.split()
            if len(word) >= _SHORTEST_MASKED
        ]
        for secret in secrets:
            text = text.replace(secret, "***")
        return text


def resolve_remote_access(folder: Path, location: GitStateLocation) -> RemoteAccess:
    """How a state's repository is reached from a checkout; nothing is sent.

    `folder` is any folder of the checkout. InputError if the remote is unknown or unusable, or the
    checkout cannot be trusted.
    """
    repository = find_repository_or_raise_if_untrusted(folder)
    url = location.remote
    if not location.is_url:
        if repository is None:
            raise git_messages.build_no_checkout_error(location.remote, str(folder))
        url = _require_push_url_of_remote(repository, location.remote)
    protocol = _require_protocol_name(url, location.remote)
    if protocol == "file" and "://" not in url:
        # Relative to the top of the checkout, as Git has it.
        url = os.path.join(repository.top if repository else folder, url)  # noqa: PTH118 - a URL
    settings = _list_settings_of_git_configuration(
        repository.top if repository else folder, repository
    )
    checkouts = list_own_and_outer_checkouts_or_folder_itself(folder, repository)
    return RemoteAccess(
        Sensitive(url),
        protocol,
        Sensitive(tuple(entry for entry in settings if _SETTING_PATTERN.fullmatch(entry.key))),
        tuple(entry.value or "" for entry in settings if entry.key == _SAFE_DIRECTORY),
        checkouts,
    )


def _require_push_url_of_remote(repository: Repository, remote: str) -> str:
    """The URL to which the checkout pushes, after its `insteadOf`; InputError if there is none."""
    arguments = ("remote", "get-url", "--push", "--", remote)
    code, output, _ = run_git(
        repository.top, repository, *arguments, variables=_select_configuring_variables()
    )
    url = os.fsdecode(output).removesuffix("\n")
    if code or not url:
        raise git_messages.build_no_remote_error(remote, str(repository.top))
    return url


def _require_protocol_name(url: str, remote: str) -> str:
    """Git's name for the protocol of a URL (git-push(1), "GIT URLS"); InputError for another."""
    if url.startswith("-") or not url.isprintable() or _HELPER_PATTERN.match(url):
        raise git_messages.build_unusable_remote_error(
            remote, "is not one that is used for a state"
        )
    scheme = _SCHEME_PATTERN.match(url)
    if scheme is None:
        return "ssh" if _SCP_PATTERN.fullmatch(url) else "file"
    protocol = {**_SCHEMES, "file": "file"}.get(scheme[1].lower(), "")
    if not protocol:
        raise git_messages.build_unusable_remote_error(remote, f"begins with {scheme[1]}://")
    return protocol


def _list_settings_of_git_configuration(
    folder: Path, repository: Repository | None
) -> list[Setting]:
    """All settings of the configuration that a checkout has, in order of rising precedence."""
    arguments = ("config", "--null", "--includes", "--list")
    _, output, _ = run_git(
        folder, repository, *arguments, variables=_select_configuring_variables()
    )
    return [
        Setting(key, value if newline else None)
        for key, newline, value in (
            os.fsdecode(entry).partition("\n") for entry in output.split(b"\0") if entry
        )
    ]


def _select_configuring_variables() -> Mapping[str, str]:
    return {
        name: value for name, value in os.environ.items() if _CONFIGURING_PATTERN.fullmatch(name)
    }
