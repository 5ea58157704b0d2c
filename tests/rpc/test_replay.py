"""The dialogue recorded with a stock libvirtd 11.3, replayed: each request gets its answer.

Equal to the byte are the replies that are no errors, but for generated values; of errors the
code, the domain, the text that clients print and libvirt's first string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from jackfield.rpc.errors import WireError
from jackfield.rpc.frame import Frame
from tests.corpus import corpus, needs_corpus
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.rpc.client import RawClient, decode

pytestmark = [pytest.mark.lab, needs_corpus]

NETWORK = """
<network>
  <name>red</name>
  <uuid>11111111-2222-3333-4444-555555555555</uuid>
  <bridge name='redbr0' stp='on' delay='0'/>
</network>
"""

#: Requests that are answered otherwise on purpose; docs/virsh.md says why.
DIFFERENT = {
    "DEFINE validate": "the schema is Jackfield's own, which knows its extensions",
}


@pytest.fixture
def client(host: Host) -> Iterator[RawClient]:
    """Give a connection to a daemon with the network of the recording, which runs."""
    with Daemon(host) as daemon:
        daemon.cli("define", daemon.document(NETWORK))
        daemon.cli("start", "red")
        with RawClient(host.file(f"{RUN_DIR}/libvirt-sock")) as connection:
            yield connection


def _without_generated(payload: bytes) -> bytes:
    return re.sub(
        rb"<mac address='52:54:00:[0-9a-f:]{8}'/>", b"<mac address='generated'/>", payload
    )


def _compare(name: str, expected: Frame, actual: Frame) -> list[str]:
    """Return how two replies differ."""
    heads = [
        (one.program, one.version, one.procedure, one.type, one.serial)
        for one in (expected, actual)
    ]
    found = []
    if heads[0] != heads[1]:
        found.append(f"{name}: header {heads[1]} instead of {heads[0]}")
    if expected.status != actual.status:
        told = repr(WireError.decode(actual.payload) if actual.status else actual.payload)
        found.append(f"{name}: status {actual.status}: {told}")
    elif actual.status == 0:
        if _without_generated(expected.payload) != _without_generated(actual.payload):
            found.append(f"{name}: {actual.payload!r} instead of {expected.payload!r}")
    else:
        mine, theirs = WireError.decode(actual.payload), WireError.decode(expected.payload)
        found += [
            f"{name}: {field} {getattr(mine, field)!r} instead of {getattr(theirs, field)!r}"
            for field in ("code", "domain", "message", "str1", "int1", "int2")
            if getattr(mine, field) != getattr(theirs, field)
        ]
    return found


def test_recorded_requests_get_equivalent_replies(client: RawClient) -> None:
    """Replay the recording in its order, on one connection."""
    client.open()
    differences = []
    for line in corpus("rpc", "libvirtd-11.3-replies.jsonl").read_text().splitlines():
        entry = json.loads(line)
        client.send(decode(bytes.fromhex(entry["req"])))
        actual = client.reply()
        if entry["name"] not in DIFFERENT:
            differences += _compare(entry["name"], decode(bytes.fromhex(entry["rep"])), actual)
    assert not differences, "\n".join(differences)
