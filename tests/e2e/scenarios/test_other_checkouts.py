"""A checkout that was emptied, or is another one: what is recorded is not forgotten for that."""

from __future__ import annotations

from e2e.scenarios.workplace import STORAGE, Workplace


def declare(place: Workplace, *names: str) -> None:
    """Manifests of these storages alone."""
    documents = (STORAGE.replace("raw-data", name).replace("Raw data", name) for name in names)
    place.write("manifests/storage.yaml", *documents)


def list_recorded(place: Workplace) -> set[str]:
    return {word for word in place.run("state", "show", code=0).out.split() if "/" in word}


def test_many_that_are_forgotten_stop_an_apply(ready: Workplace) -> None:
    """Five of six, and all of three beside new ones: by the guard's name it goes on."""
    place = ready
    (place.root / "manifests/plugin.yaml").unlink()
    declare(place, "a", "b", "c", "d", "e", "f")
    place.apply()
    everything = list_recorded(place)
    assert len(everything) >= 6
    declare(place, "f")
    planned = place.plan(code=0)
    assert "5 of 6" in planned.text
    stopped = place.apply(code=5)
    assert "right checkout" in stopped.text
    assert "--override-guard mass-missing" in stopped.text
    assert list_recorded(place) == everything
    place.apply("--override-guard", "no-manifests", code=5)
    assert list_recorded(place) == everything
    declare(place, "x", "y")
    place.apply(code=5)
    assert list_recorded(place) == everything
    declare(place, "f")
    place.apply("--override-guard", "mass-missing")
    assert "storage/e" not in list_recorded(place)
    declare(place, "f", "g", "h", "i", "j")
    place.apply()
    declare(place, "f", "g", "h")
    place.apply()
    place.unchanged()
