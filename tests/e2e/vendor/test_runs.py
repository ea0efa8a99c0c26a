"""Runs, verification, jobs and the bytes of releases on the vendor's v1."""

from __future__ import annotations

from datetime import timedelta

import pytest
from contract.vendor.packages import config_of, write_package, zip_of
from contract.vendor.world import TENANT, TOKEN
from e2e.vendor.depth import choose

ACTION = {"entrypoint": "plugin.convert.run", "method": "job"}
VERIFY = "source: ./plugins/yolo\n  verify: {%s, timeout: 10, poll_interval: 0.01}\n"


@pytest.fixture
def verified(create_project):
    """Makes a project whose release says how it is verified."""

    def create(backend, text: str = "agent: 101"):
        place = create_project(backend)
        place.edit("manifests/plugin.yaml", "source: ./plugins/yolo\n", VERIFY % text)
        return place

    return create


def runs_of(backend):
    """The bodies of all runs."""
    return [one.json() for one in backend.requests if one.path.endswith("/run/")]


JOBS = choose(
    {f"{ids} {name}": (ids, name) for ids in ("uuid", "int") for name in ("id", "job_id", "both")},
    "uuid id", "uuid both", "int job_id",
)  # fmt: skip


@pytest.mark.parametrize(("ids", "identity"), JOBS.values(), ids=JOBS)
def test_the_only_action_runs_by_itself(serve, verified, ids, identity):
    """In the platform's form, with the version that was published; once, and then no more."""
    backend = serve(run_answer=identity, job_ids=ids)
    place = verified(backend)
    place.apply()
    (body,) = runs_of(backend)
    fields = {"action": "convert", "agent": 101, "params": {}, "version": "1.0.0"}
    assert fields.items() <= body.items()
    assert "parameters" not in body
    place.unchanged()
    place.apply()
    assert len(runs_of(backend)) == 1


def test_several_actions_are_asked_for_at_validate(backend, verified):
    """With the place and the names; with one named, all is well."""
    place = verified(backend)
    config = config_of(actions={"convert": ACTION, "train": ACTION})
    write_package(place.root / "plugins" / "yolo", config)
    ran = place.run("validate", code=1)
    assert "action" in ran.text
    assert "convert" in ran.text
    assert "train" in ran.text
    assert "manifests/plugin.yaml:" in ran.text
    place.edit("manifests/plugin.yaml", "agent: 101", "agent: 101, action: train")
    place.run("validate", code=0)
    place.apply()
    assert [body["action"] for body in runs_of(backend)] == ["train"]


@pytest.mark.parametrize("answer", ["result", "text result"])
def test_a_bare_result_ends_a_verification(serve, verified, answer):
    backend = serve(run_answer=answer)
    place = verified(backend)
    place.apply()
    place.unchanged()
    place.apply()
    assert len(runs_of(backend)) == 1


def test_a_job_that_fails_is_no_verification(backend, verified):
    backend.world.job_end = "FAILED"
    place = verified(backend)
    assert "did not pass" in place.apply(code=3).text
    assert len(backend.world.jobs) == 1
    backend.world.job_end = "SUCCEEDED"
    place.run("verify", "release/yolo", code=0)
    place.unchanged()


def test_a_lost_answer_of_a_run_starts_no_second_job(backend, verified):
    place = verified(backend)
    backend.lose_answer("POST", r"/plugins/[^/]+/run/")
    place.apply(code=None)
    place.apply(code=None)
    assert len(backend.world.jobs) == 1


@pytest.mark.parametrize("wanted", ["action", "agent"])
def test_a_run_says_what_the_backend_wants(serve, create_project, wanted):
    """By hand without it: the missing field is named, and not said to be wrong parameters.

    The only action runs by itself, so `action` is missing where the package lists none.
    """
    backend = serve(run_needs=(wanted,))
    applied = create_project(backend)
    if wanted == "action":
        write_package(applied.root / "plugins" / "yolo", config_of(actions={}))
    applied.apply()
    ran = applied.run("run", "yolo", "-p", "quality=1", code=None)
    assert ran.code
    assert f"requires an {wanted}" in ran.text, ran.text
    assert "parameters are wrong" not in ran.text
    assert runs_of(backend)
    assert backend.world.jobs == []


def add_job(backend, code: str = "yolo", status: str = "RUNNING"):
    """A job of a release of a plugin with this code, which stays as it is."""
    world = backend.world
    plugin = world.add_plugin(TENANT, code.title(), code)
    config = config_of(code)
    release = world.add_release(plugin, "1.0.0", zip_of(config), config=config)
    job = {
        **world.stamp("job"), "plugin": plugin, "release": release, "agent": 101,
        "action": "convert", "params": {}, "status": status, "result": None, "meta": {},
        "metrics_record": {}, "console_logs": [], "completed": None, "tenant": TENANT,
        "progress_record": {"current_progress": {"overall": 37, "step": "convert", "percent": 9}},
    }  # fmt: skip
    world.jobs.append(job)
    return job


@pytest.mark.parametrize("form", ["int", "object"])
def test_a_list_of_jobs_shows_their_plugins(serve, create_project, form):
    """Also where a job has its release's id alone, which is read once for all of its jobs."""
    backend = serve(job_release=form)
    first = add_job(backend)
    for _ in range(3):
        backend.world.jobs.append({**first, **backend.world.stamp("job")})
    ran = create_project(backend).run("get", "jobs", code=0)
    assert sum("yolo" in line for line in ran.out.splitlines()) == 4, ran.out
    reads = backend.requests_to("GET", f"/plugin_releases/{first['release']['id']}/")
    assert len(reads) <= 1


def test_a_filter_that_the_backend_passes_over_is_applied_here(serve, create_project):
    backend = serve(job_filters=frozenset())
    first = add_job(backend, "yolo")
    other = add_job(backend, "other", status="FAILED")
    place = create_project(backend)
    by_plugin = place.run("get", "jobs", "--plugin", "other", "--json", code=0).out
    assert f'"{other["id"]}"' in by_plugin
    assert f'"{first["id"]}"' not in by_plugin
    by_status = place.run("get", "jobs", "--status", "running", "--json", code=0).out
    assert f'"{other["id"]}"' not in by_status
    assert f'"{first["id"]}"' in by_status


@pytest.mark.parametrize("narrows", [True, False])
def test_jobs_since_a_date_are_not_all_jobs_there_are(serve, create_project, narrows):
    """Asked for in the form that narrows; read no further than the first that is older."""
    backend = serve(narrows_jobs=narrows)
    job = add_job(backend)
    old = job["created"] - timedelta(days=9)
    for seconds in range(450):
        stamp = {**backend.world.stamp("job"), "created": old - timedelta(seconds=seconds)}
        backend.world.jobs.insert(0, {**job, **stamp})
    place = create_project(backend)
    before = len(backend.requests_to("GET", "/jobs/"))
    ran = place.run("get", "jobs", "--created-after", "1d", "--json", code=0)
    assert [one["id"] for one in ran.document["jobs"]] == [str(job["id"])]
    reads = backend.requests_to("GET", "/jobs/")[before:]
    assert reads[0].parameter("created__gte")
    assert len(reads) <= 2


def test_no_logs_yet_is_no_error(backend, create_project):
    job = add_job(backend)
    place = create_project(backend)
    place.run("jobs", "logs", str(job["id"]), code=0)
    assert place.run("jobs", "logs", "999", code=None).code != 0


def test_the_progress_of_a_job(backend, create_project):
    job = add_job(backend, status="STOPPED")
    ran = create_project(backend).run("get", "job", str(job["id"]), code=0)
    assert "37" in ran.out


def test_the_bytes_of_a_release_are_checked(backend, applied):
    """Fetched without a token; other bytes under the same version are told."""
    applied.run("verify", "--bytes", "release/yolo", code=0)
    fetches = [one for one in backend.requests if one.path.startswith("/files/")]
    assert fetches
    for one in fetches:
        assert TOKEN not in str(one.headers)
        assert one.headers.get("Synapse-Tenant") is None
    backend.world.releases[0]["content"] = zip_of(config_of(), other="bytes")
    ran = applied.run("verify", "--bytes", "release/yolo", code=None)
    assert ran.code != 0
    assert "release/yolo@1.0.0" in ran.text


def test_a_redirect_of_the_bytes_does_not_get_the_token(serve, create_project):
    """The presigned URL leads to another host; neither headers nor the query go along."""
    elsewhere = serve()
    backend = serve(file_redirect=f"{elsewhere.url}/elsewhere")
    place = create_project(backend)
    place.apply()
    place.run("verify", "--bytes", "release/yolo", code=None)
    assert any(one.path.startswith("/files/") for one in backend.requests)
    for one in elsewhere.requests:
        assert TOKEN not in str(one.headers)
        assert one.headers.get("Synapse-Access-Token") is None


def test_an_expired_url_is_told_as_such(serve, create_project):
    """Not as other bytes."""
    backend = serve(file_seconds=-1)
    place = create_project(backend)
    place.apply()
    ran = place.run("verify", "--bytes", "release/yolo", code=None)
    assert ran.code != 0
    assert "403" in ran.text or "expired" in ran.text


@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "other bytes"])
def test_an_import_looks_at_the_bytes(backend, create_project, is_ours):
    """A release whose bytes are those of the package here is as good as published by us."""
    place = create_project(backend)
    place.apply()
    plugin, release = backend.world.plugins[0], backend.world.releases[0]
    if not is_ours:
        release["content"] = zip_of(config_of(), other="bytes")
    release["meta"] = {}
    for path in (place.root / ".synapse-apply" / "state").iterdir():
        path.unlink()
    place.run("state", "init", code=0)
    place.run("import", "plugin/yolo", str(plugin["id"]), code=0)
    place.run("import", "release/yolo@1.0.0", str(release["id"]), code=0)
    assert any(one.path.startswith("/files/") for one in backend.requests)
    ran = place.plan(code=None)
    assert ("release/yolo@1.0.0 has unreleased changes" in ran.text) is not is_ours, ran.text


def test_a_release_is_shown_with_its_plugin(backend, applied):
    release = str(backend.world.releases[0]["id"])
    ran = applied.run("get", "release", release, "--expand", "plugin", "--json", code=0)
    assert '"code": "yolo"' in ran.out


def test_v1_cannot_stop_a_job(backend, create_project):
    """Said so, and nothing is reported in its place."""
    job = add_job(backend)
    ran = create_project(backend).run("jobs", "stop", str(job["id"]), "--auto-approve", code=None)
    assert ran.code not in {0, 64}
    assert "v1" in ran.text
    assert job["status"] == "RUNNING"
