"""What a release consists of, and whether it works: for `make release-check` and the pipelines.

    release.py tag TAG               refuse a tag for which something is still open
    release.py build DIST            wheel and source archive, twice and compared; pages; notes
    release.py fetch WHEELS          every library of action/requirements.txt, as a local index
    release.py describe DIST WHEELS  the SBOM, and SHA256SUMS over all of it
    release.py test DIST WHEELS      install the wheel with each extra from that index, and use it
    release.py costs DIST WHEELS     size and import time of each library, for docs/performance.md
    release.py notes VERSION         what CHANGELOG.md says of a version

Only `fetch` uses the network, and of that only the package index.
"""

from __future__ import annotations

import filecmp
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = PROJECT["version"]
LOCK = ROOT / "action" / "requirements.txt"
PIPELINES = [".github/workflows/release.yml", ".gitlab-ci.yml", "examples/controller/Containerfile"]
# A digest or a name that only an owner can fill in. No pipeline runs with one.
PLACEHOLDER = re.compile(r"OPEN-[A-Z-]+")
MARK = "--- end of a command ---"


def main(words: list[str]) -> int:
    """Do what is asked for; a problem is a line on the error stream and the exit code 1."""
    actions = {
        "tag": check_tag, "build": build, "fetch": fetch,
        "describe": describe, "test": test, "costs": costs, "notes": print_notes,
    }  # fmt: skip
    if not words or words[0] not in actions:
        print(__doc__, file=sys.stderr)
        return 64
    try:
        actions[words[0]](*words[1:])  # type: ignore[operator]
    except Problem as problem:
        print(f"release: {problem}", file=sys.stderr)
        return 1
    return 0


class Problem(Exception):
    """What keeps a release back."""


def check_tag(tag: str) -> None:
    """Refuse a tag that names another version, or while anything is open."""
    found = list(find_open(tag, ROOT))
    git = ["git", "-C", str(ROOT), "status", "--porcelain"]
    if (ROOT / ".git").exists() and run(git):
        found.append(
            "the working tree differs from the commit: commit or remove what `git status` lists"
        )
    if found:
        raise Problem(f"{tag} cannot be released:\n" + "\n".join(f"  - {one}" for one in found))
    print(f"{tag}: nothing is open")


def find_open(tag: str, root: Path) -> Iterator[str]:
    """Everything that keeps a tag back, by what the files below `root` say."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    if tag != f"v{version}":
        yield f"pyproject.toml says version {version}: the tag must be v{version}"
    if not re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$",
        read(root / "CHANGELOG.md"),
        re.MULTILINE,
    ):
        yield f"CHANGELOG.md has no heading `## [{version}] - YYYY-MM-DD`"
    for line in read(root / "RELEASING.md").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[-1] == "open":
            yield f"RELEASING.md: {cells[0]} is open"
    for name in (one for one in PIPELINES if (root / one).exists()):
        for word in sorted(set(PLACEHOLDER.findall(read(root / name)))):
            yield f"{name}: {word} stands in the place of a real value"


def cut_notes(version: str, changelog: str) -> str:
    """The section of one version, without its heading."""
    found = re.search(
        rf"^## \[{re.escape(version)}\].*?\n(.*?)(?=^## \[|\Z)",
        changelog,
        re.MULTILINE | re.DOTALL,
    )
    if not found or not found[1].strip():
        raise Problem(f"CHANGELOG.md has no section of {version}")
    return found[1].strip() + "\n"


def print_notes(version: str) -> None:
    print(cut_notes(version, read(ROOT / "CHANGELOG.md")), end="")


def build(dist: str) -> None:
    """Build everything into DIST; a second build, from the source archive, has the same bytes."""
    to = Path(dist).resolve()
    shutil.rmtree(to, ignore_errors=True)
    epoch = find_epoch()
    wheel, sdist = build_packages(ROOT, to, epoch)
    with tempfile.TemporaryDirectory() as work:
        with tarfile.open(sdist) as archive:
            archive.extractall(work, filter="data")
        unpacked = Path(work) / sdist.name.removesuffix(".tar.gz")
        for path in unpacked.rglob("*"):  # of another day
            os.utime(path, (1, 1))
        again = build_packages(unpacked, Path(work) / "again", epoch)
        for one, other in zip((wheel, sdist), again, strict=True):
            if one.name != other.name or not filecmp.cmp(one, other, shallow=False):
                raise Problem(f"two builds of {one.name} differ")
    (to / f"{stem()}-docs.tar.gz").write_bytes(pack_pages(epoch))
    changelog = read(ROOT / "CHANGELOG.md")
    heading = VERSION if f"## [{VERSION}]" in changelog else "Unreleased"
    (to / "notes.md").write_text(cut_notes(heading, changelog), encoding="utf-8")
    print(f"{dist}: built twice, equal: {wheel.name}, {sdist.name}; notes of {heading}")


def find_epoch() -> int:
    """The time that all files of an archive get: that of the commit, or a fixed one."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    if (ROOT / ".git").exists():
        return int(run(["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]))
    return 1580601600  # what hatchling takes


def build_packages(source: Path, to: Path, epoch: int) -> tuple[Path, Path]:
    """Build the wheel and the source archive of a folder with the hatchling of this interpreter."""
    given = {"SOURCE_DATE_EPOCH": str(epoch)}
    run(
        [sys.executable, "-I", "-m", "hatchling", "build", "-d", str(to)],
        folder=source,
        given=given,
    )
    return next(to.glob("*.whl")), next(to.glob("*.tar.gz"))


def pack_pages(epoch: int) -> bytes:
    """The site: pages, a file of them all, schemas with their addresses; the same bytes always."""
    found = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*"))
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    make = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.stdout.write("
    make += f"runpy.run_path({str(ROOT / 'docs' / 'generate.py')!r})['joined_pages']())"
    found["docs/llms-full.txt"] = (run([sys.executable, "-I", "-c", make]) + "\n").encode()
    entries = json.loads(found["docs/schemastore.json"])
    site = entries[0]["url"].partition("schemas/")[0]
    for path in (ROOT / "schemas").rglob("*.json"):
        name = path.relative_to(ROOT).as_posix()
        schema = json.loads(path.read_bytes())
        schema = {"$schema": schema.pop("$schema"), **schema, "$id": site + name}
        found[name] = (json.dumps(schema, indent=2, ensure_ascii=False) + "\n").encode()
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(found.items()):
            entry = tarfile.TarInfo(f"{stem()}-docs/{name}")
            entry.size, entry.mtime, entry.mode = len(content), epoch, 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


def fetch(wheels: str) -> None:
    """Download what the lock names, by hash."""
    pip("download", "--only-binary", ":all:", "--no-deps", "--require-hashes",
        "--requirement", str(LOCK), "--dest", wheels)  # fmt: skip
    print(
        f"{wheels}: {len(list(Path(wheels).iterdir()))} libraries, by hash as {LOCK.name} has them"
    )


def describe(dist: str, wheels: str) -> None:
    """Write the SBOM of the wheel with all extras, and the checksums of every file."""
    to = Path(dist).resolve()
    with tempfile.TemporaryDirectory() as work:
        environment = Environment(Path(work) / "all")
        environment.install(to, wheels, ",".join(PROJECT["optional-dependencies"]))
        run([str(program("cyclonedx-py")), "environment", "--output-reproducible", "--pyproject",
             str(ROOT / "pyproject.toml"), "--mc-type", "application", "--output-file",
             str(to / f"{stem()}.cdx.json"), str(environment.python)])  # fmt: skip
    files = sorted(path for path in to.iterdir() if path.name != "SHA256SUMS")
    sums = "".join(f"{digest(path)}  {path.name}\n" for path in files)
    (to / "SHA256SUMS").write_text(sums, encoding="utf-8")
    print(f"{dist}: SBOM, and checksums of {len(files)} files")


def test(dist: str, wheels: str) -> None:
    """Install the wheel with each extra, and use it as its pages say."""
    to = Path(dist).resolve()
    for line in read(to / "SHA256SUMS").splitlines():
        told, _, name = line.partition("  ")
        if digest(to / name) != told:
            raise Problem(f"{name} is not what SHA256SUMS says")
    with tempfile.TemporaryDirectory() as work:
        for extra, libraries in {"": [], **PROJECT["optional-dependencies"]}.items():
            environment = Environment(Path(work) / (extra or "alone"))
            count = environment.install(to, wheels, extra)
            pip("--python", str(environment.python), "check")
            found = json.loads(run([str(environment.tool), "version", "--json"]))
            if found["version"] != VERSION or (libraries and extra not in found["extras"]):
                raise Problem(f"with the extra {extra!r} `version --json` says {found}")
            print(
                f"installed with {extra or 'no extra'}: {count} packages, by hash, without network"
            )
        alone, home = Environment(Path(work) / "alone"), Path(work) / "home"
        home.mkdir()
        user = {"HOME": str(home), "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": "", "TMPDIR": str(home)}
        demo = ["bash", str(ROOT / "examples" / "quickstart" / "demo.sh")]
        run(demo, given={**user, "BIN": str(alone.tool.parent)})
        try_readme(alone.tool, Path(work) / "readme", user)
        try_controller(Environment(Path(work) / "controller").tool, Path(work) / "demo", user)
        pip("--python", str(alone.python), "uninstall", "--yes", "synapse-apply")
        left = [str(path) for path in (*alone.folder.rglob("synapse*apply*"), *home.rglob("*"))]
        if left:
            raise Problem("uninstalled, this is left: " + ", ".join(left))
        print("the demo, the README and the controller's demo work; uninstalled, nothing is left,")
        print(
            "neither in the environment nor in the user's home and the folder for temporary files"
        )
        try_runners(to, wheels, Path(work))


def costs(dist: str, wheels: str, page: str = "") -> None:
    """Print what each library costs; a page gets it between its marks, too."""
    with tempfile.TemporaryDirectory() as work:
        environment = Environment(Path(work) / "all")
        environment.install(
            Path(dist).resolve(), wheels, ",".join(PROJECT["optional-dependencies"])
        )
        told = run([str(environment.python), "-I", str(ROOT / "release" / "costs.py")])
    print(told)
    if page:
        head, _, rest = read(Path(page)).partition("<!-- libraries: begin -->\n")
        _, mark, tail = rest.partition("<!-- libraries: end -->")
        begin = "<!-- libraries: begin -->\n"
        Path(page).write_text(f"{head}{begin}\n{told}\n\n{mark}{tail}", encoding="utf-8")


def try_readme(tool: Path, folder: Path, user: Mapping[str, str]) -> None:
    """Run the console blocks of the README: the last line of each command is as shown."""
    fences = re.findall(
        r"^```(\w+)\n(.*?)^```$", read(ROOT / "README.md"), re.MULTILINE | re.DOTALL
    )
    manifest = next(text for language, text in fences if language == "yaml")
    file = folder / manifest.partition("\n")[0].removeprefix("# ")
    file.parent.mkdir(parents=True)
    file.write_text(manifest, encoding="utf-8")
    parts = [
        part.partition("\n")
        for language, text in fences
        if language == "console"
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    ]
    script = "".join(f"{command}\necho '{MARK}'\n" for command, _, _ in parts)
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    printed = run(["bash", "-c", script], folder=folder, given={**user, "PATH": path}).split(MARK)
    for (command, _, shown), real in zip(parts, printed[:-1], strict=True):
        if shown.strip().splitlines()[-1:] != real.strip().splitlines()[-1:]:
            raise Problem(f"the README shows another end of `{command}`:\n{real}")


def try_controller(tool: Path, folder: Path, user: Mapping[str, str]) -> None:
    """Run the controller's demo until it has applied; stopped, it leaves nothing."""
    folder.mkdir()
    process = subprocess.Popen(
        [str(tool), "controller", "run", "--demo"],
        cwd=folder,
        env={**os.environ, **user, "TMPDIR": str(folder)},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    said = [process.stdout.readline() for _ in range(2)][-1] if process.stdout else ""
    url = (re.findall(r"http://127\.0\.0\.1:\d+", said) or [""])[0]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    states: dict[str, str] = {}
    while url and states.get("acme/dev") != "in sync" and time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            with opener.open(f"{url}/api/v1/targets", timeout=10) as answer:
                states = {one["name"]: one["state"] for one in json.load(answer)["items"]}
        except OSError:  # the page is not there yet
            continue
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    left = sorted(path.name for path in folder.iterdir())
    if states.get("acme/dev") != "in sync" or process.returncode or left:
        told = f"{said.strip()!r}, {states}; left: {left}"
        raise Problem(f"the controller's demo ended with {process.returncode}: {told}")


def try_runners(dist: Path, wheels: str, work: Path) -> None:
    """Run the command in an environment that its runner makes and forgets: uv's and pipx's."""
    wheel, index = str(next(dist.glob("*.whl"))), str(Path(wheels).resolve())
    runners = {
        "uv": ["tool", "run", "--no-config", "--offline", "--python", sys.executable, "--no-index",
               "--find-links", index, "--from", wheel],
        "pipx": ["run", "--pip-args", f"--no-index --find-links {index}", "--spec", wheel],
    }  # fmt: skip
    given = {
        name: str(work / name.lower())
        for name in ("UV_CACHE_DIR", "UV_TOOL_DIR", "PIPX_HOME", "PIPX_BIN_DIR", "HOME")
    }
    for name, words in runners.items():
        said = run(
            [str(program(name)), *words, "synapse-apply", "--version"], folder=work, given=given
        )
        if said != f"synapse-apply {VERSION}":
            raise Problem(f"run by {name} the command says {said!r}")
        print(f"run by {name}, in an environment that is thrown away")


class Environment:
    """A new virtual environment without pip; this interpreter's pip installs into it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.python, self.tool = (
            folder,
            folder / "bin" / "python",
            folder / "bin" / "synapse-apply",
        )
        if not folder.exists():
            run([sys.executable, "-I", "-m", "venv", "--without-pip", str(folder)])

    def install(self, dist: Path, wheels: str, extras: str) -> int:
        """Install the wheel and what it asks for, each by hash, and say how many packages."""
        wheel = next(dist.glob("*.whl"))
        asked = (
            f"synapse-apply[{extras}] @ {wheel.as_uri()}"
            if extras
            else f"synapse-apply @ {wheel.as_uri()}"
        )
        index = ("--no-index", "--find-links", wheels, "--only-binary", ":all:")
        into = ("--python", str(self.python), "install", "--quiet", *index)
        told = json.loads(pip(*into, "--dry-run", "--report", "-", asked))
        names = [normal(one["metadata"]["name"]) for one in told["install"]]
        locked = read_lock()
        rows = [f"{asked} --hash=sha256:{digest(wheel)}"]
        rows += [locked[name] for name in names if name != "synapse-apply"]
        file = self.folder / "requirements.txt"
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")
        pip(*into, "--require-hashes", "--requirement", str(file))
        return len(names)


def read_lock() -> dict[str, str]:
    """The lines of the lock, by package."""
    rows = re.split(r"^(?=[A-Za-z])", read(LOCK), flags=re.MULTILINE)[1:]
    return {normal(re.split(r"[=\[; ]", row)[0]): row.strip() for row in rows}


def pip(*words: str) -> str:
    """Run pip; without network it sees no other place than the one it is given."""
    offline = {"PIP_FIND_LINKS": ""} if "--no-index" in words else {}
    return run(
        [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", *words], given=offline
    )


def run(
    words: list[str], folder: Path | None = None, given: Mapping[str, str] | None = None
) -> str:
    """What a program prints; one that fails is a problem."""
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **(given or {})}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Problem(
            f"`{' '.join(words)}` ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout.strip()


def program(name: str) -> Path:
    return Path(sys.executable).parent / name


def stem() -> str:
    return f"synapse-apply-{VERSION}"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
