"""A name server for the world outside: a dnsmasq with fixed records on a lab host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.lab.host import Host
from tests.lab.wait import wait_for

__all__ = ["NameServer"]


class NameServer:
    """Answers for ``records`` (name to address) on all addresses of a host, and notes who asked."""

    def __init__(self, host: Host, records: Mapping[str, str]) -> None:
        """Start serving and wait until the server listens."""
        self._log = host.file("/run/lab/nameserver.log")
        with self._log.open("w") as log:
            self.process = host.start(
                [
                    *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-queries"),
                    *("--log-facility=-", "--no-resolv", "--no-hosts", "--user=", "--pid-file="),
                    *(f"--address=/{name}/{address}" for name, address in records.items()),
                ],
                stderr=log,
            )
        wait_for(lambda: "started" in self.log_text(), 5, "the name server to start")

    def log_text(self) -> str:
        """Return what the server has written."""
        return Path(self._log).read_text()

    def asked(self) -> list[tuple[str, str]]:
        """Return the ``(name, address of the asker)`` of each question so far."""
        questions = []
        for line in self.log_text().splitlines():
            _, found, rest = line.partition(" query[")
            if found:
                _kind, name, _from, asker = rest.split()
                questions.append((name, asker))
        return questions

    def close(self) -> None:
        """End the server."""
        self.process.stop()

    def __enter__(self) -> NameServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
