"""Random manifests with their packages and secrets, random edits of what is live."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from choices import choices, lists_of
from hypothesis import strategies as st
from profiles import PAGE

VERSION = "synapse-apply/v1"
LETTERS = "abc"
TEXT_FIELDS = ("description", "version", "author", "category")
PLUGIN_FIELDS = (*TEXT_FIELDS, "name", "code", "configuration")

# Quotes, a backslash, a blank and letters beyond ASCII: encoded differently wherever they go.
SECRETS = {f"LAW_SECRET_{n}": f'CaNaRy"{n}\\ é/+{n}{n}tail' for n in range(4)}
SECRETS["LAW_SECRET_JSON"] = json.dumps({"type": "CaNaRyType", "key": 'CaNaRy"key\\ é/+tail'})
SECRET_FILE = "secrets/law.key"
# A secret key of each provider; where every key is one, "" leaves the choice to the edit.
SECRET_KEYS = {
    "amazon_s3": "secret_access_key",
    "sftp": "password",
    "gcp": "credentials",
    "file_system": None,
}

TEXTS = st.sampled_from(["", "x", "no", "1.10", " padded ", 'two\nlines "quoted"', "한국어", "~"])
SCALARS = st.sampled_from([0, 1, 1.0, -7, 0.1, 2**53 + 1, 1e300, True, False]) | TEXTS
KEYS = st.sampled_from(["a", "b", "quality", "a/b", "~0", "1", "é"])
LISTS = st.sampled_from([[], ["x", 1], [{"a": 1}], [[True], None], [1.0, ""]])
TREES = st.recursive(
    SCALARS | LISTS | st.none() | st.just({}),
    lambda below: st.dictionaries(KEYS, below, max_size=3),
    max_leaves=4,
)
CONFIGURATIONS = st.dictionaries(KEYS, TREES, max_size=3)


def document(kind: str, name: str | None, spec: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One manifest document."""
    head = {"apiVersion": VERSION, "kind": kind}
    return {**head, **({"metadata": {"name": name}} if name else {}), **more, "spec": dict(spec)}


@dataclass(frozen=True)
class World:
    """What a project declares: documents by address, files of packages by folder."""

    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    packages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def write(self, root: Path, files: Sequence[Sequence[str]] | None = None) -> None:
        """Write manifests (by default one file) and packages; older ones are removed.

        `files` gives the addresses of each file, in their order.
        """
        folder = root / "manifests"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for number, addresses in enumerate(files if files is not None else [[*self.documents]]):
            docs = [self.documents[address] for address in addresses]
            text = yaml.safe_dump_all(docs, sort_keys=False, allow_unicode=True)
            (folder / f"{number}.yaml").write_text(text, encoding="utf-8")
        for name, contents in self.packages.items():
            for file, text in contents.items():
                path = root / "packages" / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")


def on_v2(world: World) -> World:
    """The same world as API v2 can make it: every plugin has a code and one of its categories.

    What v2 cannot carry stays declared: a target may leave it out. What only v2 has is made of
    that: a release with `debug` says the same of its lock, and the author's length is how many
    releases a plugin retains.
    """
    documents = {}
    for address, one in world.documents.items():
        spec, more = one["spec"], {}
        if one["kind"] == "Plugin":
            category = CATEGORIES[len(spec.get("category", "")) % len(CATEGORIES)]
            more = {"code": f"law-{one['metadata']['name']}", "category": category}
            if spec.get("author"):
                more["retain"] = min(len(spec["author"]), 2)
        elif "debug" in spec:
            more = {"locked": spec["debug"]}
        documents[address] = {**one, "spec": {**spec, **more}}
    return replace(world, documents=documents)


def on_platform(world: World) -> World:
    """The same world as the vendor's v1 takes it: codes, categories, and runs with an action."""
    documents = {}
    for address, one in world.documents.items():
        spec, more = one["spec"], {}
        if one["kind"] == "Plugin":
            category = CATEGORIES[len(spec.get("category", "")) % len(CATEGORIES)]
            more = {"code": f"law-{one['metadata']['name']}", "category": category}
        elif "parameters" in spec.get("verify", {}):
            verify = {key: value for key, value in spec["verify"].items() if key != "context"}
            params = verify.pop("parameters")
            more = {"verify": {**verify, "action": "test", "params": params}}
        documents[address] = {**one, "spec": {**spec, **more}}
    return replace(world, documents=documents)


def suit(world: World, api: str, switches: Mapping[str, str]) -> World:
    """The same world as plugins and releases of this API version and profile can make it."""
    if api == "v2":
        return on_v2(world)
    return world if switches.get("profile", PAGE) == PAGE else on_platform(world)


def secret(name: str = "", form: str = "") -> st.SearchStrategy[Any]:
    """A valueFrom of a variable, now and then of a file, or the value in plain (a warning)."""
    if name:
        return st.just({"valueFrom": {"env": name, "format": form}})
    names = [name for name in SECRETS if "JSON" not in name]
    read = st.sampled_from([{"env": env} for env in names] + [{"file": SECRET_FILE}])
    plain = st.sampled_from([SECRETS[name] for name in names])
    return st.one_of(read.map(lambda where: {"valueFrom": where}), plain)


_S3 = st.fixed_dictionaries(
    {"bucket_name": st.sampled_from(["raw", "other"])},
    optional={"region": TEXTS, "access_key_id": secret(), "secret_access_key": secret()},
)
_SFTP = st.fixed_dictionaries(
    {"host": st.just("sftp.example.com"), "username": st.just("law"), "password": secret()},
    optional={"port": st.sampled_from([22, 2222]), "private_key": secret()},
)
_GCP = st.fixed_dictionaries(
    {"bucket_name": st.just("raw")}, optional={"credentials": secret("LAW_SECRET_JSON", "json")}
)
_FILES = st.fixed_dictionaries({"base_path": st.just("/data")}, optional={"permissions": TEXTS})
_FREE = st.dictionaries(KEYS, secret() | st.dictionaries(KEYS, secret(), max_size=2), max_size=2)
PROVIDERS = {
    "amazon_s3": _S3,
    "sftp": _SFTP,
    "gcp": _GCP,
    "file_system": _FILES,
    "azure": _FREE,
    "unheard_of": _FREE,
}


@cache
@st.composite
def storages(draw: st.DrawFn, letter: str) -> dict[str, Any]:
    """A storage document."""
    provider = draw(choices(*sorted(PROVIDERS)))
    spec = {"name": f"Storage {letter}", "provider": provider}
    if draw(st.booleans()):
        spec["category"] = draw(choices("internal", "external"))
    spec["configuration"] = draw(PROVIDERS[provider])
    ignored = draw(choices((), (), ("/category",), ("/configuration",)))
    more = {"lifecycle": {"ignore_changes": list(ignored)}} if ignored else {}
    return document("Storage", f"s{letter}", spec, **more)


_SOME_TEXT_FIELDS = st.sets(st.sampled_from(TEXT_FIELDS))


@cache
@st.composite
def plugins(draw: st.DrawFn, letter: str) -> dict[str, Any]:
    """A plugin document; all but the last letter's have a code."""
    spec: dict[str, Any] = {"name": f"Plugin {letter}"}
    if letter != LETTERS[-1]:
        spec["code"] = f"law-{letter}"
    for name in draw(_SOME_TEXT_FIELDS):
        spec[name] = draw(TEXTS)
    if draw(st.booleans()):
        spec["configuration"] = draw(CONFIGURATIONS)
    lifecycle: dict[str, Any] = {}
    pointers = ["/description", "/configuration", "/configuration/a"]
    for rule in ("ignore_changes", "own"):
        if draw(st.integers(0, 3)) == 3:
            lifecycle[rule] = [draw(choices(*pointers))]
    return document("Plugin", letter, spec, **({"lifecycle": lifecycle} if lifecycle else {}))


RELEASE_FIELDS = {
    "changelog": TEXTS,
    "is_stable": st.booleans(),
    "requirements": st.lists(st.sampled_from(["numpy", "torch>=2"]), max_size=2),
    "config": CONFIGURATIONS,
    "debug": st.booleans(),
}


def _run(outcome: str) -> dict[str, Any]:
    return {"emulator": {"seconds": 0, "outcome": outcome}}


# Runs in both forms; one that fails only warns, so that an apply goes through all the same.
VERIFIED = st.one_of(
    st.builds(
        lambda more, context: {
            "parameters": {**more, **_run("completed")}, "context": context, "timeout": 5,
        },
        CONFIGURATIONS,
        CONFIGURATIONS,
    ),
    st.builds(
        lambda more: {"action": "test", "params": {**more, **_run("completed")}}, CONFIGURATIONS
    ),
    st.builds(
        lambda more: {"parameters": {**more, **_run("failed")}, "on_failure": "warn"},
        CONFIGURATIONS,
    ),
)  # fmt: skip


_RELEASE_SPECS = st.fixed_dictionaries({}, optional={**RELEASE_FIELDS, "verify": VERIFIED})


@cache
@st.composite
def releases(draw: st.DrawFn, letter: str, version: str) -> dict[str, Any]:
    """A release document; its package is the folder of its own."""
    fields = draw(_RELEASE_SPECS)
    source = f"./packages/{letter}-{version}"
    return document(
        "Release", None, {"plugin": letter, "version": version, **fields, "source": source}
    )


def _drawn(draw: st.DrawFn, address: str) -> dict[str, Any]:
    kind, _, name = address.partition("/")
    if kind == "release":
        letter, _, version = name.partition("@")
        return draw(releases(letter, version))
    return draw(plugins(name) if kind == "plugin" else storages(name[1:]))


# Of plugins of API v2 and of the vendor's v1.
CATEGORIES = (
    *("neural_net", "export", "upload", "smart_tool", "pre_annotation", "post_annotation"),
    *("data_validation", "converter"),
)
ADDRESSES = [
    *(f"plugin/{letter}" for letter in LETTERS),
    *(f"release/{letter}@{version}" for letter in LETTERS for version in ("1.0.0", "1.1.0")),
    *(f"storage/s{letter}" for letter in LETTERS),
]


def _packages(draw: st.DrawFn, addresses: Sequence[str]) -> dict[str, dict[str, str]]:
    folders = {}
    for address in addresses:
        if address.startswith("release/"):
            letter, version = address.removeprefix("release/").split("@")
            config = f"code: law-{letter}\n" if letter != LETTERS[-1] else "name: Law\n"
            run = draw(choices("print(1)\n", "print(2)\n"))
            folders[f"{letter}-{version}"] = {"config.yaml": config, "plugin/run.py": run}
    return folders


def _complete(addresses: Sequence[str]) -> list[str]:
    """Without the releases whose plugin is not declared."""
    there = set(addresses)
    return [
        address
        for address in ADDRESSES
        if address in there
        and (not address.startswith("release/") or f"plugin/{address[8]}" in there)
    ]


@st.composite
def worlds(draw: st.DrawFn, least: int = 1, addresses: Sequence[str] = ADDRESSES) -> World:
    """Up to six resources."""
    chosen = lists_of(choices(*addresses), least, 6, unique=True)
    addresses = _complete(draw(chosen))
    documents = {address: _drawn(draw, address) for address in addresses}
    return World(documents, _packages(draw, addresses))


@st.composite
def evolved(draw: st.DrawFn, world: World, addresses: Sequence[str] = ADDRESSES) -> World:
    """The same project some commits later: resources kept, changed, dropped and added."""
    documents = {}
    for address in addresses:
        fate = draw(choices("keep", "keep", "change", "drop"))
        if address in world.documents and fate == "keep":
            documents[address] = dict(world.documents[address])
        elif fate == "change" and (address in world.documents or draw(st.booleans())):
            documents[address] = _drawn(draw, address)
    kept = _complete([*documents])
    made = World({address: documents[address] for address in kept}, _packages(draw, kept))
    return replace(made, packages={**world.packages, **made.packages})


@dataclass(frozen=True)
class Edit:
    """An edit from outside: of the `at`-th object of a kind, a key of a map field or a field."""

    kind: str
    at: int
    act: str
    key: str = ""
    value: Any = None


def suit_edit(edit: Edit, api: str, switches: Mapping[str, str]) -> Edit:
    """The same edit as this API version and profile can make it: a plugin has a known category."""
    is_category = (edit.kind, edit.act, edit.key) == ("plugin", "field", "category")
    takes_any = api != "v2" and switches.get("profile", PAGE) == PAGE
    if takes_any or not is_category:
        return edit
    return replace(edit, value=CATEGORIES[len(edit.value) % len(CATEGORIES)])


_ACTS = {
    "plugin": ["set", "unset", "field", "field", "delete"],
    "storage": ["set", "unset", "field", "leak", "delete"],
    "release": ["field", "delete"],
}
_EDITED = {
    "plugin": (*TEXT_FIELDS, "name"),
    "storage": ("category", "name"),
    "release": ("changelog", "is_stable", "is_released"),
}


_HELD_TEXTS = TEXTS.map(str.strip)
_HELD_NAMES = _HELD_TEXTS.filter(bool)
_EDITED_KEYS = KEYS | st.sampled_from(["live_only", "password", "credentials", "bucket_name"])


@cache
@st.composite
def edits(draw: st.DrawFn) -> Edit:
    """One edit; `set` may add a key that only the server has, `leak` a secret nobody gave us."""
    kind = draw(choices("plugin", "plugin", "storage", "release"))
    act = draw(choices(*_ACTS[kind]))
    at = draw(st.integers(0, 2))
    if act == "delete":
        return Edit(kind, at, act)
    if act == "field":
        key = draw(choices(*_EDITED[kind]))
        # As a server holds them: it trims what it takes, and takes no object without a name.
        return Edit(kind, at, act, key, draw(_HELD_NAMES if key == "name" else _HELD_TEXTS))
    if act == "leak":
        return Edit(kind, at, act, "account", draw(choices(*sorted(SECRETS.values()))))
    return Edit(kind, at, act, draw(_EDITED_KEYS), draw(TREES))


@dataclass(frozen=True)
class Story:
    """What exists, what is declared, what is edited outside, what is declared next.

    `prune`: what is declared no more is deleted where it can be.
    """

    before: tuple[str, ...]
    first: World
    outside: tuple[Edit, ...]
    second: World
    later: tuple[Edit, ...]
    prune: bool = False

    def on(self, api: str, switches: Mapping[str, str]) -> Story:
        """The same story where plugins and releases are of this API version and profile."""
        first, second = (suit(world, api, switches) for world in (self.first, self.second))
        outside, later = (
            tuple(suit_edit(edit, api, switches) for edit in edits)
            for edits in (self.outside, self.later)
        )
        return replace(self, first=first, second=second, outside=outside, later=later)


_FEW_EDITS = lists_of(edits(), 0, 3).map(tuple)
_TWO_ADDRESSES = st.sets(st.sampled_from(ADDRESSES), max_size=2)


@st.composite
def stories(draw: st.DrawFn, addresses: Sequence[str] = ADDRESSES) -> Story:
    """A random story; `before` are addresses whose objects exist in some older form."""
    first = draw(worlds(addresses=addresses))
    before = draw(_TWO_ADDRESSES)
    return Story(
        tuple(sorted(before & first.documents.keys())),
        first,
        draw(_FEW_EDITS),
        draw(evolved(first, addresses)),
        draw(_FEW_EDITS),
        draw(st.booleans()),
    )
