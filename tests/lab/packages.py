"""Packages of Debian, fetched once to a cache folder and unpacked there; nothing is installed.

The folder is ``$XDG_CACHE_HOME/jackfield`` (``~/.cache/jackfield``).  The archive is the one that
the machine uses, with the suites that have what tests want; apt checks what it fetches, with lists
and settings of its own beside the packages.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["Unavailable", "cache_folder", "locked", "unpacked"]

#: The releases of Debian that have what is wanted, and the suites to take it from.
SUITES = {
    "bookworm": ("bookworm", "bookworm-updates", "bookworm-backports"),
    "trixie": ("trixie", "trixie-updates"),
}


class Unavailable(Exception):
    """The packages cannot be had on this machine; the text says why."""


def cache_folder() -> Path:
    """Return the folder for what is kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jackfield"


@functools.cache
def unpacked(
    name: str,
    packages: tuple[str, ...],
    *,
    alone: bool = False,
    suite: str | None = None,
    finish: Callable[[Path], None] | None = None,
) -> Path:
    """Return the folder ``name`` of the unpacked packages, which are fetched unless they are there.

    With them comes what they need and this machine lacks, unless they are to come ``alone``.
    They are the newest there are, or those of another ``suite`` of the same archive.
    ``finish`` does with the folder what installing the packages would do.  Raises ``Unavailable``.
    """
    cache = cache_folder() / name
    root, stamp = cache / "root", cache / "packages"
    wanted = "\n".join(packages)
    with locked(cache):
        if not stamp.is_file() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            _fetch(root, cache, packages, alone=alone, suite=suite)
            if finish is not None:
                finish(root)
            stamp.write_text(wanted)
    return root


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the folder for one process at a time."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot make {directory}: {error.strerror}") from error
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fetch(
    root: Path, cache: Path, packages: tuple[str, ...], *, alone: bool, suite: str | None
) -> None:
    """Download the packages and unpack them."""
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise Unavailable(f"there is no {program}")
    apt = cache / "apt"
    for directory in (apt / "lists/partial", apt / "archives/partial"):
        directory.mkdir(parents=True, exist_ok=True)
    suites = SUITES[_release()] if suite is None else (suite,)
    (apt / "sources.list").write_text(_sources(suites))
    (apt / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{apt}/sources.list";\n'
        'Dir::Etc::SourceParts "-";\n'
        f'Dir::State::Lists "{apt}/lists";\n'
        f'Dir::Cache "{apt}";\n'
        f'Dir::Cache::Archives "{apt}/archives";\n'
        f'APT::Default-Release "{suites[-1]}";\n'
        'APT::Install-Recommends "false";\n'
        # Nothing of the machine's own is written, so there is nothing to guard.
        'Debug::NoLocking "true";\n'
        'APT::Sandbox::User "";\n'
        'Acquire::Languages "none";\n'
    )
    _apt(apt, "apt-get", "update")
    if alone:
        names = [_meant_by(apt, package) for package in packages]
        _apt(apt, "apt-get", "download", *names, directory=apt / "archives")
    else:
        _apt(apt, "apt-get", "install", "--yes", "--download-only", *packages)
    shutil.rmtree(root, ignore_errors=True)
    for package in sorted((apt / "archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", package, root], check=True)
    for name in ("lib", "lib64", "bin", "sbin"):
        # These are links into /usr on a merged system, which is what hosts see.
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)
    shutil.rmtree(apt / "archives")


def _meant_by(apt: Path, package: str) -> str:
    """Return the package that a metapackage for kernels (linux-image-amd64) needs, or itself."""
    needed = re.search(r"Depends: (linux-image-\S+)", _apt(apt, "apt-cache", "depends", package))
    return needed.group(1) if needed else package


def _apt(apt: Path, *command: str, directory: Path | None = None) -> str:
    """Run a program of apt with the configuration in ``apt``; return what it said."""
    result = subprocess.run(
        [command[0], "-q", *command[1:]],
        cwd=directory,
        env={**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        said = result.stdout.strip()[-300:]
        raise Unavailable(f"{' '.join(command[:2])} failed: {said}")
    return result.stdout


def _release() -> str:
    """Return the code name of this Debian; ``Unavailable`` for one that lacks the version."""
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/etc/os-release").read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "VERSION_CODENAME" and value.strip('"') in SUITES:
                return value.strip('"')
    raise Unavailable(f"this machine is not Debian {' or '.join(SUITES)}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """An archive of Debian that the machine uses; ``key`` is the value of Signed-By."""

    uri: str
    suites: tuple[str, ...]
    key: str | None


def _sources(suites: tuple[str, ...]) -> str:
    """Return a sources.list of ``suites``, at the archive that the machine uses."""
    release = _release()
    for source in _machine_sources():
        if release in source.suites:
            option = f"[signed-by={source.key}] " if source.key else ""
            return "".join(f"deb {option}{source.uri} {suite} main\n" for suite in suites)
    raise Unavailable(f"apt's sources of this machine name no archive of {release}")


def _machine_sources() -> Iterator[_Source]:
    """Yield the archives in the machine's sources files of both formats (sources.list(5))."""
    directory = Path("/etc/apt")
    for path in [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        text = path.read_text()
        if path.suffix == ".list":
            for found in re.finditer(
                r"^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+.*\bmain\b", text, re.MULTILINE
            ):
                options, uri, suite = found.groups()
                key = re.search(r"signed-by=(\S+)", options or "")
                yield _Source(uri, (suite,), key.group(1) if key else None)
        elif path.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", text):
                fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(\S.*)$", stanza, re.MULTILINE))
                if "deb" in fields.get("Types", "").split() and "URIs" in fields:
                    suites = tuple(fields.get("Suites", "").split())
                    yield _Source(fields["URIs"].split()[0], suites, fields.get("Signed-By"))
