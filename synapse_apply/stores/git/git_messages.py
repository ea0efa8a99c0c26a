"""What each error of a state in a Git repository says, and what its reader can do."""

from __future__ import annotations

import re
from typing import NamedTuple

from synapse_apply.files.repository import MINIMUM_GIT
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.stores import state_messages
from synapse_apply.stores.batch_log import DamagedLog

_PATTERN = re.compile(r"([1-9][0-9]{0,15}):([0-9a-f]{40}|[0-9a-f]{64})")


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


_MAX_GIT_LINES = 6


class RemoteUnreachable(StateError):
    """The remote could not be asked; what became of the last push is not known."""


def build_no_git_error(reason: str) -> StateError:
    return StateError.from_summary(
        "Git cannot be started",
        f"The state is in a Git repository; git: {reason}.",
        "Install git {}.{} or newer.".format(*MINIMUM_GIT),
    )


def unusable_remote_error(remote: str, reason: str) -> InputError:
    return InputError.from_summary(
        "The Git remote cannot hold a state",
        f"The URL of the remote {remote} {reason}.",
        "Use https, ssh or a local path: `git remote set-url NAME URL`, or name the repository "
        "itself: url: git:https://HOST/PATH.",
    )


def build_unreachable_error(location: str, git_text: str) -> RemoteUnreachable:
    return RemoteUnreachable.from_summary(
        "The Git repository of the state cannot be reached",
        f"Reading {location} failed. {quote_git(git_text)}",
        "Check the network and that Git may read there: `git ls-remote NAME` in this checkout "
        "must work. In a pipeline the checkout must leave its credentials in place "
        "(actions/checkout does unless persist-credentials is false).",
    )


def unknown_push(location: str, git_text: str) -> StateError:
    return StateError.from_summary(
        "It is not known whether the state was written",
        f"A push to {location} failed, and the repository could not be asked what became of it. "
        f"{quote_git(git_text)}",
        state_messages.RUN_AGAIN_HINT,
    )


def build_wound_back_error(location: str, bookmark: GitBookmark, number: int | None) -> DamagedLog:
    """The error for a ref that does not go on from what was read before; `number` None: is gone."""
    if number is None:
        present_text = "the ref is gone"
    elif number < bookmark.number:
        present_text = f"it ends at {number}"
    else:
        present_text = f"it ends at {number}, which does not come from that one"
    return DamagedLog.from_summary(
        "The state was set back",
        f"{location} had batch {bookmark.number}, commit {bookmark.commit_id}, when it was "
        f"last read here; now {present_text}. Somebody has pushed over the ref or removed it, or "
        "restored an older copy of the repository. What was done since then is not in it.",
        Text(
            "Put the ref back where it was, if a clone or the host still has that commit. Else "
            "go on from the newest backup: ",
            Command("state restore FILE"),
            ". If what is there is right: ",
            Command("state backup FILE"),
            ", then ",
            Command("state restore FILE"),
            " with that file.",
        ),
    )


def build_foreign_ref_error(location: str, reason: str) -> StateError:
    return StateError.from_summary(
        "This is not a state of synapse-apply",
        f"{location}: {reason}.",
        Text(
            "Check the ref in state.url; it was not touched. If somebody pushed over the state, "
            "remove what they pushed (`git push NAME :REF`), then ",
            Command("state restore FILE"),
            " with a backup.",
        ),
    )


def damaged_file(location: str, commit_id: str, path: str, reason: str) -> DamagedLog:
    damaged = state_messages.build_damaged_state_error(
        location, f"{path} of commit {commit_id[:12]}: {reason}"
    )
    return DamagedLog(*damaged.diagnostics)


def quote_git(git_text: str) -> str:
    """The last lines of what Git wrote, as a sentence; "" if it wrote nothing."""
    lines = [line.strip() for line in git_text.splitlines() if line.strip()]
    text = "; ".join(lines[-_MAX_GIT_LINES:])[:1000]
    return f"Git says: {text.rstrip('.')}." if text else ""
