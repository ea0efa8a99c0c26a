"""Project files that are made to take time: each is of n rows of one sort, as text by file name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Files = dict[str, str]
_TARGET = {"url": "http://127.0.0.1:9", "token": {"env": "X"}}
_HEADER = "apiVersion: synapse-apply/v1\nkind: Project\n"


def _project(
    documents: list[Any] | None = None, rows: list[Any] | None = None, **fields: Any
) -> Files:
    """A project file with these fields, the documents in `m.yaml` and a list of targets."""
    settings = {"apiVersion": "synapse-apply/v1", "kind": "Project", **fields}
    files = {}
    if documents is not None:
        settings["manifests"] = ["m.yaml"]
        files["m.yaml"] = "\n---\n".join(map(json.dumps, documents))
    if rows is not None:
        files["rows.yaml"] = json.dumps(rows)
    return {"synapse-apply.yaml": json.dumps(settings), **files}


def _target(**fields: Any) -> dict[str, Any]:
    return {"prod": {**_TARGET, **fields}}


def _many(n: int, **fields: Any) -> dict[str, Any]:
    """Targets that have the fields, with `<>` in their texts replaced by the target's number."""
    texts = json.dumps({**_TARGET, **fields})
    return {f"t{k}": json.loads(texts.replace("<>", str(k))) for k in range(n)}


def _plugin(name: str, **spec: Any) -> dict[str, Any]:
    spec = {"name": name, "code": name, **spec}
    metadata = {"name": name}
    return {"apiVersion": "synapse-apply/v1", "kind": "Plugin", "metadata": metadata, "spec": spec}


def _release(owner: str, version: str) -> dict[str, Any]:
    spec = {"plugin": owner, "version": version, "source": "published"}
    return {"apiVersion": "synapse-apply/v1", "kind": "Release", "spec": spec}


def _storage(name: str, **configuration: Any) -> dict[str, Any]:
    spec = {"name": name, "provider": "own", "category": "external", "configuration": configuration}
    metadata = {"name": name}
    return {"apiVersion": "synapse-apply/v1", "kind": "Storage", "metadata": metadata, "spec": spec}


def _plugins(n: int) -> list[Any]:
    return [_plugin(f"p{k}") for k in range(n)]


def _moves(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"from": f"storage/{old}", "to": f"storage/{new}"} for old, new in pairs]


def _chain(n: int) -> list[dict[str, str]]:
    return _moves([(f"a{k}", f"a{k + 1}") for k in range(n)])


def _variables(n: int, **declared: Any) -> dict[str, Any]:
    text = json.dumps(declared or {"default": "x"})
    return {f"v{k}": json.loads(text.replace("<>", str(k))) for k in range(n)}


def _named(n: int, letter: str, value: Any = "x") -> dict[str, Any]:
    return {f"{letter}{k}": value for k in range(n)}


def _rules(n: int, letter: str = "r", **fields: Any) -> dict[str, Any]:
    rule = {"rule": "max-changes", "limit": 1, **fields}
    text = json.dumps(rule)
    rules = [json.loads(text.replace("<>", str(k))) for k in range(n)]
    return {"rules": [{"name": f"{letter}{k}", **one} for k, one in enumerate(rules)]}


def _overlays(n: int, pattern: Callable[[int], str]) -> dict[str, Any]:
    return {pattern(k): {"spec": {"author": "x"}} for k in range(n)}


def _listed(n: int, row: Mapping[str, Any], fields: dict[str, Any], **more: Any) -> Files:
    text = json.dumps(row)
    rows = [json.loads(text.replace("<>", str(k))) for k in range(n)]
    template = {**_TARGET, **fields}
    return _project(rows=rows, targets_from={"file": "rows.yaml", "template": template}, **more)


def _lines(line: Callable[[int], str], n: int, key: str = "allow_files") -> Files:
    return {"synapse-apply.yaml": f"{_HEADER}{key}:\n" + "".join(map(line, range(n)))}


# By what they have many of.
GENERATORS: dict[str, Callable[[int], Files]] = {
    "a chain of moves": lambda n: _project(moved=_chain(n)),
    "a chain of moves, the last first": lambda n: _project(moved=_chain(n)[::-1]),
    "chains of moves": lambda n: _project(
        moved=_moves(
            [(f"a{k}-{step}", f"a{k}-{step + 1}") for k in range(n // 5) for step in range(5)]
        )
    ),
    "a circle of moves": lambda n: _project(moved=[*_chain(n), *_moves([(f"a{n}", "a0")])]),
    "a chain into a circle": lambda n: _project(moved=[*_chain(n), *_moves([(f"a{n}", "a9")])]),
    "short circles": lambda n: _project(
        moved=_moves([pair for k in range(n) for pair in ((f"a{k}", f"b{k}"), (f"b{k}", f"a{k}"))])
    ),
    "moves of one address": lambda n: _project(moved=_moves([("a", f"b{k}") for k in range(n)])),
    "moves to one address": lambda n: _project(moved=_moves([(f"b{k}", "a") for k in range(n)])),
    "moves of what is declared": lambda n: _project(
        _plugins(n), moved=[{"from": f"plugin/p{k}", "to": f"plugin/q{k}"} for k in range(n)]
    ),
    "moves of malformed addresses": lambda n: _project(
        moved=[{"from": f"storge{k}/a", "to": f"plugn{k}/b"} for k in range(n)]
    ),
    "removed": lambda n: _project(removed=[{"address": f"storage/a{k}"} for k in range(n)]),
    "removed and moved": lambda n: _project(
        moved=_moves([(f"a{k}", f"b{k}") for k in range(n)]),
        removed=[{"address": f"storage/a{k}"} for k in range(n)],
    ),
    "removed, malformed": lambda n: _project(
        removed=[{"address": f"storge/{k}"} for k in range(n)]
    ),
    "undeclared variables": lambda n: _project(
        variables=_variables(n), targets=_target(variables=_named(n, "w"))
    ),
    "undeclared variables of targets": lambda n: _project(
        variables=_variables(n), targets=_many(n, variables={"w<>": "x"})
    ),
    "undeclared variables of manifests": lambda n: _project(
        [_plugin(f"p{k}", description=f"${{var.w{k}}}") for k in range(n)], variables=_variables(n)
    ),
    "undeclared variables of variables": lambda n: _project(
        variables=_variables(n, default="${var.w<>}"), targets=_target()
    ),
    "variables of each other": lambda n: _project(
        variables={f"v{k}": {"default": f"${{var.v{k + 1}}}"} for k in range(n)}, targets=_target()
    ),
    "a circle of variables": lambda n: _project(
        variables={f"v{k}": {"default": f"${{var.v{(k + 1) % n}}}"} for k in range(n)},
        targets=_target(),
    ),
    "variables of themselves": lambda n: _project(
        variables=_variables(n, default="${var.v<>}"), targets=_target()
    ),
    "a variable of all": lambda n: _project(
        variables={**_variables(n), "a": {"default": "".join(f"${{var.v{k}}}" for k in range(n))}},
        targets=_target(),
    ),
    "variables of another type": lambda n: _project(
        variables=_variables(n, type="number", default="x"), targets=_target()
    ),
    "variables without a value": lambda n: _project(
        [_plugin(f"p{k}", description=f"${{var.v{k}}}") for k in range(n)],
        variables=_variables(n, type="string"),
        targets=_target(),
    ),
    "unknown fields": lambda n: _project(**_named(n, "manifest")),
    "unknown fields of a target": lambda n: _project(targets=_target(**_named(n, "tokn"))),
    "unknown fields of targets": lambda n: _project(targets=_many(n, tokn=1)),
    "values of a wrong type": lambda n: _project(targets=_many(n, manifests=1)),
    "a list of two wrong types": lambda n: _project(
        allow_files=[v for k in range(n) for v in (k, "")]
    ),
    "an unknown default target": lambda n: _project(default_target="zz", targets=_many(n)),
    "unknown required targets": lambda n: _project(targets=_many(n, require_verified=["x<>"])),
    "required targets": lambda n: _project(
        targets={**_many(n, require_verified=["t0"]), "t0": {**_TARGET}}
    ),
    "overlays": lambda n: _project(
        _plugins(n), targets=_target(overlays=_overlays(n, "plugin/p{}".format))
    ),
    "overlays that match nothing": lambda n: _project(
        _plugins(n), targets=_target(overlays=_overlays(n, "plugin/q{}".format))
    ),
    "overlays by pattern that match nothing": lambda n: _project(
        _plugins(n), targets=_target(overlays=_overlays(n, "plugin/q{}*".format))
    ),
    "overlays that begin alike": lambda n: _project(
        _plugins(n), targets=_target(overlays=_overlays(n, "plugin/*{}".format))
    ),
    "overlays that match all": lambda n: _project(
        _plugins(n), targets=_target(overlays=_overlays(n, lambda k: "plugin/" + "*" * (k + 1)))
    ),
    "malformed overlays": lambda n: _project(
        targets=_target(overlays=_overlays(n, "plugn{}/x".format))
    ),
    "rules of a policy": lambda n: _project(policy=_rules(n), targets=_target()),
    "rules of one name": lambda n: _project(policy=_rules(n, name="x"), targets=_target()),
    "rules of no time zone": lambda n: _project(
        policy=_rules(n, rule="freeze", cron="0 1 * * *", duration="1h", timezone="Europe/Berln<>")
    ),
    "rules that remove nothing": lambda n: _project(
        policy=_rules(n), targets=_target(policy=_rules(n, "q", severity="off"))
    ),
    "targets with a policy": lambda n: _project(
        policy=_rules(n), targets=_many(n, policy={"unreleased_source": "note"})
    ),
    "keys of a provider": lambda n: _project(
        [_storage("s", **_named(n, "q"))], providers={"own": {"keys": _named(n, "k", {})}}
    ),
    "required keys of a provider": lambda n: _project(
        [_storage(f"s{k}") for k in range(n)],
        providers={"own": {"keys": _named(n, "k", {"required": True})}},
    ),
    "documents of one name": lambda n: _project([_plugin("p")] * n),
    "unknown kinds": lambda n: _project([{**_plugin("p"), "kind": f"Plugn{k}"} for k in range(n)]),
    "releases of no plugin": lambda n: _project(
        [*_plugins(n), *(_release(f"q{k}", "1.0.0") for k in range(n))]
    ),
    "manifests that are missing": lambda n: _project(manifests=list(_named(n, "m"))),
    "rows": lambda n: _listed(n, {"name": "t<>"}, {"tenant": "${row.name}"}),
    "rows of one name": lambda n: _listed(n, {"name": "t"}, {"tenant": "${row.name}"}),
    "rows with unknown keys": lambda n: _listed(n, {"name": "t<>", "nme<>": 1}, {}),
    "rows without a key": lambda n: _listed(n, {"name": "t<>"}, {"tenant": "${row.x}"}),
    "rows with undeclared variables": lambda n: _listed(
        n, {"name": "t<>"}, {"variables": _named(9, "w", "${row.name}")}, variables=_variables(n)
    ),
    "rows that require no target": lambda n: _listed(
        n, {"name": "t<>", "r": "x<>"}, {"require_verified": ["${row.r}"]}
    ),
    "rows that fit no schema": lambda n: _listed(n, {"name": "t<>"}, {"url": "${row.name}"}),
    "lists of one file": lambda n: _project(
        rows=[{"name": "t"}],
        targets_from=[
            {"file": "rows.yaml", "name": f"${{row.name}}-{k}", "template": _TARGET}
            for k in range(n)
        ],
    ),
    "keys twice": lambda n: _lines("  a{0}: {{}}\n  a{0}: {{}}\n".format, n, "targets"),
    "one key": lambda n: _lines("  a: {{}}\n".format, n, "targets"),
    "keys that are numbers": lambda n: _lines("  {}: x\n".format, n, "targets"),
    "merge keys": lambda n: _lines("  t{}:\n    <<: {{}}\n".format, n, "targets"),
    "aliases": lambda n: _lines("  - &a{0} x\n  - *a{0}\n".format, n),
    "unknown aliases": lambda n: _lines("  - *a{}\n".format, n),
    "tags": lambda n: _lines("  - !x a{}\n".format, n),
    "control characters": lambda n: _lines("  - \x01a{}\n".format, n),
    "broken documents": lambda n: {"synapse-apply.yaml": "a: [1\n---\n" * n},
    "levels": lambda n: {"synapse-apply.yaml": "a: " + "[" * n + "]" * n},
}
# Each target has all of the rest, so that only one of them is to be checked.
OF_ONE_TARGET: dict[str, Callable[[int], Files]] = {
    "targets and variables": lambda n: _project(targets=_many(n), variables=_variables(n)),
    "lists": lambda n: {
        **_project(targets_from=[{"file": f"l/{k}.yaml", "template": _TARGET} for k in range(n)]),
        **{f"l/{k}.yaml": json.dumps([{"name": f"t{k}"}]) for k in range(n)},
    },
    "targets and manifests": lambda n: _project(_plugins(n), targets=_many(n)),
    "rows and defaults": lambda n: _listed(
        n, {"name": "t<>"}, {"tenant": "${row.name}"}, variables=_variables(n)
    ),
}
