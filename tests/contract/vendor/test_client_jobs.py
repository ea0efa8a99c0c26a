"""Runs, jobs, agents, storages and API v2: the client against the backend the facts tell of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from contract.vendor.failures import error_of
from contract.vendor.packages import config_of, zip_of
from contract.vendor.world import AGENT_TOKEN, OTHER_TENANT, TENANT

RUN = {"action": "convert", "agent": 101, "params": {"quality": 1}}


def publish(backend):
    """A plugin with one release that has an action."""
    plugin = backend.world.add_plugin(TENANT, "Yolo", "yolo")
    config = config_of()
    return plugin, backend.world.add_release(plugin, "1.0.0", zip_of(config), config=config)


def test_a_run_needs_the_platforms_form(backend, client):
    """The page's `parameters` and `context` are no fields; what is missing is named."""
    plugin, _ = publish(backend)
    failure = error_of(client.run_plugin, plugin["id"], {"parameters": {}, "context": {}})
    assert set(failure.field_errors()) == {("action",), ("agent",), ("params",)}
    failure = error_of(client.run_plugin, "yolo", {**RUN, "action": "train", "agent": 9})
    assert set(failure.field_errors()) == {("action",), ("agent",)}
    assert backend.world.jobs == []


@pytest.mark.parametrize("identity", ["id", "job_id", "both"])
@pytest.mark.parametrize("ids", ["uuid", "int"])
def test_a_run_answers_a_job(serve, connect, identity, ids):
    backend = serve(run_answer=identity, job_ids=ids, run_status=202)
    publish(backend)
    client = connect(backend)
    run = client.run_plugin("yolo", {**RUN, "version": "1.0.0"})
    job = run.get("job_id", run.get("id"))
    states = [client.get_job(job)["status"] for _ in range(3)]
    assert states == ["RUNNING", "SUCCEEDED", "SUCCEEDED"]
    answer = client.get_job(job)
    assert answer["progress_record"]["current_progress"]["overall"] == 100
    assert answer["completed"].endswith("+09:00")


def test_a_run_may_answer_its_result(serve, connect):
    """An object as it is, anything else under `result`; there is no job of it."""
    for answer, keys in (("result", {"labels": 3}), ("text result", {"result": "3 labels"})):
        backend = serve(run_answer=answer)
        publish(backend)
        client = connect(backend)
        assert client.run_plugin("yolo", RUN) == keys
        assert client.list_jobs() == ([], 0)


def test_a_lost_answer_of_a_run(backend, client):
    publish(backend)
    backend.lose_answer("POST", "/plugins/yolo/run/")
    assert error_of(client.run_plugin, "yolo", RUN).effect.value == "unknown"
    assert len(backend.world.jobs) == 1


@pytest.mark.parametrize("form", ["int", "object"])
def test_a_job_names_its_release(serve, connect, form):
    backend = serve(job_release=form)
    _, release = publish(backend)
    client = connect(backend)
    job = client.get_job(client.run_plugin("yolo", RUN)["id"])
    whole = {"id": release["id"], "plugin": {"code": "yolo"}, "version": "1.0.0"}
    assert job["plugin_release"] == (release["id"] if form == "int" else whole)
    assert client.get_job(job["id"], {"expand": "plugin_release"})["plugin_release"] == whole
    assert "plugin" not in job


def test_a_list_of_jobs_filters_what_it_knows(serve, connect):
    """By status in any case; `plugin` is passed over unless the backend has it."""
    for filters, count in ((frozenset({"status"}), 2), (frozenset({"status", "plugin"}), 1)):
        backend = serve(job_filters=filters)
        publish(backend)
        other = backend.world.add_plugin(TENANT, "Other", "other")
        backend.world.add_release(other, "1.0.0", b"", config=config_of("other"))
        client = connect(backend)
        for code in ("yolo", "other"):
            client.run_plugin(code, RUN)
        assert client.list_jobs({"plugin": other["id"]})[1] == count
        assert client.list_jobs({"status": "pending"})[1] == 2
        assert client.list_jobs({"status": "failed"}) == ([], 0)
        newest_first = [job["id"] for job in backend.world.jobs][::-1]
        assert [job["id"] for job in client.iterate_jobs({"page_size": 1})] == newest_first


@pytest.mark.parametrize("narrows", [True, False])
def test_jobs_by_their_time(serve, connect, narrows):
    """Asked for, narrowed or not; the newest comes first in any case."""
    backend = serve(narrows_jobs=narrows)
    publish(backend)
    client = connect(backend)
    first, second = (client.run_plugin("yolo", RUN)["id"] for _ in range(2))
    backend.world.jobs[0]["created"] -= timedelta(days=2)
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    jobs, _ = client.list_jobs({"created__gte": since, "created_after": since})
    assert [job["id"] for job in jobs] == ([second] if narrows else [second, first])


def test_a_job_is_reported_in_the_platforms_words(backend, client):
    publish(backend)
    job = client.run_plugin("yolo", RUN)["id"]
    assert set(error_of(client.update_job, job, {"status": "failed"}).field_errors()) == {
        ("status",)
    }
    job = client.update_job(job, {"status": "FAILED", "meta": {"a": 1}, "progress": 7})
    assert (job["status"], job["meta"]) == ("FAILED", {"a": 1})
    assert job["completed"] is not None
    assert "progress" not in job


def test_logs_are_404_until_there_are_some(backend, client):
    """While the job itself is there; then lines of text."""
    publish(backend)
    job = client.run_plugin("yolo", RUN)["id"]
    assert error_of(client.list_job_console_logs, job).status_code == 404
    assert client.get_job(job)["status"] == "RUNNING"
    client.get_job(job)
    assert client.list_job_console_logs(job) == list(backend.world.job_lines)
    assert list(client.iterate_job_console_logs(job)) == list(backend.world.job_lines)


def test_the_stream_of_a_job(backend, client):
    publish(backend)
    job = client.run_plugin("yolo", RUN)["id"]
    frames = [f for f in client.tail_job_console_logs(job) if f["type"] != "heartbeat"]
    assert [f["type"] for f in frames] == ["connected", "log", "log", "complete"]
    assert frames[2]["data"] == f"{backend.world.job_lines[1]}\n"
    unknown = [f["type"] for f in client.tail_job_console_logs("nobody")]
    assert unknown == ["heartbeat", "error"]


def test_a_backend_without_the_stream(serve, connect):
    backend = serve(tail="404")
    publish(backend)
    client = connect(backend)
    job = client.run_plugin("yolo", RUN)["id"]
    assert error_of(list, client.tail_job_console_logs(job)).status_code == 404


def test_agents(backend, client):
    """`?id=` is passed over; the health check answers an object, a wrong token is not quoted."""
    (agent,) = client.iterate("agents", {"id": 999})
    assert agent["id"] == backend.world.agents[0]["id"]
    assert client.health_check_agent(AGENT_TOKEN) == {"status": "connected"}
    failure = error_of(client.health_check_agent, "f" * 40)
    assert failure.status_code == 404
    assert "f" * 40 not in str(failure)


@pytest.mark.parametrize("in_pages", [True, False], ids=["page", "bare list"])
def test_storages(serve, connect, in_pages):
    """Listed without their configuration, read with it."""
    backend = serve(storages_in_pages=in_pages)
    client = connect(backend)
    configuration = {"bucket_name": "b", "access_key": "a", "secret_key": "s3cr3t"}
    body = {"name": "raw", "provider": "amazon_s3", "category": "external"}
    storage = client.create_storage({**body, "configuration": configuration})
    backend.world.add_storage("theirs", tenant=OTHER_TENANT)
    assert [one["id"] for one in client.list_storages()] == [storage["id"]]
    assert "configuration" not in client.list_storages()[0]
    assert client.get_storage(storage["id"])["configuration"] == configuration
    assert len(list(client.iterate("storages", {"category": "internal"}))) == 0


@pytest.mark.parametrize("form", ["left out", "empty"])
def test_a_credential_regime_keeps_the_secrets(serve, connect, form):
    """With the session call alone they would come; here they are absent, or empty."""
    backend = serve(credential_regime="session", withheld_secrets=form)
    configuration = {"bucket_name": "b", "access_key": "a", "secret_key": "s"}
    storage = backend.world.add_storage("raw", configuration=configuration)
    answer = connect(backend).get_storage(storage["id"])
    withheld = {"access_key": "", "secret_key": ""} if form == "empty" else {}
    assert answer["configuration"] == {"bucket_name": "b", **withheld}
    assert answer["credential_regime"] == "session"


def test_refused_keys_of_a_storage_are_named_without_values(serve, connect):
    """The error has the paths; its text, which people read, has no value."""
    client = connect(serve(refuses_storage_keys=True))
    configuration = {"bucket_name": "b", "access_key_id": "k", "secret_access_key": "s3cr3t"}
    body = {"name": "raw", "provider": "amazon_s3", "configuration": configuration}
    failure = error_of(client.create_storage, body)
    paths = set(failure.field_errors())
    keys = {"access_key", "secret_key", "access_key_id", "secret_access_key"}
    assert paths == {("configuration", key) for key in keys}
    assert "s3cr3t" not in str(failure)


def test_a_dry_run_of_v2_sees_no_taken_code(backend, client):
    """`data: {dry_run, action, validated_fields}`: confirmed, stored nowhere, blind to conflicts."""
    backend.world.add_plugin(TENANT, "Yolo", "yolo")
    body = {"name": "Yolo", "code": "yolo", "category": "upload"}
    answer = client.dry_run.v2.create_plugin(body)
    assert (answer["dry_run"], answer["action"]) == (True, "create")
    assert answer["validated_fields"] == ["category", "code", "name"]
    assert len(backend.world.plugins) == 1
    assert error_of(client.v2.create_plugin, body).status_code == 409
    backend.answer_once("POST", "/v2/plugins/", 201, {"data": {"id": 1}, "meta": {}})
    assert "does not say that it was a dry run" in str(
        error_of(client.dry_run.v2.create_plugin, body)
    )


def test_a_v2_that_only_reads(serve, connect):
    """405 of an old backend: nothing was done."""
    backend = serve(writes_v2=False)
    client = connect(backend)
    body = {"name": "Yolo", "code": "yolo", "category": "upload"}
    failure = error_of(client.v2.create_plugin, body)
    assert (failure.status_code, failure.effect.value) == (405, "none")
    assert client.v2.list_plugins() == []


def test_lists_of_v2_go_by_cursor(backend, client):
    for number in range(450):
        backend.world.add_plugin(TENANT, f"p{number}", f"p-{number}")
    assert len({p["code"] for p in client.v2.list_plugins()}) == 450


@pytest.mark.parametrize("pk", ["1?x", "1#x", "100%", "a&b"])
def test_odd_ids_are_refused_by_v2_and_reach_it_whole(backend, client, pk):
    """A 400 of its guard, and not another object's answer."""
    assert error_of(client.v2.get_plugin, pk).status_code == 400


def test_control_characters_are_refused_by_v2(client):
    body = {"name": "Yo\x07lo", "code": "yolo", "category": "upload"}
    assert error_of(client.v2.create_plugin, body).status_code == 400
    storage = client.v2.create_plugin({**body, "name": "Two\nlines"})
    assert storage["release"]["version"] == "0.0.0"
