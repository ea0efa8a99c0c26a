"""Whether commits of a source are signed by a key of the operator: Git verifies them."""

from __future__ import annotations

import os
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from synapse_apply.controller.ports import SourceUnavailable
from synapse_apply.controller.settings import Signatures, Source
from synapse_apply.controller.source.mirror_git import MirrorGit, quote_git
from synapse_apply.files.programs import build_child_environment, require_executable, run_program
from synapse_apply.model.errors import InputError
from synapse_apply.views.sanitize import sanitize

# Git starts a program or two for each of them.
MOST_VERIFIED = 1000
_MOST_NAMED = 5
# Of so many commits the signers are remembered: a history is asked for at each check.
_MOST_KNOWN = 100_000
_MAX_KEY_BYTES = 4 * 1024 * 1024
_GPG_SECONDS = 30.0
_FORMAT = "--format=%H%x00%G?%x00%GF%x00%GS%x00%an"
# What Git says of a signature (`%G?` of git-log(1)), as the end of "COMMIT by AUTHOR ...".
_FAULTS = {
    "N": "has no signature",
    "B": "has a signature that does not match its content",
    "X": "has a signature that has expired",
    "Y": "is signed by a key that has expired",
    "R": "is signed by a key that is revoked",
    "form": "has a signature in a format that Git does not know",
    "": "is signed by a key that is not in {files}",
}
# The keys are those of the operator's file alone, and gpg asks nobody for others.
_GPG_SETTINGS = "trust-model always\nno-autostart\nno-auto-key-retrieve\nno-auto-key-locate\n"
_OPENPGP_KEY = re.compile(r"[0-9A-F]{40,64}\Z")
# ALLOWED SIGNERS of ssh-keygen(1): names may be in quotes, and options stand before the key.
_SSH_KEY = re.compile(
    rb"""\s*(?!\#)(?P<principals>"[^"]*"|\S+)\s(?:.*?\s)?(?:sk-)?(?:ssh|ecdsa)-\S+\s+"""
    rb"(?P<key>[A-Za-z0-9+/]+=*)"
)
_LIMITS = re.compile(rb'valid-(before|after)="?([^",\s]*)')
_TIME = re.compile(rb"([0-9]{8})([0-9]{4})?([0-9]{2})?(z)?")
# Headers of a commit (gitformat-signature(5)), and the first lines that Git knows.
_AUTHOR = re.compile(rb"^author (.*?) ?<", re.MULTILINE)
_SIGNATURE = re.compile(rb"^gpgsig(?:-sha256)? (.*)$", re.MULTILINE)
_FORMS = {
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
    b"-----BEGIN SSH SIGNATURE-----",
}


class SignedCommit(NamedTuple):
    """A commit as Git verified it: `verdict` is a letter of `%G?`, `key` a fingerprint or ""."""

    commit: str
    verdict: str
    key: str
    signer: str
    author: str

    @property
    def is_good(self) -> bool:
        """Whether a key of the operator's files made the signature.

        Git knows no trust in an OpenPGP key of such a file, and whose it is of each SSH key.
        """
        return self.verdict == "G" or (
            self.verdict == "U" and _OPENPGP_KEY.match(self.key) is not None
        )


class _Known(NamedTuple):
    """The names of keys by fingerprint, and of commits their signers and keys, by these files."""

    digest: bytes
    names: dict[str, set[str]]
    by_commit: dict[str, tuple[str, str]]


class CommitSignatures:
    """Verifies commits of one source's mirror; for many threads.

    Methods raise SourceUnavailable where a file of keys, Git or gpg cannot be used.
    """

    def __init__(self, source: Source, signed: Signatures, git: MirrorGit) -> None:
        """Reads nothing yet."""
        self._source = source
        self._signed = signed
        self._git = git
        self._known: _Known | None = None

    def require(self, commit: str, live: frozenset[str] | None) -> None:
        """InputError that names each commit without a signature that counts.

        Of `commit`, and in mode `since_live` of all that none of `live` contains; None: there is
        nothing live. A commit of `live` was accepted before.
        """
        if live and commit in live:
            return
        ids = [commit]
        if self._signed.mode == "since_live" and live is not None:
            known = [f"^{one}" for one in sorted(live) if self._git.commit_id(one)]
            ids = self._list(f"--max-count={MOST_VERIFIED + 1}", commit, *known) or ids
        if len(ids) > MOST_VERIFIED:
            bound = f"more than {MOST_VERIFIED:,} commits, and the controller verifies no more"
            raise self._refusal(f"between what is live and {commit[:12]} are {bound}")
        wrong = [one for one in self._verify(ids) if not one.is_good]
        if wrong:
            told = [self._fault(one) for one in wrong[:_MOST_NAMED]]
            more = len(wrong) - len(told)
            raise self._refusal("; ".join(told) + (f"; and {more} more" if more else ""))

    def signers(self, *revisions: str) -> set[str]:
        """Names and addresses of who signed commits, which are arguments of git-rev-list(1).

        All that the operator's files call a key, also one that is not valid any more.
        """
        ids = self._list(*revisions)
        if not ids:
            return set()
        known = self._read_known()
        new = [one for one in ids if one not in known.by_commit]
        for at in range(0, len(new), MOST_VERIFIED):
            for one in self._verify(new[at : at + MOST_VERIFIED]):
                known.by_commit[one.commit] = one.signer, one.key
        found = {known.by_commit[one] for one in ids}
        signers = {name for signer, key in found for name in (signer, *known.names.get(key, ()))}
        # An OpenPGP key has `NAME <ADDRESS>`, an SSH key what its file says.
        return signers | {text for one in signers for text in one.rstrip(">").split(" <")}

    def _read_known(self) -> _Known:
        """What the files say as they are now, with the signers that were found by them before."""
        signed = self._signed
        try:
            texts = [
                self._read(file) if file else b"" for file in (signed.allowed_signers, signed.keys)
            ]
            digest = sha256(b"".join(sha256(text).digest() for text in texts)).digest()
            known = self._known
            if known is None or known.digest != digest or len(known.by_commit) > _MOST_KNOWN:
                known = self._known = _Known(digest, self._names_by_key(*texts), {})
        except OSError as problem:
            raise self._unusable(f"{problem.filename or 'gpg'}: {problem.strerror}.") from None
        return known

    def _names_by_key(self, allowed_signers: bytes, keys: bytes) -> dict[str, set[str]]:
        """What the files call the owners of each key, by its fingerprint as Git shows it."""
        names: dict[str, set[str]] = {}
        for line in allowed_signers.splitlines():
            if (found := _SSH_KEY.match(line)) is None:
                continue
            with suppress(ValueError):
                digest = sha256(b64decode(found["key"])).digest()
                fingerprint = f"SHA256:{b64encode(digest).decode().rstrip('=')}"
                principals = found["principals"].strip(b'"').decode("utf-8", "replace")
                names.setdefault(fingerprint, set()).update(principals.split(","))
        of_key: set[str] = set()
        listed = self._list_openpgp_keys(keys) if keys else b""
        for row in listed.decode("utf-8", "replace").splitlines():
            fields = row.split(":")
            if fields[0] == "pub":
                of_key = set()
            elif fields[0] == "uid":
                of_key.add(fields[9].replace("\\x3a", ":"))
            elif fields[0] == "fpr":  # a file may have a key twice, with other names
                of_key |= names.get(fields[9], set())
                names[fields[9]] = of_key
        return names

    def _list_openpgp_keys(self, keys: bytes) -> bytes:
        """Keys as gpg lists them, with all names (gnupg, DETAILS)."""
        program = require_executable("gpg", ())
        with TemporaryDirectory(prefix="synapse-apply-signers-") as home:
            result = run_program(
                (program, "--homedir", home, "--batch", "--show-keys", "--with-colons"),
                build_child_environment((), {"GNUPGHOME": home}),
                input_bytes=keys,
                timeout=_GPG_SECONDS,
            )
        if result.exit_code:
            raise self._no_public_keys()
        return result.output

    def _list(self, *revisions: str) -> list[str]:
        return self._run("rev-list", *revisions).decode("ascii", "replace").split()

    def _verify(self, ids: Sequence[str]) -> list[SignedCommit]:
        """What the signatures of commits are worth, in any order."""
        names = "".join(f"{one}\n" for one in ids).encode()
        commits, rest = list[SignedCommit](), self._run("cat-file", "--batch", given=names)
        known = []
        while rest:
            head, _, rest = rest.partition(b"\n")
            commit, kind, size = [*head.decode("ascii", "replace").split(" "), "", ""][:3]
            if kind != "commit":
                raise self._unusable(f"{commit[:12]} is not a commit of the mirror.")
            header, rest = rest[: int(size)].partition(b"\n\n")[0], rest[int(size) + 1 :]
            # Git itself ends at a signature of another form.
            if all(form in _FORMS for form in _SIGNATURE.findall(header)):
                known.append(commit)
            else:
                author = _AUTHOR.search(header)
                name = author[1].decode("utf-8", "replace") if author else ""
                commits.append(SignedCommit(commit, "form", "", "", name))
        if not known:
            return commits
        with self._environment() as (settings, variables):
            output = self._run(
                *settings, "log", "--no-walk=unsorted", "--stdin", _FORMAT,
                given="".join(f"{one}\n" for one in known).encode(), variables=variables,
            )  # fmt: skip
        rows = [line.split("\0") for line in output.decode("utf-8", "replace").split("\n")[:-1]]
        if {*map(len, rows)} != {len(SignedCommit._fields)} or {*known} - {row[0] for row in rows}:
            raise self._unusable("The controller cannot read Git's answer about a commit.")
        return [*commits, *(SignedCommit(*row) for row in rows)]

    def _run(
        self, *words: str, given: bytes = b"", variables: Mapping[str, str] | None = None
    ) -> bytes:
        result = self._git.run_local_git(*words, input_bytes=given, variables=variables)
        if result.exit_code:
            raise self._unusable(quote_git(result.error_text))
        return result.output

    def _fault(self, one: SignedCommit) -> str:
        files = " and ".join(filter(None, (self._signed.allowed_signers, self._signed.keys)))
        fault = _FAULTS.get(one.verdict, _FAULTS[""]).format(files=files)
        return f"{one.commit[:12]} by {sanitize(one.author)[:100]} {fault}"

    def _refusal(self, reason: str) -> InputError:
        return InputError.from_summary(
            "A commit is not signed by an allowed key",
            f"{self._source.name}: {reason}.",
            "The controller applies nothing from this commit. Sign it with a key from the files "
            "listed in `signed`, or add the signer's key to them.",
            position=self._source.position,
        )

    def _unusable(self, reason: str) -> SourceUnavailable:
        return SourceUnavailable.from_summary(
            "The source's signatures cannot be verified",
            f"{self._source.name}: {reason}",
            "Check the source's `signed`, and the files that it lists.",
            position=self._source.position,
        )

    @contextmanager
    def _environment(self) -> Iterator[tuple[tuple[str, ...], Mapping[str, str]]]:
        """Settings and variables by which Git knows the operator's keys, and no others."""
        signed = self._signed
        with TemporaryDirectory(prefix="synapse-apply-signers-") as name:
            folder, signers = Path(name), Path(name, "allowed_signers")
            home = folder / "gnupg"
            home.mkdir(0o700)
            try:
                text = self._read(signed.allowed_signers) if signed.allowed_signers else b""
                signers.write_bytes(
                    b"".join(one + b"\n" for one in _valid_lines(text, time.time()))
                )
                programs = {"gpg.x509.program": os.devnull, "gpg.program": os.devnull}
                if signed.allowed_signers:
                    programs["gpg.ssh.program"] = require_executable("ssh-keygen", ())
                if signed.keys:
                    programs["gpg.program"] = require_executable("gpg", ())
                    self._import_keys(programs["gpg.program"], home)
            except OSError as problem:
                what = problem.filename or "ssh-keygen or gpg"
                raise self._unusable(f"{what}: {problem.strerror}.") from None
            except ValueError as problem:
                raise self._unusable(f"{signed.allowed_signers}: {problem}.") from None
            settings = {"gpg.ssh.allowedSignersFile": str(signers), **programs}
            words = [word for pair in settings.items() for word in ("-c", "=".join(pair))]
            yield tuple(words), {"GNUPGHOME": str(home)}

    def _import_keys(self, program: str, home: Path) -> None:
        (home / "gpg.conf").write_text(_GPG_SETTINGS)
        result = run_program(
            (program, "--homedir", str(home), "--batch", "--quiet", "--import"),
            build_child_environment((), {"GNUPGHOME": str(home)}),
            input_bytes=self._read(self._signed.keys),
            timeout=_GPG_SECONDS,
        )
        if result.exit_code:
            raise self._no_public_keys()

    def _no_public_keys(self) -> SourceUnavailable:
        return self._unusable(f"{self._signed.keys} contains no public keys that gpg can read.")

    def _read(self, file: str) -> bytes:
        with open(file, "rb") as opened:  # noqa: PTH123 - a bounded read
            data = opened.read(_MAX_KEY_BYTES + 1)
        if len(data) > _MAX_KEY_BYTES:
            raise self._unusable(f"{file} is larger than {_MAX_KEY_BYTES // 1024**2} MiB.")
        return data


def _valid_lines(signers: bytes, now: float) -> Iterator[bytes]:
    """The keys that are valid now: Git asks whether one was at the time that a commit claims.

    ValueError for a time that cannot be read, and for an authority, whose certificates have times
    of their own (ssh-keygen(1), ALLOWED SIGNERS).
    """
    for line in signers.splitlines():
        # The options stand before the first type of a key, which has a `-` in it.
        options = line.partition(b" ssh-")[0].partition(b" ecdsa-")[0].partition(b" sk-")[0].lower()
        if line.lstrip().startswith(b"#"):
            continue
        if b"cert-authority" in options:
            raise ValueError("it names a certificate authority, which is not supported")
        is_valid = True
        for name, text in _LIMITS.findall(options):
            found = _TIME.fullmatch(text)
            if found is None:
                raise ValueError(f"valid-{name.decode()} of a key is not a valid time")
            day, minutes, seconds, is_utc = (part.decode() for part in found.groups(b""))
            moment = datetime.strptime(f"{day}{minutes or '0000'}{seconds or '00'}", "%Y%m%d%H%M%S")  # noqa: DTZ007 - local without a Z
            time_of_it = (moment.replace(tzinfo=UTC) if is_utc else moment).timestamp()
            is_valid = is_valid and (time_of_it <= now) is (name == b"after")
        if is_valid:
            yield line
