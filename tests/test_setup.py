"""scripts/setup on a machine that has only git and python3, and its refusals.

The fresh machine is a Debian made by debootstrap, unpacked into a tmpfs of a private mount
namespace, so that nothing of it remains.  It gets this machine's configuration of apt and pip,
read from where those tools read it, because a fresh machine has its own too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Debian's images are kept here between runs.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jackfield"
#: Environment by which pip, apt and TLS are configured.
CONFIGURING = re.compile(r"PIP_|SSL_CERT|REQUESTS_CA|CURL_CA|[a-z]+_proxy$|[A-Z]+_PROXY$")
APT_FILES = (
    *("apt.conf", "apt.conf.d", "auth.conf", "auth.conf.d", "keyrings", "preferences"),
    *("preferences.d", "sources.list", "sources.list.d", "trusted.gpg", "trusted.gpg.d"),
)

# Unpacks the image, brings in the configuration and the clone, and runs the rest inside.
ENTER = r"""
set -euo pipefail
mount -t tmpfs -o size=4g,mode=755 none "$MACHINE"
tar -xf "$IMAGE" -C "$MACHINE"
mount -t proc none "$MACHINE/proc"
mount -t devtmpfs none "$MACHINE/dev"
rm -rf "$MACHINE/etc/apt"
cp -a "$CONFIGURATION/." "$MACHINE/"
while read -r folder; do
    [ -n "$folder" ] || continue
    mkdir -p "$MACHINE$folder"
    mount --bind "$folder" "$MACHINE$folder"
done <"$CONFIGURATION/bound"
cp -a "$CLONE" "$MACHINE/srv/checkout"
chown -R 1000:1000 "$MACHINE/srv/checkout"
cp "$SCRIPT" "$MACHINE/srv/script"
exec chroot "$MACHINE" bash /srv/script
"""


def run(argv: list[str], **more: object) -> str:
    """Run a program and return what it printed; its errors are shown when it fails."""
    result = subprocess.run(argv, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert 0 == result.returncode, f"{argv}\n{result.stdout}\n{result.stderr}"
    output: str = result.stdout
    return output


def os_release() -> dict[str, str]:
    """Return the fields of /etc/os-release."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def mirror() -> str:
    """Return the address of the first Debian archive in this machine's sources."""
    # apt itself reads its sources, in both of their forms.
    listed = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
    return next(line for line in listed.splitlines() if line).rstrip("/")


def image() -> Path:
    """Return a tarball of a minimal Debian with git and python3, made once."""
    release = os_release()
    if release.get("ID") != "debian":
        pytest.skip("the machine is no Debian, whose archive it would know")
    suite = release["VERSION_CODENAME"]
    tarball = CACHE / f"{suite}-minbase-git-python3.tar"
    if not tarball.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        folder = CACHE / f"making-{os.getpid()}"
        try:
            run(
                [
                    *("debootstrap", "--variant=minbase", "--include=python3,git,ca-certificates"),
                    *(suite, str(folder), mirror()),
                ],
                env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            )
            # As apt leaves it on a new machine: no lists.
            shutil.rmtree(folder / "var/lib/apt/lists")
            shutil.rmtree(folder / "var/cache/apt/archives")
            partial = tarball.with_suffix(f".{os.getpid()}")
            run(["tar", "--one-file-system", "-cf", str(partial), "-C", str(folder), "."])
            partial.rename(tarball)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return tarball


def environment() -> dict[str, str]:
    """Return the variables that configure pip, apt and TLS on this machine."""
    return {name: value for name, value in os.environ.items() if CONFIGURING.match(name)}


def write_configuration(folder: Path) -> None:
    """Lay this machine's configuration of apt, pip, TLS and names into ``folder`` as a root.

    The file ``bound`` lists folders that pip is configured to find packages in.
    """
    (folder / "etc/apt").mkdir(parents=True)
    for name in APT_FILES:
        source = Path("/etc/apt", name)
        if source.is_dir():
            shutil.copytree(source, folder / "etc/apt" / name, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy(source, folder / "etc/apt" / name)
    settings = run(["python3", "-m", "pip", "config", "list"])
    files = [
        *("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"),
        *(str(Path.home() / one) for one in (".config/pip/pip.conf", ".pip/pip.conf")),
        *environment().values(),
        *re.findall(r"'(/[^']+)'", settings),
    ]
    for file in files:
        if file.startswith("/") and Path(file).is_file():
            target = folder / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    words = re.findall(r"(?:file://)?(/[^\s']+)", settings)
    bound = sorted({word for word in words if Path(word).is_dir()})
    # An index names its files relatively, beside its own folder.
    bound = [
        str(Path(folder_).parent) if Path(folder_).name == "simple" else folder_
        for folder_ in bound
    ]
    (folder / "bound").write_text("".join(f"{one}\n" for one in bound))


def parts_of(said: str) -> dict[str, str]:
    """Return what was said after each line ``-- TITLE``, up to the next."""
    return dict(re.findall(r"^-- ([^\n]*)\n(.*?)(?=^-- |\Z)", said, re.MULTILINE | re.DOTALL))


@pytest.fixture
def fresh_machine(tmp_path: Path) -> FreshMachine:
    """Give a fresh Debian with a clean clone of this checkout at /srv/checkout."""
    clone = tmp_path / "clone"
    run(
        [
            *("git", "-c", "safe.directory=*", "clone", "--quiet", "--no-local", "--no-tags"),
            *("--depth=1", f"file://{ROOT}", str(clone)),
        ]
    )
    write_configuration(tmp_path / "configuration")
    return FreshMachine(tmp_path)


class FreshMachine:
    """A Debian that exists while one script runs on it."""

    def __init__(self, folder: Path) -> None:
        """Use the clone and configuration in ``folder``."""
        self.folder = folder
        (folder / "machine").mkdir()

    def run(self, script: str) -> str:
        """Run a bash script as root on a new machine; return its output, errors included."""
        (self.folder / "script").write_text(f"set -euo pipefail\ncd /srv/checkout\n{script}")
        variables: Mapping[str, str] = {
            **environment(),
            "HOME": str(Path.home()),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "MACHINE": str(self.folder / "machine"),
            "IMAGE": str(image()),
            "CONFIGURATION": str(self.folder / "configuration"),
            "CLONE": str(self.folder / "clone"),
            "SCRIPT": str(self.folder / "script"),
        }
        result = subprocess.run(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *("unshare", "--mount", "--pid", "--uts", "--ipc", "--propagation", "private"),
                *("--fork", "--kill-child=SIGKILL", "bash", "-c", ENTER),
            ],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        assert 0 == result.returncode, result.stdout
        return result.stdout


@pytest.mark.slow
def test_a_machine_with_git_and_python3(fresh_machine: FreshMachine) -> None:
    """Both modes work on a fresh machine, start nothing, and then have nothing to do."""
    said = fresh_machine.run(
        """
        echo "-- run"
        scripts/setup run
        .venv/bin/jackfield --version
        .venv/bin/jackfieldd --help >/dev/null
        echo "-- owner $(stat -c %u .venv .venv/bin/jackfield | sort -u)"
        echo "-- again"
        scripts/setup run
        echo "-- dev, twice at once"
        scripts/setup dev & scripts/setup dev; wait $!
        .venv/bin/pytest --version
        dnsmasq --version >/dev/null; nft --version >/dev/null; virsh --version >/dev/null
        echo "-- both again"
        scripts/setup run
        scripts/setup dev
        echo "-- changed"
        echo >>requirements-dev.lock
        scripts/setup dev
        echo "-- processes"
        for process in /proc/[0-9]*; do tr '\\0' ' ' <$process/cmdline; echo; done
        """
    )
    parts = parts_of(said)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert "setup: installing with apt-get: dnsmasq-base nftables" in parts["run"]
    assert "setup: installing the Python packages of requirements.lock" in parts["run"]
    assert f"jackfield {version}" in parts["run"]
    assert "owner 1000" in parts
    assert "" == parts["again"]
    assert 1 == parts["dev, twice at once"].count("setup: installing with apt-get: ")
    assert 1 == parts["dev, twice at once"].count("setup: installing the Python packages of ")
    assert "pytest" in parts["dev, twice at once"]
    assert "" == parts["both again"]
    assert "setup: installing the Python packages of requirements-dev.lock\n" == parts["changed"]
    # Only the script itself: no package has started anything.
    assert ["bash /srv/script"] == parts["processes"].split("\n\n")[0].strip().splitlines()


@pytest.mark.slow
def test_a_user_with_sudo(fresh_machine: FreshMachine) -> None:
    """Who is not root but has sudo gets the programs through it, and a .venv of their own."""
    said = fresh_machine.run(
        """
        apt-get -qq update
        apt-get -qq install --no-install-recommends -y sudo >/dev/null 2>&1
        useradd --create-home --uid 1000 worker
        echo 'worker ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/worker
        for folder in .config .pip; do
            [ ! -d "$HOME/$folder" ] || cp -r "$HOME/$folder" /home/worker/
        done
        chown -R worker /home/worker
        echo "-- worker"
        setpriv --reuid 1000 --regid 1000 --init-groups \\
            env HOME=/home/worker PATH=/usr/bin:/bin bash -c '
                scripts/setup run
                .venv/bin/jackfield --version
                find .venv ! -user worker'
        """
    )
    assert re.fullmatch(
        r"setup: installing with apt-get: dnsmasq-base .*\n"
        r"setup: making \.venv with Python 3\..*\n"
        r"setup: installing the Python packages of requirements\.lock\n"
        r"jackfield .*\n",
        parts_of(said)["worker"],
    )


@pytest.mark.slow
def test_refusals_on_a_fresh_machine(fresh_machine: FreshMachine) -> None:
    """Without root and sudo, and with an old Python, setup says in one sentence what it needs."""
    said = fresh_machine.run(
        """
        echo "-- user"
        setpriv --reuid 1000 --regid 1000 --clear-groups scripts/setup && exit 1
        cd /usr/local/bin
        printf '#!/bin/sh\\n[ "$1" != -V ] || exec echo Python 3.9.2\\nexit 1\\n' >python3
        chmod +x python3
        cd /srv/checkout
        echo "-- old"
        PATH=/usr/local/bin:$PATH scripts/setup && exit 1
        ls -A | grep -x .venv && exit 1
        exit 0
        """
    )
    parts = parts_of(said)
    assert re.fullmatch(
        r"setup: installing dnsmasq-base [a-z0-9 -]+ needs root, and there is no sudo: "
        r"run scripts/setup as root once\.\n",
        parts["user"],
    )
    assert (
        "setup: Python 3.11 or later is needed, but /usr/local/bin/python3 is Python 3.9.2.\n"
        == parts["old"]
    )


def test_unknown_mode() -> None:
    """A mode that does not exist is refused, naming those that do."""
    result = subprocess.run(
        [ROOT / "scripts/setup", "everything"], capture_output=True, text=True, check=False
    )
    assert 1 == result.returncode
    assert "setup: unknown mode everything: say run or dev.\n" == result.stderr
