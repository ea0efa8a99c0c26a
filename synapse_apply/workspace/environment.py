"""What is read from the machine and the environment: clocks, user, CI run, hosts, commit."""

from __future__ import annotations

import functools
import getpass
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from synapse_apply.applying.step import Actor
from synapse_apply.files.checkout import find_checkout_above
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.secrets.secret_rules import is_loopback
from synapse_apply.model.state import DIRTY_SUFFIX, Uptime
from synapse_apply.model.values import SecretRef
from synapse_apply.stores.database import read_seconds_since_boot
from synapse_apply.stores.sql import utc_now
from synapse_apply.workspace.invocation import Invocation

# Seconds that a label is waited for.
_LABEL_TIMEOUT = 5
_TRACE_PARENT = lazy_pattern(
    "(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


class SystemClock:
    """The machine's clocks, as the Clock port."""

    def utc_now(self) -> str:
        return utc_now()

    def monotonic_seconds(self) -> float:
        return time.monotonic()


def read_uptime() -> Uptime:
    """The time since boot, with an id of the boot."""
    return Uptime(_read_clock_ids(), read_seconds_since_boot())


@functools.cache
def _read_clock_ids() -> str:
    """The ids of this boot and of the time namespace: a container's uptime may start at 0."""
    clock_space = ""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    with suppress(OSError):  # a system without such spaces has one zero for all
        clock_space = str(Path("/proc/self/ns/time").readlink())
    return f"{boot_id} {clock_space}"


@frozen
class CheckoutState:
    """The checked-out commit, "" without one, and the files that differ from it."""

    commit: str = ""
    dirty: tuple[str, ...] = ()

    @property
    def commit_label(self) -> str:
        """The commit, with `-dirty` where files that were read differ from it."""
        return f"{self.commit}{DIRTY_SUFFIX}" if self.dirty else self.commit


def build_actor(invocation: Invocation, checkout: CheckoutState) -> Actor:
    """Who runs which command: user@host, the CI run's URL and the commit, where there are any."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that no account has.
        user = f"uid{os.getuid()}"
    return Actor(
        f"{user}@{socket.gethostname()}",
        ci_run_url(invocation.environ),
        checkout.commit_label,
        command=invocation.command,
        dirty=checkout.dirty,
        trace=read_trace_parent(invocation.environ),
    )


def read_checkout(root: Path, read_paths: Iterable[str]) -> CheckoutState:
    """The checked-out commit of a folder, and its modified files.

    Untracked files count where they are among `read_paths`.

    A label only: what Git does not answer in time is left out.
    """
    if not (commit := read_head_commit_id_or_empty(root)):
        return CheckoutState()
    from synapse_apply.files.commits import list_modified_files

    try:
        return CheckoutState(
            commit, list_modified_files(root, commit, set(read_paths), _LABEL_TIMEOUT)
        )
    except (InputError, OSError):
        return CheckoutState(commit)


def read_trace_parent(environ: Mapping[str, str]) -> str:
    """TRACEPARENT, which names the trace that a run is part of; "" unless valid.

    W3C Trace Context, section 3.2: version, trace and parent in lower-case hex, flags.
    """
    text = environ.get("TRACEPARENT", "")
    return text if _TRACE_PARENT.fullmatch(text) else ""


def ci_run_url(environ: Mapping[str, str]) -> str:
    """The URL of the CI run, "" outside CI."""
    if environ.get("CI_JOB_URL"):
        return environ["CI_JOB_URL"]
    parts = [environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY")]
    run_number = environ.get("GITHUB_RUN_ID", "")
    return f"{parts[0]}/{parts[1]}/actions/runs/{run_number}" if all((*parts, run_number)) else ""


def ci_repository(environ: Mapping[str, str]) -> tuple[str, str]:
    """The repository's url in a pipeline, and what a forge puts before `/blob` in links."""
    if environ.get("CI_PROJECT_URL"):
        # GitLab has pages of a project behind `/-`, so that no repository's name is one of them.
        return environ["CI_PROJECT_URL"], "/-"
    parts = [environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY")]
    return ("/".join(parts) if all(parts) else ""), ""


def ci_checkout_folder(environ: Mapping[str, str]) -> str:
    """The folder of a pipeline's checkout, "" outside of one."""
    return environ.get("GITHUB_WORKSPACE") or environ.get("CI_PROJECT_DIR") or ""


def user_folder_of(
    environ: Mapping[str, str], xdg_variable: str, default_name_in_home: str
) -> Path | None:
    """The folder that an XDG variable names, else the default in the home; None without a home.

    A relative path in the variable is ignored (XDG Base Directory Specification).
    """
    named_folder, home = Path(environ.get(xdg_variable, "")), Path(environ.get("HOME", ""))
    if named_folder.is_absolute():
        return named_folder
    # HOME may be unset or `/nonexistent`, as for accounts of services: then nothing is kept.
    return home / default_name_in_home if home.is_absolute() and home.is_dir() else None


def require_allowed_host(
    url: str,
    environ: Mapping[str, str],
    *,
    credential: str = "token",
    setting: str = "the target's url",
) -> None:
    """InputError when SYNAPSE_APPLY_HOSTS (host[:port], comma-separated) does not list the host.

    Plain http to another machine needs an entry that begins with http://.

    `credential` and `setting` name what would go there, and what names the host, for the message.

    A variable that is set but blank is an error: an undefined CI variable expands to that, and a
    mistyped limit must not count as none.
    """
    if (hosts_text := environ.get("SYNAPSE_APPLY_HOSTS")) is None:
        return
    # Without wildcards: whoever may name a host below one could name one of their own.
    allowed = [host for host in (part.strip().lower() for part in hosts_text.split(",")) if host]
    if not allowed:
        raise InputError.from_summary(
            "SYNAPSE_APPLY_HOSTS is set but names no host",
            "The variable limits where a token may go, and its current value allows no host.",
            "List the hosts (host[:port], comma-separated), or unset the variable to allow any "
            "host.",
        )
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise InputError.from_summary(
            f"The {credential} may not go to this host",
            "The name or port of the host cannot be read, so SYNAPSE_APPLY_HOSTS cannot allow "
            "the host.",
            f"Write {setting} with a host and, if needed, a port from 1 to 65535.",
        ) from None
    names = [host, *([f"{host}:{port}"] if port else [])]
    plain_names = [f"http://{name}" for name in names]
    is_plain = parts.scheme.lower() == "http" and not is_loopback(host)
    if not {*plain_names, *(() if is_plain else names)}.isdisjoint(allowed):
        return
    if not set(names).isdisjoint(allowed):
        raise InputError.from_summary(
            f"The {credential} may not go unencrypted",
            f"{setting} is plain http, and SYNAPSE_APPLY_HOSTS lists {names[-1]} for https.",
            f"Write https:// in {setting}. If you trust the network to the server, list "
            f"{plain_names[-1]} in SYNAPSE_APPLY_HOSTS.",
        )
    raise InputError.from_summary(
        f"The {credential} may not go to this host",
        f"{host}{f':{port}' if port else ''} is not listed in SYNAPSE_APPLY_HOSTS "
        f"({', '.join(allowed)}).",
        f"Check {setting}; if it is right, add the host to SYNAPSE_APPLY_HOSTS.",
    )


def require_host_of_credentials(
    url: str, sent: Iterable[SecretRef], invocation: Invocation, **words: str
) -> None:
    """InputError where SYNAPSE_APPLY_HOSTS does not allow the host that credentials are sent to.

    And where a commit names another target's credential, which goes where that one's rule lets it.
    `words` are as in `require_allowed_host`.
    """
    require_allowed_host(url, invocation.environ, **words)
    for hosts in find_hosts_of_others(sent, invocation):
        require_allowed_host(url, {"SYNAPSE_APPLY_HOSTS": ",".join(hosts)}, **words)


def find_hosts_of_others(
    sent: Iterable[SecretRef], invocation: Invocation
) -> Iterator[tuple[str, ...]]:
    """The hosts of each credential that other targets named first, and whose rule has some."""
    for ref in sent:
        # A file has many spellings; a variable none with a slash.
        named = {ref.name.upper(), os.path.realpath(ref.name)}
        for name, hosts in invocation.closed.items():
            if hosts and (os.path.realpath(name) if os.sep in name else name) in named:
                yield hosts


def normalize_base_url(url: str) -> str:
    """A base URL as in a state's identity: lower-case scheme and host, no trailing slash."""
    parts = urlsplit(url)
    return parts._replace(
        # RFC 3986, 6.2.2.1: scheme and host are the same in any case, paths are not.
        scheme=parts.scheme.lower(),
        netloc=parts.netloc.lower(),
        path=parts.path.rstrip("/"),
    ).geturl()


def read_head_commit_id_or_empty(root: Path) -> str:
    """The checked-out commit, "" where Git has no answer: a label, nothing depends on it.

    Raises nothing: "" also for a repository that cannot be trusted, and without Git.
    """
    # Outside Git no process is started: this runs in most commands.
    if find_checkout_above(root.resolve() / ".git") is None:
        return ""
    # Here, not above: outside Git there is nothing to ask.
    from synapse_apply.files.commits import read_head_id

    try:
        return read_head_id(root, timeout=_LABEL_TIMEOUT)
    except (InputError, OSError):
        return ""
