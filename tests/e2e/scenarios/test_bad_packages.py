"""Packages that cannot be used: found before anything is sent, told with the manifest's line."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.scenarios.workplace import CONFIG, RELEASE, Workplace
from git_repositories import make_repository

Spoil = Callable[[Workplace], None]


def as_zip(place: Workplace, fill: Callable[[zipfile.ZipFile], None]) -> None:
    with zipfile.ZipFile(place.root / "p.zip", "w") as archive:
        archive.writestr("config.yaml", CONFIG)
        fill(archive)
    use_file(place, "p.zip")


def use_file(place: Workplace, name: str) -> None:
    place.edit("manifests/plugin.yaml", "source: ./plugins/yolo", f"file: {name}")


def no_folder(place: Workplace) -> None:
    place.edit("manifests/plugin.yaml", "./plugins/yolo", "./plugins/none")


def no_zip(place: Workplace) -> None:
    use_file(place, "none.zip")


def not_a_zip(place: Workplace) -> None:
    place.write("p.zip", "this is text")
    use_file(place, "p.zip")


def cut_short(place: Workplace) -> None:
    as_zip(place, lambda archive: archive.writestr("a.py", "x" * 5000))
    path = place.root / "p.zip"
    path.write_bytes(path.read_bytes()[:-40])


def climbing(place: Workplace) -> None:
    as_zip(place, lambda archive: archive.writestr("../evil.py", "x"))


def absolute(place: Workplace) -> None:
    as_zip(place, lambda archive: archive.writestr("/etc/evil.py", "x"))


def link_out(place: Workplace) -> None:
    (place.root / "plugins" / "yolo" / "link").symlink_to("/etc/hostname")


def pointer_file(place: Workplace) -> None:
    place.write(
        "plugins/yolo/model.pt",
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n",
    )


def contradicting_version(place: Workplace) -> None:
    place.edit("plugins/yolo/config.yaml", "1.0.0", "9.9.9")


def contradicting_code(place: Workplace) -> None:
    place.edit("plugins/yolo/config.yaml", "code: yolo", "code: other")


def broken_config(place: Workplace) -> None:
    place.write("plugins/yolo/config.yaml", "name: [unclosed\n")


def unknown_ref(place: Workplace) -> None:
    make_repository(place.root)
    place.edit(
        "manifests/plugin.yaml", "source: ./plugins/yolo", "source: {path: plugins/yolo, ref: v9}"
    )


def outside(place: Workplace) -> None:
    place.edit("manifests/plugin.yaml", "./plugins/yolo", "../elsewhere")


CASES: dict[Spoil, str] = {
    no_folder: "plugins/none",
    no_zip: "none.zip",
    not_a_zip: "p.zip",
    cut_short: "p.zip",
    climbing: "../evil.py",
    absolute: "/etc/evil.py",
    link_out: "link",
    pointer_file: "model.pt",
    contradicting_version: "9.9.9",
    contradicting_code: "other",
    broken_config: "plugins/yolo/config.yaml",
    unknown_ref: "v9",
    outside: "../elsewhere",
}


@pytest.mark.parametrize("spoil", CASES, ids=lambda spoil: spoil.__name__)
def test_a_package_that_cannot_be_used(ready, server, spoil):
    """Exit 1 from validate, plan and apply; the place, the thing, a hint; nothing sent."""
    spoil(ready)
    for ran in (ready.run("validate"), ready.plan(), ready.apply(code=None)):
        assert ran.code == 1, ran.text
        assert CASES[spoil] in ran.err
        assert "Hint:" in ran.err
        assert "manifests/plugin.yaml:" in ran.err or "config.yaml:2:1" in ran.err
    assert server.counts == (0, 0, 0)
    assert server.writes == []


def test_all_findings_come_in_one_run(ready):
    """A bad package does not hide what is wrong elsewhere."""
    no_folder(ready)
    ready.edit("manifests/storage.yaml", "base_path", "base_pth")
    ready.write(
        "manifests/more.yaml", RELEASE.replace("1.0.0", "2.0.0").replace("plugins/yolo", "no")
    )
    ran = ready.apply(code=1)
    assert "plugins/none" in ran.err
    assert "base_path" in ran.err
    assert "manifests/more.yaml:" in ran.err


def test_a_package_over_the_limit(make, server):
    """max_package_size of the project file."""
    import json

    from e2e.scenarios.workplace import project

    place = make(server)
    file = json.loads(project(server.url))
    file["max_package_size"] = 1000
    place.write("synapse-apply.yaml", json.dumps(file))
    place.write("plugins/yolo/big.bin", "x" * 2000)
    place.run("state", "init", code=0)
    ran = place.apply(code=1)
    assert "max_package_size" in ran.err
    assert "manifests/plugin.yaml:" in ran.err
    assert server.writes == []


def test_a_package_that_is_too_large_for_the_server(tmp_path, make):
    """413: the release fails with words, everything else is done, the next apply goes on."""
    from e2e.scenarios.workplace import TOKEN, Server

    from synapse_apply import EmbeddedServer

    data: Path = tmp_path / "small"
    with EmbeddedServer(data, tokens={TOKEN: "acme"}, tenant="acme", max_upload=2000) as running:
        server = Server(running.url)
        place = make(server)
        place.write("plugins/yolo/big.bin", os.urandom(3000).hex())
        place.run("state", "init", code=0)
        ran = place.apply(code=3)
        assert "answered 413" in ran.text
        assert server.counts == (1, 0, 1)
        (place.root / "plugins" / "yolo" / "big.bin").unlink()
        place.apply()
        assert server.counts == (1, 1, 1)
