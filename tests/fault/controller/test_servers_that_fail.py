"""A forge, a webhook, Git or the backend is away for a while: what is told at the end is the same."""

from forges.loopback_server import Failure, wait_until


def test_a_forge_that_refuses_for_a_while(site):
    """Errors, a rate limit, lost answers: the end is shown at last, and messages do not wait."""
    first = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(first, "success")
    site.forge.failure_of_all = Failure(500)
    broken = site.commit("\t")
    site.wait_for_message("failed")
    assert site.list_statuses(broken) == []
    limit = {"Retry-After": "1"}
    site.forge.failures += [Failure(429, limit), Failure(403, limit), Failure(is_answer_lost=True)]
    site.forge.failure_of_all = None
    site.wait_for_end(broken, "failure")
    site.check_laws()


def test_a_forge_that_never_takes_a_status(site):
    """403: nothing is sent there again for this commit, all else goes on, and the next is tried."""
    site.forge.failure_of_all = Failure(403)
    refused = site.commit("other")
    site.start()
    site.wait_for_request(f"/statuses/{refused}")
    site.wait_quietly(2)
    count = sum(refused in request.path for request in site.forge.requests)
    assert count <= 2
    site.forge.failure_of_all = None
    site.wait_quietly(1.5)
    assert site.list_statuses(refused) == []
    following = site.commit("images")
    site.wait_for_end(following, "success")
    site.check_laws()


def test_a_webhook_and_git_that_are_away(site):
    """Messages arrive later, each fact once; a fetch that fails for a while is told of, once."""
    first = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(first, "success")
    site.sink.failure_of_all = Failure(503)
    site.change_by_hand("by hand")
    wait_until(lambda: site.list_messages("drift"), 20, "an attempt")
    site.git.failure = 500
    unseen = site.commit("other")
    site.sink.failures.append(Failure(is_answer_lost=True))
    site.sink.failure_of_all = None
    site.wait_for_message("failed")
    assert site.get_end(unseen) == ""
    site.git.failure = 0
    site.wait_for_end(unseen, "success")
    site.wait_for_message("recovered")
    site.check_laws()
    assert len({message["id"] for message in site.list_messages("drift")}) == 1


def test_a_backend_that_fails_and_hangs(site):
    """The target fails and recovers; the commit is red, and then green."""
    first = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(first, "success")
    site.set_faults({"match": {"method": "GET"}, "do": {"status": 500}})
    commit = site.commit("other")
    site.wait_for_end(commit, "failure")
    site.wait_for_message("failed")
    site.set_faults({"match": {"method": "GET", "from": 1, "to": 2}, "do": {"latency": 500}})
    site.wait_for_end(commit, "success")
    site.wait_for_message("recovered")
    site.check_laws()
    assert [message["event"] for message in site.sink.messages] == ["failed", "recovered"]


def test_a_git_server_that_lags(site):
    """It shows an older commit for some polls: nothing goes back, and nobody is told."""
    site.write_configuration(**{"second_look: 1s": "second_look: 1m"})
    first = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(first, "success")
    head = site.commit("other")
    site.wait_for_end(head, "success")
    statuses = len(site.github.statuses)
    site.run_git("push", "-q", "--force", "origin", f"{first}:main")
    site.wait_quietly(2.5)
    site.run_git("push", "-q", "--force", "origin", f"{head}:main")
    site.wait_quietly(2.5)
    [revision, _] = site.get("/api/v1/revisions?source=acme")["items"]
    assert (revision["commit"], revision["end"]) == (head, "success")
    assert len(site.github.statuses) == statuses
    assert site.sink.messages == []
    site.check_laws()
