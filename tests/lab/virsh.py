"""The same virsh commands on two hosts: one with a stock libvirtd, one with ours in its place."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.libvirtd import StockLibvirtd, use_stock_programs

__all__ = ["CONFIG", "URI", "Answer", "Pair", "normalised"]

URI = "network:///system"

#: Ours takes the place of virtnetworkd, where clients look first.
CONFIG = """
libvirt_socket = "/run/libvirt/virtnetworkd-sock"
libvirt_socket_ro = "/run/libvirt/virtnetworkd-sock-ro"
"""

_GENERATED = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"<mac address='52:54:00:[0-9a-f:]{8}'/>"), "<mac address='MAC'/>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
)
#: The uuids of the tests themselves are compared.
_OWN = re.compile(r"(?:0{8}|1{8})-")


def normalised(text: str) -> str:
    """Return ``text`` without what is generated."""
    for pattern, word in _GENERATED:
        text = pattern.sub(
            lambda match, word=word: match[0] if _OWN.match(match[0]) else word,  # type: ignore[misc]
            text,
        )
    return text


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, without what is generated, and how it ended."""

    status: int
    output: str
    error: str

    def __str__(self) -> str:
        return f"[{self.status}] {self.output.strip()}\n{self.error.strip()}".strip()


class Pair:
    """Two hosts that are asked the same."""

    def __init__(self) -> None:
        """Start both daemons."""
        self.stock_host = Host("stock")
        self.host = Host("ours")
        self.stock = StockLibvirtd(self.stock_host)
        use_stock_programs(self.host)
        self.daemon = Daemon(self.host, config=CONFIG)

    def files(self, **texts: str) -> None:
        """Write documents to ``/run/lab/NAME.xml`` of both hosts."""
        for host in (self.stock_host, self.host):
            for name, text in texts.items():
                host.file(f"/run/lab/{name}.xml").write_text(text)

    def ask(self, command: str) -> tuple[Answer, Answer]:
        """Return what ``virsh COMMAND`` answers on the stock host, and on ours.

        ``command`` is split by a shell.
        """
        stock, ours = (self._run(host, command) for host in (self.stock_host, self.host))
        return stock, ours

    def _run(self, host: Host, command: str) -> Answer:
        line = f"virsh -c {URI} {command}"
        result = host.run(["sh", "-c", line], check=False, env={"LC_ALL": "C.UTF-8"})
        return Answer(result.returncode, normalised(result.stdout), normalised(result.stderr))

    def close(self) -> None:
        """End both daemons and hosts."""
        try:
            self.daemon.close()
            self.stock.stop()
        finally:
            self.host.close()
            self.stock_host.close()

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def differences(pair: Pair, commands: Sequence[str]) -> Iterator[tuple[str, Answer, Answer]]:
    """Yield the commands that the two answer differently, with both answers."""
    for command in commands:
        stock, ours = pair.ask(command)
        if stock != ours:
            yield command, stock, ours
