"""What GitLab shows after each status, also where it refuses a transition."""

import json

import pytest
from forges.gitlab import StandInGitLab
from forges.loopback_server import Failure

from synapse_apply.controller.outbox.forge import build_status_sender
from synapse_apply.controller.ports import StatusUnreadable
from synapse_apply.controller.rows import StatusRow, StatusState, StatusText
from synapse_apply.controller.settings import ForgeStatus, SecretName
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import Sensitive

TOKEN = "glpat-cAn4ry-token-5555"
COMMIT = "1a2b3c4d" * 5
CONTEXT = "synapse-apply/main/acme"
URL = "http://page.example/x"
PENDING = StatusText(StatusState.PENDING, "looking at 3 targets", URL)
PENDING_2 = StatusText(StatusState.PENDING, "1 of 3 targets", URL)
PENDING_3 = StatusText(StatusState.PENDING, "2 of 3 targets", URL)
SUCCESS = StatusText(StatusState.SUCCESS, "planned only: no changes", URL)
FAILURE = StatusText(StatusState.FAILURE, "prod: a manifest is broken", URL)
ERROR = StatusText(StatusState.ERROR, "the branch was forced to another commit", URL)


@pytest.fixture
def gitlab():
    with StandInGitLab(TOKEN) as server:
        yield server


def build(url, ref="main", project="acme/synapse"):
    forge = ForgeStatus("gitlab", project, SecretName("env", "T"), url)
    return build_status_sender(forge, ref, Sensitive(TOKEN))


def row(text):
    return StatusRow("acme", COMMIT, CONTEXT, text)


def last(gitlab):
    job = gitlab.list_of(COMMIT, CONTEXT)[-1]
    return job.status, job.description


@pytest.mark.parametrize(
    ("end", "word"), [(SUCCESS, "success"), (FAILURE, "failed"), (ERROR, "failed")]
)
@pytest.mark.parametrize(
    "pending", [[], [PENDING], [PENDING, PENDING_2], [PENDING, PENDING_2, PENDING_3]]
)
def test_an_end_is_shown_whatever_came_before(gitlab, pending, end, word):
    """And read back as it was wished, although GitLab has one word for two ends."""
    sender = build(gitlab.url)
    for text in (*pending, end):
        assert sender.send(row(text)).finding is None
    assert last(gitlab) == (word, end.description)
    assert sender.read_shown_text(row(end)) == end
    assert len(gitlab.jobs) == 1


def test_words_of_a_pending_status_change_as_often_as_gitlab_takes_it(gitlab):
    """Once; what comes after is no error, and is shown at the latest by the end."""
    sender = build(gitlab.url)
    shown = []
    for text in (PENDING, PENDING, PENDING_2, PENDING_2, PENDING_3):
        assert sender.send(row(text)).finding is None
        shown.append(last(gitlab))
    assert shown == [
        ("pending", PENDING.description),
        ("pending", PENDING.description),
        ("running", PENDING_2.description),
        ("running", PENDING_2.description),
        ("running", PENDING_2.description),
    ]
    assert sender.read_shown_text(row(PENDING_3)) == PENDING_3
    assert sender.read_shown_text(row(SUCCESS)) == PENDING_2


def test_what_gitlab_cuts_is_shown_all_the_same(gitlab):
    """Else an end would be sent again each time that it is read."""
    long = StatusText(StatusState.FAILURE, "a  " + "b" * 300, URL + "y" * 300)
    sender = build(gitlab.url)
    assert sender.send(row(long)).finding is None
    assert sender.read_shown_text(row(long)) == long


def test_a_retry_that_succeeds_turns_red_into_green(gitlab):
    """Over a new pending one, as an end itself never changes."""
    sender = build(gitlab.url)
    for text in (PENDING, FAILURE, PENDING, SUCCESS):
        assert sender.send(row(text)).finding is None
        assert sender.read_shown_text(row(text)) == text
    assert [job.status for job in gitlab.jobs] == ["failed", "success"]


def test_a_commit_that_no_branch_has_can_still_be_ended(gitlab):
    """One that was forced away: the ref is sent, with which GitLab looks for no branch."""
    sender = build(gitlab.url, ref="refs/heads/main")
    assert sender.send(row(ERROR)).finding is None
    assert gitlab.jobs[-1].ref == "main"


@pytest.mark.parametrize("lost_before", [[], [PENDING]])
def test_a_lost_answer_is_made_good_by_the_same_status_again(gitlab, lost_before):
    """GitLab refuses the equal one, which is read and is done."""
    sender = build(gitlab.url)
    for text in lost_before:
        assert sender.send(row(text)).finding is None
    wished = PENDING_2 if lost_before else PENDING
    gitlab.failures += (
        [Failure(is_answer_lost=True)]
        if not lost_before
        else [
            Failure(400, {}, b'{"message": "Cannot transition status via :enqueue from :pending"}'),
            Failure(503),
        ]
    )
    assert sender.send(row(wished)).finding is not None
    assert sender.send(row(wished)).finding is None
    assert last(gitlab)[1] == wished.description


@pytest.mark.parametrize(
    ("status", "message", "wait", "is_final"),
    [
        (400, "state does not have a valid value", None, False),
        (401, "401 Unauthorized", None, False),
        (403, "403 Forbidden", None, True),
        (404, "404 Project Not Found", None, True),
        (404, "404 Commit Not Found", None, False),
        (409, "Another update to this commit status is in progress", None, False),
        (422, "The number of jobs has exceeded the limit", None, False),
        (429, "Retry later", 17, False),
        (403, "Forbidden for now", 30, False),
        (502, "GitLab is not responding", None, False),
    ],
)
def test_what_a_refusal_means(gitlab, status, message, wait, is_final):
    """Later, or never; nothing is shown, and the token is in no text."""
    headers = {"Retry-After": str(wait)} if wait else {}
    body = json.dumps({"message": f"{message} {TOKEN}"}).encode()
    gitlab.failures.append(Failure(status, headers, body))
    result = build(gitlab.url).send(row(SUCCESS))
    assert (result.retry_after, result.is_final) == (wait, is_final)
    assert TOKEN not in repr(result)
    assert result.finding.hint
    assert gitlab.jobs == []


@pytest.mark.parametrize("body", [b"", b"{}", b'"x"', b"<html>"])
def test_an_odd_answer_is_not_taken_for_no_status(gitlab, body):
    """Else an end would be sent again and again."""
    gitlab.failures.append(Failure(200, {}, body))
    with pytest.raises(StatusUnreadable):
        build(gitlab.url).read_shown_text(row(PENDING))


def test_jobs_of_other_names_and_shapes_are_passed_over(gitlab):
    """A project may be named by its number; what was canceled by hand is an end."""
    ours = {"id": 5, "name": CONTEXT, "status": "canceled", "description": None, "target_url": None}
    odd = [
        3,
        {"id": "9", "name": CONTEXT, "status": "success"},
        {**ours, "id": 4, "status": "success"},
    ]
    gitlab.failures.append(
        Failure(200, {}, json.dumps([*odd, ours, {**ours, "id": 9, "name": "x"}]).encode())
    )
    shown = build(gitlab.url, project="4711").read_shown_text(row(PENDING))
    assert shown == StatusText(StatusState.ERROR, "", "")
    assert gitlab.requests[-1].path.startswith("/projects/4711/")


@pytest.mark.parametrize("project", ["acme", "acme/../x", "acme/x y", "acme//x", "/acme/x"])
def test_a_project_has_a_form(project):
    """A path with its group, or a number."""
    with pytest.raises(InputError, match="repository"):
        build("https://gitlab.example/api/v4", project=project)
