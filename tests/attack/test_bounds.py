"""What a checkout or a server could make without bound: memory, time, pages, inflated bytes.

Commands run as processes of their own, since memory is a process's. What they may take is 500 MB,
and a minute of the processor, which nothing takes that ends by itself.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import struct
import subprocess
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from forking import ForkedProcess
from git_repositories import commit, make_repository
from installed import BIN, environment
from unit.client.scripted import ScriptedServer, answer, raw

from synapse_apply import BackendClient, ClientError
from synapse_apply.client.calls import ClientCall
from synapse_apply.client.dialects import V1, V2
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.sse import (
    OversizedEventError,
    iter_server_sent_events_and_heartbeats,
)
from synapse_apply.client.lists import (
    JsonItems,
    ListQuery,
    NotItemsError,
    iter_streamed_list_items_of_all_pages,
    reread_list_until_complete,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.resource import PackageSource
from synapse_apply.packages.ignore import parse_pattern_or_none_if_blank_or_comment
from synapse_apply.packages.sources import list_package_files

MOST_MEMORY = 500 * 1024  # KiB
MOST_SECONDS = 60.0
LARGE = "x" * 900_000


def bounded(folder: Path, *typed: str) -> tuple[int, str]:
    """Run a command; it must keep within memory and time. Its exit code and its output."""
    with (folder / "out.txt").open("wb") as out:
        process = ForkedProcess(
            [str(BIN / "synapse-apply"), *typed],
            cwd=folder,
            env=environment({}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert used.ru_maxrss < MOST_MEMORY, f"{used.ru_maxrss // 1024} MB"
    assert used.ru_utime + used.ru_stime < MOST_SECONDS
    return process.returncode, (folder / "out.txt").read_text(encoding="utf-8")


def plugin(number: int, **spec: Any) -> str:
    name = f"p{number}"
    document = {
        "apiVersion": "synapse-apply/v1",
        "kind": "Plugin",
        "metadata": {"name": name},
        "spec": {"name": name, "code": name, **spec},
    }
    return json.dumps(document)


PROJECTS: dict[str, Callable[[], tuple[dict[str, Any], list[str], dict[str, Any]]]] = {
    "a text used often": lambda: (
        {"x": {"default": LARGE}},
        [plugin(n, description="a ${var.x} b") for n in range(1000)],
        {},
    ),
    "texts in one list": lambda: (
        {"x": {"default": LARGE[:9000]}},
        [plugin(n, configuration={"a": ["${var.x}-"] * 100}) for n in range(150)],
        {},
    ),
    "a map used often": lambda: (
        {"m": {"type": "map", "default": {f"k{n}": {"a": n} for n in range(4500)}}},
        [plugin(n, configuration={"a": ["${var.m}"] * 20}) for n in range(300)],
        {},
    ),
    "an overlay for all": lambda: (
        {},
        [plugin(n) for n in range(1000)],
        {"plugin/*": {"spec": {"configuration": {f"k{n}": {"a": n} for n in range(4500)}}}},
    ),
    "an overlay of variables": lambda: (
        {"x": {"default": LARGE}},
        [plugin(n) for n in range(1000)],
        {"plugin/*": {"spec": {"configuration": {"a": ["${var.x} "] * 30}}}},
    ),
}


@pytest.mark.parametrize("project", PROJECTS)
def test_a_small_project_that_stands_for_a_large_one(tmp_path, project):
    """It is one finding with its place, and validate stays small."""
    variables, documents, overlays = PROJECTS[project]()
    target = {"url": "http://127.0.0.1:9", "token": {"env": "X"}, "overlays": overlays}
    settings = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["m.yaml"]}
    settings |= {"variables": variables, "targets": {"prod": target}}
    (tmp_path / "synapse-apply.yaml").write_text(json.dumps(settings))
    (tmp_path / "m.yaml").write_text("\n---\n".join(documents))
    code, text = bounded(tmp_path, "validate")
    assert code == 1
    assert text.count("Variables and overlays expand to too much") == 1
    place = "synapse-apply.yaml:" if overlays else "m.yaml:"
    assert f"on {place}" in text


def test_variables_that_many_documents_use_are_no_attack(tmp_path):
    """Thousands of resources with variables and an overlay each."""
    settings = {
        "apiVersion": "synapse-apply/v1",
        "kind": "Project",
        "manifests": ["m.yaml"],
        "variables": {"team": {"default": "vision"}, "n": {"type": "number", "default": 1}},
        "targets": {
            "prod": {
                "url": "http://127.0.0.1:9",
                "token": {"env": "X"},
                "overlays": {"plugin/*": {"spec": {"configuration": {"a": "${var.n}"}}}},
            }
        },
    }
    (tmp_path / "synapse-apply.yaml").write_text(json.dumps(settings))
    documents = [plugin(n, author="${var.team}", description="by ${var.team}") for n in range(500)]
    (tmp_path / "m.yaml").write_text("\n---\n".join(documents))
    assert bounded(tmp_path, "validate")[0] == 0


PACKAGES = {
    "a line of dots": ("plugin.x:run", {"plugin/x.py": f"from {'.' * 500_000}\n"}),
    "a line of blanks": ("plugin.x:run", {"plugin/x.py": f"from{' ' * 500_000}\n"}),
    "a deep module and many names": (
        "plugin.x:run",
        {"plugin/x.py": f"from a{'.a' * 1500} import {','.join(f'b{n}' for n in range(50_000))}\n"},
    ),
    "a module without end": ("plugin.x:run", {"plugin/x.py": f"import a{'.a' * 200_000}\n"}),
    "many entrypoints": ("x:q{}", {"x.py": "x " * (250 * 1024)}),
}


@pytest.mark.parametrize("case", PACKAGES)
def test_code_of_a_package_that_is_searched(tmp_path: Path, case: str) -> None:
    """Once for all its entrypoints; a line is not tried at each of its splits."""
    entrypoint, files = PACKAGES[case]
    count = 20_000 if "{}" in entrypoint else 1
    actions = {f"a{n}": {"entrypoint": entrypoint.format(n)} for n in range(count)}
    config = {"name": "p0", "code": "p0", "version": "1.0.0", "actions": actions}
    # All imports are looked at where a file is left out.
    files = {**files, "out.py": "x = 1\n", ".synapseignore": "out.py\n"}
    for name, text in {**files, "config.yaml": json.dumps(config)}.items():
        file = tmp_path / "package" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    release = {"plugin": "p0", "version": "1.0.0", "source": "./package"}
    head = {"apiVersion": "synapse-apply/v1", "kind": "Release"}
    document = json.dumps({**head, "spec": release})
    (tmp_path / "m.yaml").write_text(f"{plugin(0)}\n---\n{document}")
    settings = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["m.yaml"]}
    (tmp_path / "synapse-apply.yaml").write_text(json.dumps(settings))
    assert "Valid: 2 resources" in bounded(tmp_path, "validate")[1]


def test_blank_lines_of_a_text_that_is_edited(tmp_path: Path) -> None:
    """The end of a text is looked for from the end."""
    blank = "\n" * 200_000
    spec = (
        f"plugin: p0\n  version: 1.0.0\n  source: ./package\n  changelog: |\n    a\n{blank}    b\n"
    )
    release = f"apiVersion: synapse-apply/v1\nkind: Release\nspec:\n  {spec}"
    (tmp_path / "m.yaml").write_text(f"{plugin(0)}\n---\n{release}")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "config.yaml").write_text("name: p0\ncode: p0\nversion: 1.0.0\n")
    settings = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["m.yaml"]}
    (tmp_path / "synapse-apply.yaml").write_text(json.dumps(settings))
    code, said = bounded(tmp_path, "bump", "p0", "patch", "--dry-run")
    assert code == 0, said[-500:]


# The path is one on which an expression that tries all ways would never end.
SLOW = {
    "eight stars": ("a*" * 8 + "b", "a" * 200),
    "stars with a letter": ("*a" * 200 + "b", "a" * 250),
    "stars in brackets": ("*[ab]" * 200 + "c", "ab" * 120),
    "question marks": ("*?" * 300 + "b", "a" * 250),
    "folders": ("**/a/" * 100 + "b", "a/" * 100 + "c"),
    "folders of stars": ("**/*a*/" * 100 + "b", "aa/" * 100 + "c"),
    "one long run": ("**/" + "/".join(["*"] * 200) + "/x/**/y", "a/" * 150 + "y"),
}


@pytest.mark.parametrize("case", SLOW)
def test_a_pattern_that_would_try_all_ways(case):
    """A hundred paths take no time; that it does not match is the right answer."""
    text, path = SLOW[case]
    begun = time.process_time()
    pattern = parse_pattern_or_none_if_blank_or_comment(text)
    assert pattern is not None
    assert not any(
        pattern.matches_path_itself(path + str(n) * 3, is_folder=False) for n in range(100)
    )
    assert time.process_time() - begun < 60


def test_eight_stars_in_a_checkout(tmp_path):
    """validate has an answer, without any credential."""
    settings = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["m.yaml"]}
    (tmp_path / "synapse-apply.yaml").write_text(json.dumps(settings))
    release = {"plugin": "p0", "version": "1.0.0", "source": "./pkg"}
    document = {"apiVersion": "synapse-apply/v1", "kind": "Release", "spec": release}
    (tmp_path / "m.yaml").write_text(plugin(0) + "\n---\n" + json.dumps(document))
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "config.yaml").write_text("name: p0\ncode: p0\nversion: 1.0.0\n")
    (tmp_path / "pkg" / ("a" * 200)).write_text("x")
    (tmp_path / "pkg" / ".synapseignore").write_text("a*" * 8 + "b\n" + "**/a*" * 8 + "/b\n")
    code, text = bounded(tmp_path, "validate")
    assert code == 0, text


def test_more_patterns_than_are_compared(tmp_path, monkeypatch):
    """One finding, whatever the number of files and folders."""
    monkeypatch.setattr("synapse_apply.packages.ignore._MAX_COMPARISONS", 1000)
    for number in range(40):
        (tmp_path / f"f{number}").mkdir()
        (tmp_path / f"f{number}" / "x").write_text("x")
    (tmp_path / ".synapseignore").write_text("".join(f"no{n}\n" for n in range(50)))
    with pytest.raises(Exception, match="Too many ignore patterns"):
        list_package_files(PackageSource("folder", "."), tmp_path)


def test_more_wild_patterns_than_are_read(tmp_path):
    """Each is made into an expression, which takes its time."""
    (tmp_path / ".synapseignore").write_text("".join(f"*a{n}*b?\n" for n in range(20_000)))
    begun = time.process_time()
    with pytest.raises(Exception, match="Too many ignore patterns"):
        list_package_files(PackageSource("folder", "."), tmp_path)
    assert time.process_time() - begun < MOST_SECONDS


@pytest.mark.parametrize("stars", [8, 200])
def test_patterns_of_addresses_and_variables(stars):
    """Those of policies, overlays and allow-lists are Python's, which takes no second try."""
    begun = time.process_time()
    assert not fnmatchcase("a" * 5000, "a*" * stars + "b")
    assert time.process_time() - begun < 60


def pages_of(body: Callable[[int], Any], width: int = 1, dialect: Any = V1) -> ListQuery:
    """A list whose server makes each page of its number."""
    asked: list[int] = []

    def fetch(_call: ClientCall) -> Answer:
        asked.append(1)
        return Answer(200, {}, json.dumps(body(len(asked))).encode())

    return ListQuery(fetch, dialect, "storages/", {}, width)


def page(number: int, items: list[Any], count: int | None = None) -> dict[str, Any]:
    return {"count": count, "next": f"?page={number + 1}", "previous": None, "results": items}


PAGES: dict[str, tuple[Callable[[int], Any], int, Any]] = {
    "for ever": (lambda n: page(n, [{"id": n}]), 1, V1),
    "for ever, of nothing": (lambda n: page(n, []), 1, V1),
    "for ever, of one object": (lambda n: page(n, [{"id": 1}]), 1, V1),
    "by cursors": (
        lambda n: {"data": [{"id": n}], "meta": {"pagination": {"next_cursor": f"c{n}"}}},
        1,
        V2,
    ),
    "a count without end": (lambda n: page(n, [{"id": n}], 10**15), 8, V1),
    "a count that grows": (lambda n: page(n, [{"id": n}], 100 * n), 1, V1),
}


@pytest.mark.parametrize("case", PAGES)
def test_pages_for_ever(case):
    """They end, with words on how many there were."""
    body, width, dialect = PAGES[case]
    with pytest.raises(ClientError, match=r"more than 300 pages"):
        reread_list_until_complete(pages_of(body, width, dialect), 300)


HEAVY: dict[str, Callable[[int], Any]] = {
    "large texts": lambda n: page(n, [{"id": n, "name": LARGE}]),
    "many values": lambda n: page(n, [{"id": n, "list": [[]] * 20_000}]),
    "many objects": lambda n: page(n, [{"id": n * 10_000 + k} for k in range(5_000)]),
}


@pytest.mark.parametrize("case", HEAVY)
def test_pages_that_are_heavy_together(case):
    """What all of them take is bounded, not what each takes."""
    with pytest.raises(ClientError, match="pages together take more than 19 MiB"):
        reread_list_until_complete(pages_of(HEAVY[case]), 10_000, 20_000_000)


def test_log_pages_for_ever():
    """A log is told as it arrives; its pages are bounded as well."""
    asked: list[int] = []

    def stream(_call: ClientCall, _heard: Any) -> Iterator[bytes]:
        asked.append(1)
        yield json.dumps(page(len(asked), ["line"])).encode()

    with pytest.raises(ClientError, match="more than 50 pages"):
        list(
            iter_streamed_list_items_of_all_pages(stream, "jobs/1/console_logs/", ("results",), 50)
        )


@pytest.mark.parametrize("content", [b'"a text"', b'{"results": 7}'])
def test_a_log_that_is_no_list_gives_its_connection_back(content):
    """At once, and not when nobody holds the error any more."""
    is_ended: list[bool] = []

    def stream(_call: ClientCall, hear: Any) -> Iterator[bytes]:
        hear(Answer(200, {}, b""))
        try:
            yield content
            yield b" "
        finally:
            is_ended.append(True)

    with pytest.raises(ClientError, match="the answer is") as caught:
        list(iter_streamed_list_items_of_all_pages(stream, "jobs/1/console_logs/", ("results",), 5))
    assert is_ended, caught


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


def ask(server: ScriptedServer) -> ClientError:
    """The error that a read of one object ends in."""
    with (
        BackendClient(server.url, "tok-1", retries=0) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.get_storage(1)
    return caught.value


def test_a_body_that_inflates_to_gigabytes(server):
    """It is read no further than an answer may be large."""
    member = gzip.compress(b" " * 8_000_000)
    server.then(answer(200, member * 400, Content_Encoding="gzip"))
    begun = time.process_time()
    assert "more than 16777216 bytes" in str(ask(server))
    assert time.process_time() - begun < MOST_SECONDS


@pytest.mark.parametrize("named", ["gzip, gzip", "gzip,gzip,gzip", "br", "zstd", "x-unknown"])
def test_a_body_that_is_packed_in_ways_nobody_asked_for(server, named):
    """Packed twice, a few bytes are gigabytes before anybody can count them."""
    packed = gzip.compress(gzip.compress(gzip.compress(b" " * 10_000_000)))
    server.then(answer(200, packed, Content_Encoding=named))
    assert "an encoding that was not requested" in str(ask(server))


def test_an_answer_of_more_values_than_fit(server):
    """A list of empty lists takes thirty times its text."""
    server.then(answer(200, b"[" + b"[]," * 4_000_000 + b"[]]"))
    assert "more values than any answer" in str(ask(server))


def test_headers_without_end(server):
    """Neither one that is long nor many of them."""
    for lines in (b"X: " + b"a" * 1_000_000, b"X: a\r\n" * 50_000):
        server.then(raw(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n{}"))
        assert "GET storages/1/" in str(ask(server))


@pytest.mark.parametrize("line", [b"data: ", b": ", b"x", b""])
def test_an_event_without_end(line):
    """It is told of once it is too large, and reading it in small pieces takes no longer."""
    blocks = [line, *[b"a" * 512] * 20_000]
    begun = time.process_time()
    with pytest.raises(OversizedEventError):
        list(iter_server_sent_events_and_heartbeats(blocks))
    assert time.process_time() - begun < MOST_SECONDS


def test_an_item_without_end():
    """As small pieces of a long text come, it is not parsed anew for each."""
    blocks = [b'["', *[b"a" * 2048] * 10_000]
    begun = time.process_time()
    with pytest.raises(NotItemsError):
        list(JsonItems(blocks, ()))
    assert time.process_time() - begun < MOST_SECONDS


def test_items_arrive_whole_whatever_the_pieces():
    """Reading further ahead for long items changes nothing of what they are."""
    items = ["x" * n for n in (1, 70_000, 3, 300_000, 200_000)] + [{"a": [1.5, None]}]
    text = json.dumps(items).encode()
    chance = random.Random(1)
    blocks, at = [], 0
    while at < len(text):
        size = chance.choice((1, 7, 1000, 50_000))
        blocks.append(text[at : at + size])
        at += size
    assert _items(blocks) == items


def _items(blocks: Sequence[bytes]) -> list[Any]:
    return list(JsonItems(blocks, ()))


def test_a_zip_of_many_entries_is_refused_before_they_are_read(tmp_path: Path) -> None:
    """A directory of 1.3 million entries packs well; it is one finding that says the bound."""
    write_zip_of_entries(tmp_path / "p.zip", 1_300_000, b"%x")
    write_release_of_zip(tmp_path)
    code, said = bounded(tmp_path, "validate")
    assert (code, said.count("Error: ")) == (1, 1)
    assert "Too many entries in the zip" in said
    assert "the limit is 8388608" in said


@pytest.mark.parametrize("typed", ["apply", "show"])
def test_a_plan_of_many_entries_is_refused_before_they_are_read(tmp_path: Path, typed: str) -> None:
    """As a pipeline's artifact may be; an entry of a plan's name is among them."""
    write_zip_of_entries(tmp_path / "p.plan", 1_300_000, b"%x", b"plan.json")
    write_release_of_zip(tmp_path)
    code, said = bounded(tmp_path, typed, "p.plan")
    assert (code, said.count("Error: ")) == (1, 1)
    assert "This plan file cannot be used" in said
    assert "its directory has 66481523 bytes, and the limit is 8388608" in said


def test_a_report_in_the_place_of_a_zip_of_many_entries(tmp_path: Path) -> None:
    """Whether that is a saved plan, which no report replaces, is asked within the same bound."""
    write_zip_of_entries(tmp_path / "p.plan", 1_300_000, b"%x", b"plan.json")
    write_release_of_zip(tmp_path)
    code, _ = bounded(tmp_path, "validate", "--report", "codequality=p.plan")
    assert code == 1
    assert json.loads((tmp_path / "p.plan").read_text())


def test_bad_names_of_a_zip_are_counted(tmp_path: Path) -> None:
    """The first 20 are told, also of as many as a directory may hold."""
    write_zip_of_entries(tmp_path / "p.zip", 150_000, b"a\x01%x")
    write_release_of_zip(tmp_path)
    code, said = bounded(tmp_path, "validate")
    assert code == 1
    assert said.count("Error: Unsafe name in the package") == 20
    assert "and 149979 more like it in this package" in said
    assert len(said) < 20_000


@pytest.mark.parametrize("kind", ["folder", "git"])
def test_bad_names_of_a_folder_are_counted(tmp_path: Path, kind: str) -> None:
    """On the disk and in a commit: the first 20 of each kind of error, and all kinds."""
    make_repository(tmp_path)
    (tmp_path / "p").mkdir()
    for number in range(60):
        (tmp_path / "p" / f"a\x01{number}").write_text("x")
    for number in range(25):
        (tmp_path / "p" / f"l{number}").symlink_to("/etc/passwd")
    commit(tmp_path, "Add")
    source = PackageSource(kind, "p", ref="HEAD" if kind == "git" else "")
    with pytest.raises(InputError) as caught:
        list_package_files(source, tmp_path)
    counts = Counter(finding.summary for finding in caught.value.diagnostics)
    assert counts.pop("Unsafe name in the package") == 20
    assert [*counts.values()] == [20]
    counted = [one.detail for one in caught.value.diagnostics if "more like it" in one.detail]
    assert sorted(text.partition("; and ")[2] for text in counted) == [
        "40 more like it in this package",
        "5 more like it in this package",
    ]


@pytest.mark.parametrize(
    ("count", "name", "code"),
    [(2, "HEAD/" * 13_000, 1), (300, "a/" * 2_040, 0)],
    ids=["as Git's data has", "deep folders"],
)
def test_long_names_of_a_zip(tmp_path: Path, count: int, name: str, code: int) -> None:
    """What is asked of each folder above a file must not cost as much as the whole name."""
    write_release_of_zip(tmp_path)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("config.yaml", "name: P\n")
        for number in range(count):
            archive.writestr(f"{number:04}/{name}x", "")
    assert bounded(tmp_path, "validate")[0] == code


def test_many_files_in_a_deep_folder(tmp_path: Path) -> None:
    """Not each folder above each of them is asked for."""
    write_release_of_zip(tmp_path)
    manifest = tmp_path / "manifests" / "a.yaml"
    manifest.write_text(manifest.read_text().replace('"file": "p.zip"', '"source": "p"'))
    folder = tmp_path / "p"
    for _ in range(800):
        folder.mkdir()
        folder /= "d"
    (tmp_path / "p" / "config.yaml").write_text("name: P\n")
    for number in range(12_000):
        folder.with_name(f"{number}").touch()
    assert bounded(tmp_path, "validate")[0] == 0


@pytest.mark.parametrize("folder", ["p", "manifests"])
def test_a_long_chain_of_links(tmp_path: Path, folder: str) -> None:
    """Each link leads to the one before: those that the system would not follow are refused."""
    write_release_of_zip(tmp_path)
    manifest = tmp_path / "manifests" / "a.yaml"
    manifest.write_text(manifest.read_text().replace('"file": "p.zip"', '"source": "p"'))
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "config.yaml").write_text("name: P\n")
    (tmp_path / folder / "0.yaml").write_text("")
    for number in range(1, 6000):
        (tmp_path / folder / f"{number}.yaml").symlink_to(f"{number - 1}.yaml")
    code, said = bounded(tmp_path, "validate")
    assert code == 1
    assert ("leads over more than 40 links" if folder == "p" else "Too many levels") in said


def write_release_of_zip(folder: Path) -> None:
    """A project whose one release is `p.zip`."""
    spec = {"plugin": "p1", "version": "1.0.0", "file": "p.zip"}
    release = {"apiVersion": "synapse-apply/v1", "kind": "Release", "spec": spec}
    (folder / "manifests").mkdir()
    text = "\n---\n".join([plugin(1, category="export"), json.dumps(release)])
    (folder / "manifests" / "a.yaml").write_text(text)
    (folder / "synapse-apply.yaml").write_text("apiVersion: synapse-apply/v1\nkind: Project\n")


def write_zip_of_entries(
    path: Path, count: int, name: bytes, first: bytes = b"config.yaml"
) -> None:
    """A zip64 whose directory has so many entries, all of one file."""
    data = b"name: P\n"
    sizes = (zlib.crc32(data), len(data), len(data))
    form = "<IHHHHHIIIHH"
    head = struct.pack(form, 0x04034B50, 20, 0, 0, 0, 0, *sizes, len(first), 0) + first
    # The others begin behind the first: a zip whose entries overlap is warned of.
    start = len(head) + len(data)
    form = "<IHHHHHHIIIHHHHHII"
    entry = (0x02014B50, 20, 20, 0, 0, 0, 0)
    of_length = [struct.pack(form, *entry, 0, 0, 0, n, 0, 0, 0, 0, 0, start) for n in range(40)]
    others = (name % number for number in range(count - 1))
    directory = struct.pack(form, *entry, *sizes, len(first), 0, 0, 0, 0, 0, 0) + first
    directory += b"".join(of_length[len(one)] + one for one in others)
    end = start + len(directory)
    path.write_bytes(
        head + data + directory
        + struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, len(directory), start)
        + struct.pack("<IIQI", 0x07064B50, 0, end, 1)
        + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    )  # fmt: skip
