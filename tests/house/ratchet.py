"""Totals of the repository that may fall and not rise: `make ratchet`, and tests/test_ratchet.py."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from house.parsing import list_nodes
from house.revisions import read_revision, run_git

ROOT = Path(__file__).resolve().parents[2]
FILE = Path("tests/house/ratchet.toml")
EDGES = {"controller", "cli", "library", "views", "stores", "emulator"}
PYTHON = re.compile(r"(?:synapse_apply|tests)/.*\.py$")
OTHER_TEXT = re.compile(r"\.(?:css|html|j2|js|json|md|sh|sql|toml|txt|ya?ml)")
INSIDE = re.compile(r"(?m)^\s*(?:from|import) synapse_apply\.|import_module\(.synapse_apply\.")
HOW_TO_GO_ON = f"""
Take out what can go. What an issue has to add may raise a row, within its budget:
    make ratchet RAISE=yes    # writes {FILE}
Commit that file with what raised it, and say in the commit's body why."""


def count_file(path: str, text: str, nodes: Iterable[ast.AST]) -> Counter[str]:
    """The figures of a Python file; all are 0 where there is none, which is an empty text."""
    lines, figures = text.count("\n"), Counter[str]()
    folder, *others = path.split("/")
    if folder == "tests":
        figures["lines of tests"] = lines
        figures["lines of tests that import the inside"] = lines * bool(INSIDE.search(text))
        return figures
    is_emulator = "emulator" in others
    figures["lines of the emulator" if is_emulator else "lines without the emulator"] = lines
    figures["lines of the core"] = 0 if others[0] in EDGES else lines
    figures["files"] = int(text != "")
    figures["lines of code"] = sum(line.strip()[:1] not in {"", "#"} for line in text.splitlines())
    for node in nodes:
        size = getattr(node, "end_lineno", 0) - getattr(node, "lineno", 0) + 1
        match node:
            case ast.Lambda():
                figures["functions and lambdas"] += 1
            case ast.Expr(ast.Constant(str())):  # a docstring
                figures["lines of code"] -= size
            case ast.stmt():
                figures["statements"] += 1
        match node:
            case ast.Import() | ast.ImportFrom():
                figures["lines of imports"] += size
            case ast.ClassDef():
                bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
                figures["protocols and abstract classes"] += bool(bases & {"Protocol", "ABC"})
            case ast.FunctionDef() | ast.AsyncFunctionDef() if not node.name.startswith("__"):
                is_small = node.name[0] == "_" and size <= 8 and not is_emulator
                uses = re.findall(rf"\b{node.name}\b", text) if is_small else ()
                is_told = ast.get_docstring(node) is not None
                body = node.body[is_told:]
                is_return = len(body) == 1 and isinstance(body[0], ast.Return | ast.Expr)
                figures["functions and lambdas"] += 1
                figures["function names over 30 characters"] += len(node.name.strip("_")) > 30
                figures["functions of one return or call"] += is_return
                figures["private helpers of 8 lines or less, used once"] += len(uses) == 2
                figures["named"] += 1
                figures["told"] += is_told
    return figures


def read_text(root: Path) -> str:
    """What ratchet.toml says; where a merge has left two sides, the first one."""
    text = (root / FILE).read_text("utf-8")
    return re.sub(r"(?ms)^<<<<<<< .*?\n(.*?)^=======\n.*?^>>>>>>> .*?\n", r"\1", text)


def count_tree(root: Path, net: Iterable[str]) -> dict[str, Counter[str]]:
    """The figures of each file as it stands there now; `net` are tests that count for nothing."""
    files = {}
    for folder in ("synapse_apply", "tests"):
        for path in (root / folder).rglob("*.*"):
            name = path.relative_to(root).as_posix()
            if path.suffix == ".py" and name not in net:
                files[name] = count_file(name, path.read_text("utf-8"), list_nodes(path))
            elif OTHER_TEXT.fullmatch(path.suffix) and path.is_file():
                lines = path.read_bytes().count(b"\n")
                files[name] = Counter({f"lines of other text below {folder}": lines})
    return files


def add_up(files: Iterable[Counter[str]]) -> Counter[str]:
    """The totals, and of 100 functions how many have a docstring."""
    totals = sum(files, Counter[str]())
    percent = 100 * totals.pop("told", 0) // max(1, totals.pop("named", 0))
    return totals + Counter({"functions with a docstring, of 100": percent})


def count_earlier(root: Path) -> dict[str, Counter[str]]:
    """The figures of what differs now from the commit that wrote ratchet.toml last; empty if new."""
    commit = run_git(root, "log", "-1", "--format=%H", "--", str(FILE)).decode().strip() or "HEAD"
    before, now = read_revision(root, commit), read_revision(root, ".")
    paths = {path for path, _ in before.blobs.items() ^ now.blobs.items() if PYTHON.match(path)}
    texts = before.read_files(sorted(paths & before.blobs.keys()))
    nodes = {path: ast.walk(ast.parse(text)) for path, text in texts.items()}
    return {path: count_file(path, texts.get(path, ""), nodes.get(path, ())) for path in paths}


def find_wrong(root: Path) -> str:
    """What is beyond its row, by how much and in which files, and what to do; empty if nothing is."""
    rows = tomllib.loads(read_text(root))
    files = count_tree(root, rows["net"])
    totals = add_up(files.values())
    least, most = rows["at_least"].items(), (rows["totals"] | rows["at_most"]).items()
    wrong = [f"{name}: {totals[name]}, under {row}" for name, row in least if totals[name] < row]
    risen = {name: row for name, row in most if totals[name] > row}
    earlier = count_earlier(root) if risen else {}
    for name, row in risen.items():
        wrong.append(f"{name}: {totals[name]}, {totals[name] - row} over {row}")
        for path in sorted(earlier.keys() - rows["net"]):
            by = files.get(path, Counter())[name] - earlier[path][name]
            wrong += [f"    {by:+} {path}"] if by else []
    return "\n".join([*wrong, HOW_TO_GO_ON]) if wrong else ""


def write_rows(root: Path, *, raises: bool) -> Iterator[str]:
    """Write the totals that have fallen, or all; a line for each that is another now."""
    text = read_text(root)
    rows = tomllib.loads(text)
    totals = add_up(count_tree(root, rows["net"]).values())
    for name, row in rows["totals"].items():
        is_written = raises or totals[name] < row
        if is_written:
            text = text.replace(f'\n"{name}" = {row}\n', f'\n"{name}" = {totals[name]}\n')
        if totals[name] != row:
            why = "" if is_written else " is too high: not written without RAISE=yes"
            yield f"{name}: {row} -> {totals[name]}{why}"
    (root / FILE).write_text(text, "utf-8")


if __name__ == "__main__":
    print(*write_rows(ROOT, raises="--raise" in sys.argv), sep="\n")
