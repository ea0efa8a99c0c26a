"""What each error and warning about a chain of links says."""

from __future__ import annotations

from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import StateError
from synapse_apply.stores.chain.link_format import ChainBookmark, ChainReading, ChainView
from synapse_apply.stores.database import BatchNotSent, DamagedLog

_HIDDEN = "It may leave out what is a secret, so values of free-form fields are not shown."


class DamagedChain(DamagedLog):
    """A DamagedLog of a chain; `view` is of the last link before the damage."""

    view = ChainView()


def damaged_chain_error(
    location: str, name: str, reason: str, reading: ChainReading
) -> DamagedChain:
    """The error for an object that is missing or wrong; `reason` is the end of a sentence.

    `reading` is what can be read before it.
    """
    error = DamagedChain(
        error_finding(
            "The state is damaged",
            f"{location}: {name} {reason}. What was written after it cannot be read.",
            Text(
                "If a lifecycle rule or a person removed objects, bring them back from old "
                "versions. Else keep what can be read (",
                Command("state backup FILE"),
                "), and restore that, or a newer backup: ",
                Command("state restore FILE"),
                ".",
            ),
        )
    )
    error.reading, error.view = reading.to_log_reading(), reading.view
    return error


def build_set_back_error(
    location: str, bookmark: ChainBookmark, reading: ChainReading
) -> DamagedChain:
    """The error for a chain that does not go on from a link that was seen here."""
    number = reading.view.number
    if not number:
        present_text = "nothing is there"
    elif (reading.view.folder, number) < (bookmark.folder, bookmark.number):
        present_text = f"it ends at number {number}"
    else:
        present_text = f"another entry has that number, and it goes on to {number}"
    error = DamagedChain(
        error_finding(
            "The state was set back",
            f"{location} had entry {bookmark.number} when it was last read here; now "
            f"{present_text}. What was done since then is not in it, and would be done a second "
            "time.",
            Text(
                "If a lifecycle rule, a person or a copy replaced the objects, bring the newer "
                "ones back from old versions. Else restore the newest backup: ",
                Command("state restore FILE"),
                ". If what is there is right: ",
                Command("state backup FILE"),
                ", then ",
                Command("state restore FILE"),
                " with that file.",
            ),
        )
    )
    error.reading, error.view = reading.to_log_reading(), reading.view
    return error


def unsettled_link_error(location: str, name: str, last_problem: str) -> StateError:
    """The error for a link that is still absent after it was sent several times.

    `last_problem` is what the last attempt met, "" where the store said nothing.
    """
    reason = f" The last attempt: {last_problem}" if last_problem else ""
    return StateError.from_summary(
        "A write of the state did not arrive",
        f"{location} did not take {name}.{reason}",
        "Check that the store can be reached and may be written to, then run the command again: "
        "it settles first what was under way.",
    )


def build_forged_link_error(location: str, name: str) -> BatchNotSent:
    return BatchNotSent.from_summary(
        "The state has an entry that is not signed with its key",
        f"{location}: {name} was written by somebody who does not have the key of this state. "
        "Nothing is written on top of it.",
        Text(
            "Find out who may write there. ",
            Command("state history"),
            " shows what was done; then restore a backup from before: ",
            Command("state restore FILE"),
            ". If the key was replaced just now, put the former one beside the new one: ",
            Command("state rekey"),
            ".",
        ),
    )


def build_missing_key_error(location: str, places_to_put_key: str) -> BatchNotSent:
    return BatchNotSent.from_summary(
        "The key of the state is not here",
        f"What {location} holds is signed with a key that is not at hand, so that nothing can be "
        "checked and nothing is written.",
        Text(
            f"Get the key from whoever has it, and put it into {places_to_put_key}. "
            "If it is lost: ",
            Command("state rekey"),
            " makes another one.",
        ),
    )


NOT_VERIFIED = "The state is not verified"
FORGED = "The state has an entry that is not signed with its key"


def not_verified_warning(location: str, name: str) -> Diagnostic:
    return warning_finding(
        NOT_VERIFIED,
        f"What {location} holds, up to {name}, is signed with a key that is not at hand. {_HIDDEN}",
        "Whoever may write there could have changed it. Get the key to check that nobody did.",
    )


def forged_link_warning(location: str, name: str) -> Diagnostic:
    return warning_finding(
        FORGED,
        f"{location}: {name} was written by somebody who does not have the key of this state. "
        f"{_HIDDEN}",
        Text(
            "Do not rely on this state: nothing can be written before a ",
            Command("state restore FILE"),
            ".",
        ),
    )


def damaged_snapshot_warning(location: str, names: str) -> Diagnostic:
    return warning_finding(
        "A snapshot of the state cannot be read",
        f"{location}: {names}. The one before and all links behind it were read instead.",
        "Nothing is lost. Look for what damages objects there before it meets the next one.",
    )
