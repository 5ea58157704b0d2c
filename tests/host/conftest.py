"""Fixtures of the host's tests: the test's own thread and the kernel's doors in a namespace."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jackfield.host.kernel import Kernel
from tests.lab.namespace import NetworkNamespace


@pytest.fixture
def here() -> Iterator[NetworkNamespace]:
    """Give a fresh network namespace in which the test's own thread is."""
    with NetworkNamespace("here") as namespace, namespace.entered():
        yield namespace


@pytest.fixture
def there() -> Iterator[NetworkNamespace]:
    """Give another fresh network namespace: a guest's."""
    with NetworkNamespace("there") as namespace:
        yield namespace


@pytest.fixture
def wire(here: NetworkNamespace, there: NetworkNamespace) -> None:
    """Tie the two namespaces together, with nothing on the wire but the tests' own frames."""
    for namespace in (here, there):
        namespace.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    here.ip("link", "add", "v0", "type", "veth", "peer", "name", "e0", "netns", str(there.path))
    here.ip("link", "set", "v0", "up")
    there.ip("link", "set", "e0", "up")


@pytest.fixture
def kernel(here: NetworkNamespace, tmp_path: Path) -> Iterator[Kernel]:
    """Give the kernel's doors in ``here``."""
    doors = Kernel.open(tmp_path)
    yield doors
    doors.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a run directory that helpers' users can reach, which pytest's own is not."""
    path = Path(tempfile.mkdtemp(prefix="jackfield-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
