"""What happens in the demo, and when: what is there at its start, and the story that follows.

All of it lies in one temporary folder and listens on loopback alone. Of its targets one has each
mode: what a commit says is live on dev by itself, staging is only watched, prod asks first.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import sys
import tempfile
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from synapse_apply.client.backend import BackendClient
from synapse_apply.controller.demo import demo_files
from synapse_apply.controller.demo.demo_files import DemoProxy
from synapse_apply.controller.remote.controller_api import TOKEN_VARIABLE, URL_VARIABLE
from synapse_apply.emulator.serve import EmbeddedServer
from synapse_apply.files.programs import build_child_environment, require_executable, run_program
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError, RemoteError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive

_DEV, _STAGING, _PROD = demo_files.TARGETS
_SWITCHES = {"plugin_list": "list"}  # so that the plugin that somebody changes can be found
_KEY_BYTES = 32
_SECONDS_BETWEEN_STEPS = 12.0
Tell = Callable[[str], None]


@frozen
class Demo:
    """What `controller run` is to be run with.

    `variables` are what the controller's environment must have besides its own.
    """

    folder: Path
    configuration_file: Path
    data_folder: Path
    variables: Mapping[str, str]
    page_url: str


class _Step(NamedTuple):
    """One thing that happens, and what is told of it before."""

    text: str
    happen: Callable[[], None]


@contextmanager
def open_demo(
    tell: Tell, *, keep: bool = False, seconds_between_steps: float = _SECONDS_BETWEEN_STEPS
) -> Iterator[Demo]:
    """Make the demo's folder, repository and backend; the story goes on while the block runs.

    `tell` gets a line for people at each step, from another thread. At the end all of it is
    removed, but for the folder with `keep`. InputError where Git is missing.
    """
    folder = Path(tempfile.mkdtemp(prefix="synapse-apply-demo-")).resolve()
    is_over = threading.Event()
    try:
        token = secrets.token_urlsafe(24)
        with ExitStack() as backends:
            # One each: in one backend the code of a plugin would be taken by the first target.
            servers = {
                name: EmbeddedServer(folder / name, token=token, switches=_SWITCHES)
                for name in demo_files.TARGETS
            }
            urls = {name: backends.enter_context(server).url for name, server in servers.items()}
            scene = _Scene(folder, urls, token)
            scene.set_up_projects()
            port = _free_port()
            proxy = backends.enter_context(DemoProxy(port, scene.proxy_secret))
            demo = scene.write_configuration(port, proxy.url)
            story = threading.Thread(
                target=_play_story,
                args=(scene, tell, is_over, seconds_between_steps),
                daemon=True,
                name="story",
            )
            story.start()
            try:
                yield demo
            finally:
                is_over.set()
                story.join()
    finally:
        if keep:
            tell(f"The demo folder remains: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


class _Scene:
    """The repository, the backend and the targets of the demo, and what can happen to them."""

    def __init__(self, folder: Path, backend_urls: Mapping[str, str], token: str) -> None:
        self._folder = folder
        self._backend_urls = backend_urls
        key = b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
        self._variables = {demo_files.TOKEN_VARIABLE: token, demo_files.KEY_VARIABLE: key}
        self._operator_token = secrets.token_urlsafe(24)
        self.proxy_secret = Sensitive(secrets.token_urlsafe(24))
        self._states = folder / "states"
        self.variables_file = folder / "demo.env"
        self._repository = DemoRepository(folder / "repository")

    @property
    def repository_folder(self) -> Path:
        return self._repository.folder

    def set_up_projects(self) -> None:
        """Commit the projects, make states, and apply them to staging as a pipeline would."""
        self._states.mkdir()
        texts = demo_files.build_texts_of_first_commit(self._backend_urls, self._states)
        self._repository.write_and_commit_all(texts, "Declare image processing and its results")
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._make_state, demo_files.TARGETS))

    def write_configuration(self, port: int, page_url: str) -> Demo:
        """Write controller.yaml, and a file of variables for whoever runs commands there.

        The controller listens at `port`; people reach it at `page_url`.
        """
        hosts = [urlsplit(url).netloc for url in self._backend_urls.values()]
        configuration_file = self._folder / "controller.yaml"
        text = demo_files.format_controller_file(
            self._repository.folder, self._states, hosts, port, page_url
        )
        configuration_file.write_text(text, encoding="utf-8")
        of_people = {
            URL_VARIABLE: page_url,
            TOKEN_VARIABLE: self._operator_token,
            **self._variables,
            **{f"DEMO_{name.upper()}_URL": url for name, url in self._backend_urls.items()},
        }
        lines = (f"export {name}={value}\n" for name, value in of_people.items())
        self.variables_file.touch(mode=0o600)
        self.variables_file.write_text("".join(lines), encoding="utf-8")
        return Demo(
            self._folder,
            configuration_file,
            self._folder / "data",
            {
                **self._variables,
                demo_files.PROXY_VARIABLE: str(self.proxy_secret.reveal()),
                demo_files.OPERATOR_VARIABLE: self._operator_token,
            },
            page_url,
        )

    def list_story_steps(self) -> list[_Step]:
        """The story, in its order."""
        return [
            _Step(
                "Somebody changes the plugin of dev and staging manually: the controller "
                "restores dev (mode auto), and staging (mode observe) drifts.",
                self._change_plugins,
            ),
            _Step(
                "A commit with a mistyped field arrives, and fails on every target.",
                lambda: self._repository.write_and_commit_all(
                    demo_files.build_texts_of_broken_commit(), "Add the archive"
                ),
            ),
            _Step(
                "The next commit fixes it: it is live on dev at once, staging shows what is "
                "missing, and prod (mode approve) waits for your approval.",
                lambda: self._repository.write_and_commit_all(
                    demo_files.build_texts_of_mending_commit(),
                    "Fix the category of the archive",
                ),
            ),
        ]

    def _make_state(self, name: str) -> None:
        self._run_synapse_apply("state", "init", "-t", name)
        if name == _STAGING:
            self._run_synapse_apply("apply", "-t", name, "--auto-approve")

    def _change_plugins(self) -> None:
        token = self._variables[demo_files.TOKEN_VARIABLE]
        for name in (_DEV, _STAGING):
            with BackendClient(self._backend_urls[name], token) as client:
                for plugin in client.list_plugins():
                    client.update_plugin(plugin["id"], {"description": "Changed by hand"})

    def _run_synapse_apply(self, *arguments: str) -> None:
        run_synapse_apply(self._repository.folder, self._variables, *arguments)


def _play_story(scene: _Scene, tell: Tell, is_over: threading.Event, seconds: float) -> None:
    try:
        for step in scene.list_story_steps():
            if is_over.wait(seconds):
                return
            tell(step.text)
            step.happen()
    except (SynapseApplyError, RemoteError) as error:
        tell(f"The story ends early: {error}")
        return
    tell(
        Text(
            "Now it is your turn: approve the rows of prod, on its page or with `. "
            f"{scene.variables_file}` and then ",
            Command("controller approve", f"acme/{_PROD}"),
            f". Or commit to {scene.repository_folder}. Ctrl-C ends the demo.",
        )
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_SECONDS = 120.0
_AUTHOR = {
    "GIT_AUTHOR_NAME": "Demo",
    "GIT_AUTHOR_EMAIL": "demo@example.com",
    "GIT_COMMITTER_NAME": "Demo",
    "GIT_COMMITTER_EMAIL": "demo@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


class DemoRepository:
    """The repository that the demo's controller follows, with a checkout that people can edit."""

    def __init__(self, folder: Path) -> None:
        """Make it; InputError where there is no Git."""
        self.folder = folder
        try:
            self._program = require_executable("git", ())
        except FileNotFoundError:
            raise InputError.from_summary(
                "The demo needs Git", "git is not on PATH.", "Install Git."
            ) from None
        folder.mkdir()
        self._run_git("init", "--quiet", "--initial-branch=main")

    def write_and_commit_all(self, texts: Mapping[str, str], subject: str) -> None:
        """Write files and commit them, with all else that was changed there."""
        for path, text in texts.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        self._run_git("add", "--all")
        self._run_git("commit", "--quiet", "--message", subject)

    def _run_git(self, *arguments: str) -> None:
        _run((self._program, "-C", str(self.folder), *arguments), _AUTHOR)


def run_synapse_apply(folder: Path, variables: Mapping[str, str], *arguments: str) -> None:
    """Run this program in a folder of the demo; InputError with what it says where it fails."""
    command = (sys.executable, "-I", "-m", "synapse_apply", *arguments, "-C", str(folder))
    _run(command, {**variables, "HOME": str(folder.parent)})


def _run(command: tuple[str, ...], variables: Mapping[str, str]) -> None:
    environment = build_child_environment((), variables)
    exit_code, output, error_text = run_program(command, environment, timeout=_SECONDS)
    if exit_code:
        text = f"{output.decode(errors='replace')}\n{error_text}".strip()
        raise InputError.from_summary("A step of the demo failed", text[-2000:])
