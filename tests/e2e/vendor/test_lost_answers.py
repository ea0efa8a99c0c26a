"""Answers that get lost after the vendor's v1 has acted: nothing is doubled, nothing unknown."""

from __future__ import annotations

import pytest
from e2e.vendor.depth import choose

CREATES = ["/plugins/", "/plugin_releases/", "/storages/"]
GUESSES = {
    "likeliest": {},
    "no meta": {"keeps_meta": False},
    "first release": {"makes_first_release": True},
    "bare list": {"storages_in_pages": False},
    "tenants shown": {"shows_tenant": True},
}
CHOSEN = choose(GUESSES, "likeliest", "no meta")
STATUSES = choose({str(one): one for one in (502, 504, 520, 524)}, "504", "524")
EXTRAS = (
    'category: upload\n  version: "1.0.0"\n  author: A\n',
    "source: ./plugins/yolo\n  changelog: First\n  is_stable: true\n",
)


@pytest.mark.parametrize("guesses", CHOSEN.values(), ids=CHOSEN)
@pytest.mark.parametrize("path", CREATES)
def test_a_lost_create_is_found_and_not_sent_again(serve, create_project, path, guesses):
    """By code, by code and version, by name; the next apply has nothing to settle."""
    backend = serve(**guesses)
    place = create_project(backend)
    backend.lose_answer("POST", path)
    ran = place.apply(code=None)
    assert ran.code in {0, 7}, ran.text
    place.apply()
    assert len(backend.requests_to("POST", path)) == 1
    extra = int(backend.world.guesses.makes_first_release)
    assert backend.counts == (1, 1 + extra, 1)
    place.unchanged()


@pytest.mark.parametrize("path", CREATES)
def test_fields_that_are_not_kept_do_not_hide_a_lost_create(backend, place, path):
    """What is found shows less than was sent, and is ours all the same."""
    for text in EXTRAS:
        place.edit("manifests/plugin.yaml", f"{text.split(chr(10))[0]}\n", text)
    backend.lose_answer("POST", path)
    place.apply(code=None)
    place.apply()
    assert backend.counts == (1, 1, 1)
    assert len(backend.requests_to("POST", path)) == 1
    place.unchanged()


def test_a_lost_update(backend, applied):
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    backend.lose_answer("PUT", r"/plugins/\d+/")
    ran = applied.apply(code=None)
    assert ran.code in {0, 7}, ran.text
    applied.apply()
    assert backend.world.plugins[0]["description"] == "Finds more"
    applied.unchanged()


def test_a_lost_refusal_is_not_followed_by_another_upload(serve, create_project):
    """The upload by code got no answer: whether it was refused is unknown, so the id waits."""
    backend = serve(plugin_reference="id")
    place = create_project(backend)
    backend.lose_answer("POST", "/plugin_releases/")
    place.apply(code=7)
    assert len(backend.requests_to("POST", "/plugin_releases/")) == 1
    place.apply(code=7)
    assert len(backend.requests_to("POST", "/plugin_releases/")) == 1


@pytest.mark.parametrize("status", STATUSES.values(), ids=STATUSES)
@pytest.mark.parametrize("path", CREATES)
def test_an_answer_of_the_edge_after_the_create_arrived(backend, place, path, status):
    """The edge gave up. The vendor's own client would send it again."""
    backend.spoil_answer("POST", path, status)
    ran = place.apply(code=None)
    assert ran.code in {0, 7}, ran.text
    place.apply()
    assert backend.counts == (1, 1, 1)
    assert len(backend.requests_to("POST", path)) == 1
    place.unchanged()
