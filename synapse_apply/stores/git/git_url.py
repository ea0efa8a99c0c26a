"""How a `git:` URL of a state is parsed: the remote, the ref, and the pace of pushes.

    git:origin
    git:https://git.example.com/team/deploy.git?ref=refs/heads/state/prod&pace=0

The URL stands in the project file, so that one with a password or a token is refused.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.stores.state_messages import url_error

PREFIX = "git:"
REF_FOLDER = "refs/synapse-apply/state"
# GitHub advises at most six pushes a minute for one repository.
DEFAULT_PACE_SECONDS = 10.0
_MAX_PACE_SECONDS = 600.0

_REMOTE_PATTERN = lazy_pattern(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
# What Git, ssh and curl take for the host is what `urlsplit` does: Git decodes percent codes first.
_URL_PATTERN = lazy_pattern(
    r"(file://|(https?|ssh)://([A-Za-z0-9._~:+-]*@)?([A-Za-z0-9._-]+|\[[\da-fA-F:.]+\])(:\d{1,5})?"
    r"(?=/|$))[A-Za-z0-9._~%:/@\[\]+-]{0,1000}",
    re.ASCII,
)
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
# A subset of git-check-ref-format(1).
_REF_PATTERN = lazy_pattern(r"refs(/[A-Za-z0-9_%+][A-Za-z0-9._%+-]{0,199}){2,10}")
_NO_REF_PATTERN = lazy_pattern(r"\.\.|\.(?=/|$)|\.lock(?=/|$)")


@frozen
class GitStateLocation:
    """Where a state is: `remote`, the name of a remote or (`is_url`) a URL, and `ref` there.

    After its first pushes a run waits `pace_seconds` between one and the next.
    """

    remote: str
    is_url: bool
    ref: str
    pace_seconds: float

    @property
    def display_url(self) -> str:
        """The URL for messages."""
        return f"{PREFIX}{self.remote}?ref={self.ref}"

    @property
    def previous_ref(self) -> str:
        """The ref of the history before the last squash."""
        # No target has a plus in its name, so that this is no other target's ref.
        return f"{self.ref}+previous"


def is_git_url(url: str) -> bool:
    """Whether a state's URL begins with `git:`; `git://` is another protocol, which is refused."""
    return url.startswith(PREFIX) and not url.startswith("git://")


def parse_git_url(url: str, target: str) -> GitStateLocation:
    """Parse a state's URL; InputError, which does not quote the URL, if it is unusable.

    The ref is `?ref=`, else `refs/synapse-apply/state/TARGET`.
    """
    remote, _, query = url.removeprefix(PREFIX).partition("?")
    is_url = "://" in remote
    if is_url:
        _require_usable_url(remote)
    elif not _REMOTE_PATTERN.fullmatch(remote) or ".." in remote:
        raise url_error(
            "after git: there is neither the name of a remote nor a URL",
            "Write git:origin, or git:https://HOST/PATH, git:ssh://git@HOST/PATH or "
            "git:file:///PATH.",
        )
    ref = f"{REF_FOLDER}/{escape_name(target)}"
    pace_seconds = DEFAULT_PACE_SECONDS
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name == "ref":
            ref = unquote(value)
            if not _REF_PATTERN.fullmatch(ref) or _NO_REF_PATTERN.search(ref):
                raise url_error(
                    "?ref= is not a full ref",
                    "Write the full ref: ?ref=refs/heads/synapse-apply-state.",
                )
        elif name == "pace":
            try:
                pace_seconds = float(value)
            except ValueError:
                pace_seconds = -1.0
            if not 0 <= pace_seconds <= _MAX_PACE_SECONDS:
                raise url_error(
                    "?pace= is not a number of seconds",
                    "Write the seconds between two pushes: ?pace=10.",
                )
        else:
            raise url_error("it has an unknown parameter", "Only ?ref= and ?pace= exist.")
    return GitStateLocation(remote, is_url, ref, pace_seconds)


def _require_usable_url(remote: str) -> None:
    if not _URL_PATTERN.fullmatch(remote):
        raise url_error(
            "it is not an https, ssh or file URL, or has characters that are not allowed there "
            "in a URL",
            "Write git:https://HOST/PATH, git:ssh://git@HOST/PATH or git:file:///PATH.",
        )
    try:
        parts = urlsplit(remote)
    except ValueError:
        raise url_error("its host is not valid", "Write git:https://HOST/PATH.") from None
    if parts.password is not None or (parts.username and parts.scheme != "ssh"):
        raise url_error(
            "it contains a user name or a password, which the project file must not have",
            "Remove it: the tool uses Git's credentials, as any push from this checkout does.",
        )
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK_HOSTS:
        raise url_error("it is not encrypted", "Write https://.")


# Lower-case ASCII letters, digits, `_` and `-` stay as they are, and a `.` between two of them; all
# else becomes `%XX` for each byte of its UTF-8. So two names never differ in case alone.

# Windows takes these for devices, whatever follows the first dot.
_RESERVED_PATTERN = lazy_pattern(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(?=\.|$)")
_PLAIN_PATTERN = lazy_pattern(rb"[a-z0-9_-]+(?:\.(?!lock(?![a-z0-9_-]))[a-z0-9_-]+)*")
# File systems allow 255 bytes; room is left for a suffix such as `.json.part`.
_MAX_LENGTH = 200
_KEPT_LENGTH = 150


def escape_name(text: str) -> str:
    """The name of a text: 1 to 200 safe characters; a long one ends with `~` and its digest."""
    text_bytes = text.encode("utf-8", "surrogatepass")
    parts: list[str] = []
    position = 0
    while position < len(text_bytes):
        plain = _PLAIN_PATTERN.match(text_bytes, position)
        if plain is not None:
            parts.append(plain[0].decode("ascii"))
            position = plain.end()
        else:
            parts.append(f"%{text_bytes[position]:02X}")
            position += 1
    name = "".join(parts) or "%"
    if _RESERVED_PATTERN.match(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if len(name) > _MAX_LENGTH:
        name = f"{name[:_KEPT_LENGTH]}~{hashlib.sha256(text_bytes).hexdigest()[:32]}"
    return name


_PATTERN = lazy_pattern(r"([1-9][0-9]{0,15}):([0-9a-f]{40}|[0-9a-f]{64})")


class GitBookmark(NamedTuple):
    """The number of a batch, and the id of its commit."""

    number: int
    commit_id: str

    def __str__(self) -> str:
        return f"{self.number}:{self.commit_id}"


def parse_bookmark_or_none(text: str) -> GitBookmark | None:
    """The bookmark in a text; None for any other text, which may be of a file."""
    match = _PATTERN.fullmatch(text)
    return GitBookmark(int(match[1]), match[2]) if match else None


class RemoteUnreachable(StateError):
    """The remote could not be asked; what became of the last push is not known."""
