"""dnsmasq itself reads what is planned: every document of the corpus, and lines at the limit."""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import UUID

import pytest

from jackfield.document.reader import read_network
from jackfield.host.dnsmasq.files import DnsmasqFiles
from jackfield.model.values import InterfaceName
from jackfield.plan.dnsmasq import dnsmasq_service
from jackfield.plan.dnsmasq_text import LINE_LIMIT
from jackfield.state.services import Dnsmasq
from tests.corpus import corpus_files

pytestmark = pytest.mark.kernel

RED = UUID("5d1f1a3e-6c1c-4d8e-9d0b-1a2b3c4d5e6f")


def check(service: Dnsmasq, folder: Path) -> str:
    """Return what ``dnsmasq --test`` says of the files, the reservations and options included."""
    files = DnsmasqFiles.of(folder, folder, service.network)
    files.make()
    texts = files.texts(service, ["192.0.2.53", "fe80::1%eth0"])
    # Those that are read later, too, in the form that the configuration itself takes.
    lines = [f"dhcp-host={line}" for line in texts["hosts"].splitlines()]
    lines += [f"dhcp-option={line}" for line in texts["options"].splitlines()]
    lines += texts["servers"].splitlines()
    files.write("config", texts["config"] + "".join(f"{line}\n" for line in lines))
    result = subprocess.run(
        ["/usr/sbin/dnsmasq", "--test", f"--conf-file={files.config}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stderr.strip()


@pytest.mark.parametrize(
    "path",
    [*corpus_files("libvirt-11.3/dnsmasq/*.xml"), *corpus_files("libvirt-11.3/roundtrip/*.xml")],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_planned_files_are_accepted(path: Path, tmp_path: Path) -> None:
    """What is planned for real documents has no mistake that dnsmasq would stop at."""
    network = read_network(path.read_bytes())
    name = network.bridge.name if network.bridge is not None else None
    service = dnsmasq_service(network, name or InterfaceName("virbr0"), user="nobody")
    if service is not None:
        assert "dnsmasq: syntax check OK." == check(service, tmp_path)


@pytest.mark.parametrize(
    ("length", "said"),
    [(LINE_LIMIT, "syntax check OK."), (LINE_LIMIT + 2, "bad option at line 2")],
)
def test_line_limit_is_that_of_dnsmasq(tmp_path: Path, length: int, said: str) -> None:
    """A line of the limit is one line for dnsmasq, and what is over it becomes another."""
    line = "txt-record=a,".ljust(length, "x")

    assert said in check(
        Dnsmasq(network=RED, bridge=InterfaceName("virbr0"), config=f"{line}\n"), tmp_path
    )
