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
