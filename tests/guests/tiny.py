"""A tiny Linux guest under QEMU on a lab host, there in a fraction of a second."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Sequence

from tests.guests import qemu, template
from tests.guests.shell import Shell
from tests.lab.host import Host
from tests.lab.wait import wait_for

__all__ = ["Nic", "TinyGuest", "command"]

_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A virtio network card: ``backend`` is what ``-netdev`` takes, without its id."""

    backend: str
    mac: str

    @classmethod
    def tap(cls, mac: str, *, descriptor: int | None = None, name: str = "") -> Nic:
        """Return a card on a tap or macvtap that is open, or on the tap ``name`` of the host."""
        if descriptor is not None:
            return cls(backend=f"tap,fd={descriptor}", mac=mac)
        return cls(backend=f"tap,ifname={name},script=no,downscript=no", mac=mac)

    @classmethod
    def vde(cls, mac: str, switch: str) -> Nic:
        """Return a card plugged into the VDE switch with the control folder ``switch``."""
        return cls(backend=f"vde,sock={switch}", mac=mac)

    def arguments(self, number: int) -> list[str]:
        """Return what QEMU is told."""
        return [
            *("-netdev", f"{self.backend},id=net{number}"),
            *("-device", f"virtio-net-pci,netdev=net{number},mac={self.mac},romfile="),
        ]


def command(shell: str, console: str, *arguments: str, incoming: str | None = None) -> list[str]:
    """Return the command line of a tiny guest that begins from the warm template.

    ``arguments`` add network cards; paths are those that QEMU sees.  One that comes from another
    machine begins from what is sent to ``incoming``.
    """
    begin = incoming or f"file:{template.warm_state()}"
    return [*template.machine(shell, console), *arguments, "-incoming", begin]


class TinyGuest:
    """A guest on ``host`` with the network cards ``nics``, from ``eth0`` on.

    ``descriptors`` are inherited under their own numbers; the caller closes its own.  ``prefix`` is
    a command that becomes the one after it, and ``arguments`` are added to QEMU's, for programs
    that add their own network cards.  With ``incoming`` it waits there for a guest of another
    machine, and runs when that has come (``wait_arrived``).  It ends with ``close`` or with its
    host.
    """

    def __init__(
        self,
        host: Host,
        *nics: Nic,
        descriptors: Sequence[int] = (),
        prefix: Sequence[str] = (),
        arguments: Sequence[str] = (),
        incoming: str | None = None,
    ) -> None:
        """Start it and wait until it answers and has found its network cards."""
        self.host = host
        self._open = contextlib.ExitStack()
        stem = f"/run/lab/guest-{next(_numbers)}"
        self._said = host.file(f"{stem}.output")
        self._console = host.file(f"{stem}.console")
        cards = [word for number, nic in enumerate(nics) for word in nic.arguments(number)]
        #: Its monitor (QMP), on the host.
        self.monitor = f"{stem}.monitor"
        line = command(
            *(f"{stem}.shell", f"{stem}.console", *cards, *arguments),
            *("-qmp", f"unix:{self.monitor},server=on,wait=off"),
            incoming=incoming,
        )
        with self._said.open("w") as output:
            self.process = host.start(
                [*prefix, *line],
                env=qemu.environment(),
                stdout=output,
                stderr=output,
                pass_fds=descriptors,
            )
        try:
            self.shell = self._open.enter_context(
                contextlib.closing(Shell(host.file(f"{stem}.shell"), self._check_alive))
            )
            if incoming is None:
                self.wait_arrived()
                self.run("echo 1 > /sys/bus/pci/rescan")
            else:
                # It listens before it answers its monitor.
                qemu.Qmp(host.file(self.monitor)).close()
        except BaseException:
            self.close()
            raise

    def wait_arrived(self) -> None:
        """Wait until the guest runs here."""
        self.shell.wait_restored(60)

    def migrate(self, uri: str) -> None:
        """Send the guest, which goes on running meanwhile, to the machine that waits at ``uri``.

        Returns when it runs there and this machine has ended.
        """
        with contextlib.closing(qemu.Qmp(self.host.file(self.monitor))) as monitor:
            monitor.execute("migrate", uri=uri)

            def done() -> bool:
                told = monitor.execute("query-migrate")
                assert told.get("status") != "failed", f"QEMU gave the migration up: {told}"
                return bool(told.get("status") == "completed")

            wait_for(done, 60, "the migration to complete", interval=0.01)
        self.close()

    def run(self, command: str, *, timeout: float = 30) -> str:
        """Run one line of shell in the guest; return what it said (``Shell.run``)."""
        return self.shell.run(command, timeout=timeout)

    def up(self, *addresses: str, ifname: str = "eth0") -> None:
        """Bring a link up and give it each ``ADDRESS/PREFIX``."""
        words = [f"ip link set {ifname} up"]
        words += [f"ip addr add {address} dev {ifname}" for address in addresses]
        self.run(" && ".join(words))

    def lease(self, ifname: str = "eth0", *, tries: int = 10) -> str | None:
        """Ask for an IPv4 address by DHCP and use it; return ``ADDRESS/PREFIX`` or ``None``."""
        self.up(ifname=ifname)
        _, said = self.shell.call(
            f"udhcpc -i {ifname} -s /lease -n -q -t {tries} -T 1 -A 1", timeout=tries + 20
        )
        leased = re.search(r"^leased (\S+)/(\S+)$", said, re.MULTILINE)
        return None if leased is None else f"{leased[1]}/{leased[2]}"

    def ping(self, address: str, *, tries: int = 10) -> bool:
        """Whether ``address`` answers one of ``tries`` echo requests, a second apart."""
        program = "ping6" if ":" in address else "ping"
        once = f"{program} -c 1 -W 1 {address} >/dev/null 2>&1 && exit 0"
        status, _ = self.shell.call("; ".join([once] * tries + ["exit 1"]), timeout=tries * 3 + 20)
        return status == 0

    def mac(self, ifname: str = "eth0") -> str:
        """Return a link's hardware address, as the guest sees it."""
        return self.run(f"cat /sys/class/net/{ifname}/address")

    def close(self) -> None:
        """End it at once, as when the power goes."""
        self._open.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill9()

    def _check_alive(self) -> None:
        """Raise what QEMU and the guest's kernel said when the machine has ended."""
        status = self.process.poll()
        if status is not None:
            console = self._console.read_text() if self._console.exists() else ""
            raise AssertionError(
                f"the guest's machine ended with {status}: {self._said.read_text()}\n{console}"
            )

    def __enter__(self) -> TinyGuest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
