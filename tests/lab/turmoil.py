"""Everything at once on one host: clients, somebody who meddles, and a daemon that dies.

What each of them does is drawn from a seed; how it falls together is not.  Each client has a
network that nobody else changes, so it knows what must have become of it; beside that it changes
networks that all of them change.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from jackfield.client import Client
from jackfield.errors import DaemonUnreachable, InternalError, JackfieldError, NetworkNotFound
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.lab.wait import wait_for
from tests.rpc.client import RawClient, Refused

__all__ = ["DISK", "GUESTS", "LUCKLESS", "OWN", "State", "Turmoil"]

CLIENTS = 4
STEPS = 40
"""What each client does."""
MEDDLES = 20
DEATHS = 3

OWN = tuple(f"own{number}" for number in range(CLIENTS))
SHARED = ("red", "blue", "green")
BRIDGES = ("br-a", "br-b", "br-c")
GUESTS = tuple(f"g{number}" for number in range(CLIENTS))
DISK = "/run/disk"
"""Where the daemon's state is, on a disk that may be full."""
LUCKLESS = "/run/lab/luckless"
"""Hooks fail while there is this file."""

_LIMITS = "<bandwidth><inbound average='900'/><outbound average='900'/></bandwidth>"
_SLOW = f"<portgroup name='slow' default='yes'>{_LIMITS}</portgroup>"
_CLEAN = "<filterref filter='clean-traffic'/>"
_NO_PING = "<dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>"
_NAMESPACE = "xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'"
_GONE = (DaemonUnreachable, ConnectionError, FileNotFoundError)
"""What a client sees when the daemon dies."""


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """What there is of a network: the descriptions of its documents, and its ports' names."""

    stored: str | None = None
    live: str | None = None
    ports: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """Something that a client asks for, and what its network is when that is done."""

    ask: Callable[[], object]
    then: State


class Turmoil:
    """A host and a daemon, and all that happens to them."""

    def __init__(self, host: Host, daemon: Daemon, seed: int) -> None:
        """Draw from ``seed``."""
        self.host = host
        self.daemon = daemon
        self.client = Client(daemon.api_socket.parent)
        self.random = Random(seed)
        self.own = dict.fromkeys(OWN, State())
        self.trace: list[str] = []
        self._failures: list[str] = []
        self._steps, self._chances = threading.Semaphore(0), threading.Semaphore(0)
        self._up = threading.Event()
        self._up.set()
        self._has_room = threading.Lock()

    def run(self) -> None:
        """Have everybody begin at once, and return when all have finished."""
        acts = [*(self._clients_act(number) for number in range(CLIENTS)), self._meddle]
        threads = [
            threading.Thread(target=self._noted, args=(act, Random(self.random.random())))
            for act in acts
        ]
        for thread in threads:
            thread.start()
        for _ in range(DEATHS):
            _await_steps(self._steps, DEATHS)
            self._die()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "somebody waits for ever"
        assert [] == self._failures

    def ours(self) -> Iterator[dict[str, Any]]:
        """Yield the host's links that have our mark."""
        for link in self.host.ip("link", "show"):
            if link.get("ifalias", "").startswith("jackfield:"):
                yield link

    def state_of(self, name: str) -> State:
        """Return what the daemon says of a network, which may have to come back first."""
        while True:
            self._up.wait(30)
            try:
                network = self.client.request("GET", f"/v1/networks/{name}")
                ports = self.client.request("GET", f"/v1/networks/{name}/ports")
            except NetworkNotFound:
                return State()
            except _GONE:
                continue
            documents = (network["stored"], network["live"])
            stored, live = (one and one["description"] for one in documents)
            return State(stored, live, frozenset(port["owner"]["name"] for port in ports))

    def _note(self, *words: object) -> None:
        text = " ".join(map(str, words))
        self.trace.append(f"{time.time():.3f} {threading.current_thread().name}: {text}")

    def _noted(self, act: Callable[[Random], None], random: Random) -> None:
        try:
            act(random)
        except BaseException as error:
            self._note("failed:", repr(error))
            self._failures.append(repr(error))

    def _die(self) -> None:
        """End the daemon, in order or not, and start it again."""
        with self._has_room:
            self._up.clear()
            if self.random.random() < 0.5:
                self._note("kill -9")
                self.daemon.kill9()
            else:
                self._note("end")
                self.daemon.terminate()
            self.daemon.start()
            self._note("there again")
            self._up.set()

    # Clients

    def _clients_act(self, number: int) -> Callable[[Random], None]:
        def act(random: Random) -> None:
            for serial in range(STEPS):
                self._up.wait(30)
                if random.random() < 0.6:
                    self._change_own(random, number, str(serial))
                else:
                    self._change_shared(random, random.choice(SHARED))
                self._steps.release()
                self._chances.release()

        return act

    def _change_own(self, random: Random, number: int, serial: str) -> None:
        """Do something with one's own network: it is done, or nothing of it is."""
        name = OWN[number]
        before = self.own[name]
        step = random.choice(list(self._possible(random, number, before, serial)))
        done = self._done(step.ask)
        now = self.state_of(name)
        possible = {True: [step.then], False: [before], None: [before, step.then]}[done]
        assert now in possible, f"{name} is {now}, and should be one of {possible}"
        self.own[name] = now

    def _done(self, ask: Callable[[], object]) -> bool | None:
        """Tell whether what is asked for is done; ``None`` where the daemon dies over it."""
        try:
            ask()
        except InternalError:
            raise
        except _GONE as error:
            self._note("gone:", repr(error))
            return None
        except (JackfieldError, Refused) as error:
            self._note("refused:", repr(error))
            return False
        self._note("done")
        return True

    def _possible(self, random: Random, number: int, now: State, serial: str) -> Iterator[Step]:
        """Yield what may be done with the network of a client, likelier things more often."""
        name, path = OWN[number], f"/v1/networks/{OWN[number]}"
        document = own_document(random, number, serial)
        by_libvirt = random.random() < 0.5

        def http(method: str, path: str, body: object = None) -> Callable[[], object]:
            return lambda: self._http(method, path, body)

        def either(procedure: str, method: str, path: str) -> Callable[[], object]:
            if by_libvirt:
                return lambda: self._libvirt(name, procedure)
            return http(method, path)

        if by_libvirt:
            define: Callable[[], object] = lambda: self._libvirt(  # noqa: E731
                None, "network_define_xml", document
            )
        else:
            define = http("POST", "/v1/networks", document)
        yield Step(define, dataclasses.replace(now, stored=serial))
        applied = dataclasses.replace(now, stored=serial, live=serial)
        yield from [Step(http("PUT", path, document), applied)] * 2
        if now.stored is None:
            return
        if now.live is None:
            started = dataclasses.replace(now, live=now.stored)
            yield from [Step(either("network_create", "POST", f"{path}/start"), started)] * 3
            if not now.ports:
                yield Step(either("network_undefine", "DELETE", path), State())
        else:
            stopped = dataclasses.replace(now, live=None)
            yield from [Step(either("network_destroy", "POST", f"{path}/stop"), stopped)] * 2
            followed = dataclasses.replace(now, live=now.stored)
            yield Step(http("POST", f"{path}/apply"), followed)
            yield from self._plugs(number, now)
        for port in now.ports:
            left = dataclasses.replace(now, ports=now.ports - {port})
            yield Step(http("DELETE", f"/v1/ports/{port}"), left)

    def _plugs(self, number: int, now: State) -> Iterator[Step]:
        """Yield how something may be plugged into the running network of a client."""
        path = f"/v1/networks/{OWN[number]}/ports"
        tap, guest, machine = (f"{kind}{number}" for kind in ("tap-", "guest-", "vm-"))

        def client_port() -> None:
            self._libvirt(OWN[number], "port_create", port_document(9, number, machine), 0)

        ways: dict[str, Callable[[], object]] = {
            tap: lambda: self._http("POST", path, {"tap": tap, "name": tap}),
            guest: lambda: self._http(
                "POST", path, {"netns": GUESTS[number], "ifname": "eth0", "name": guest}
            ),
            machine: client_port,
        }
        for port, ask in ways.items():
            if port not in now.ports:
                then = dataclasses.replace(now, ports=now.ports | {port})
                yield from [Step(ask, then)] * 2

    def _change_shared(self, random: Random, name: str) -> None:
        """Do something with a network that others change as well: whatever becomes of it."""
        path = f"/v1/networks/{name}"
        document = shared_document(random, name)
        tap = {"tap": f"t{random.randrange(4)}"}
        guest = {"netns": random.choice(GUESTS), "ifname": f"e{random.randrange(2)}"}
        number = random.randrange(9)
        ways: list[Callable[[], object]] = [
            *[lambda: self._http("PUT", path, document)] * 3,
            lambda: self._http("POST", "/v1/networks", document),
            lambda: self._http("POST", f"{path}/start"),
            lambda: self._http("POST", f"{path}/stop"),
            lambda: self._http("DELETE", path),
            lambda: self._http("POST", f"{path}/ports", tap),
            lambda: self._http("POST", f"{path}/ports", guest),
            lambda: self._http("DELETE", f"{path}/ports"),
            lambda: self._libvirt(name, "network_create"),
            lambda: self._libvirt(name, "network_destroy"),
            lambda: self._libvirt(None, "network_create_xml", document),
            lambda: self._libvirt(name, "port_create", port_document(0, number, f"vm{number}"), 0),
        ]
        self._done(random.choice(ways))

    def _http(self, method: str, path: str, body: object = None) -> None:
        self._note(method, path, body or "")
        self.client.request(method, path, body)

    def _libvirt(self, name: str | None, procedure: str, *arguments: object) -> None:
        """Call a procedure of libvirt's protocol, of the network ``name`` if there is one."""
        self._note(procedure, name or "", *arguments)
        with RawClient(self.host.file(RUN_DIR) / "libvirt-sock", timeout=30) as client:
            client.open()
            network = [] if name is None else [client.lookup(name)]
            client.call(procedure, *network, *arguments)

    # Somebody who meddles

    def _meddle(self, random: Random) -> None:
        """Do harm to what is ours, as often as some steps have been taken."""
        for _ in range(MEDDLES):
            _await_steps(self._chances, MEDDLES)
            self._harm(random)
        self.host.file(LUCKLESS).unlink(missing_ok=True)

    def _harm(self, random: Random) -> None:
        link = random.choice([one["ifname"] for one in self.ours()] or ["none"])
        served = self.host.processes("dnsmasq") or [0]
        match random.randrange(12):
            case 0 | 1:
                harm = "nft flush ruleset"
            case 2:
                harm = "nft delete table inet jackfield"
            case 3:
                harm = "nft flush set inet jackfield networks"
            case 4:
                # Both or neither: where there is no table, none is to be made.
                dormant = "add table inet jackfield { flags dormant; }"
                harm = f"nft 'flush set inet jackfield networks; {dormant}'"
            case 5:
                harm = f"ip link del {link}"
            case 6:
                harm = f"ip link set {link} down name x{random.randrange(9)}"
            case 7:
                harm = f"ip link set {link} {random.choice(['down', 'nomaster'])}"
            case 8:
                harm = f"ip addr flush dev {link}"
            case 9:
                harm = f"kill -9 {random.choice(served) or 'nobody'}"
            case 10:
                harm = f"[ -e {LUCKLESS} ] && rm {LUCKLESS} || touch {LUCKLESS}"
            case _:
                self._fill_disk()
                return
        self._note(harm)
        self.host.run(["sh", "-c", harm], check=False)
        self._note("harmed")

    def _fill_disk(self) -> None:
        """Have no room on the daemon's disk while some steps are taken."""
        with self._has_room:
            self._note("the disk is full")
            fill = f"{DISK}/fill"
            self.host.run(["sh", "-c", f"dd if=/dev/zero of={fill} bs=4k 2>/dev/null"], check=False)
            for _ in range(CLIENTS):
                self._chances.acquire(timeout=1)
            self.host.file(fill).unlink()
            self._note("the disk has room")

    # Afterwards

    def capture(self, folder: Path) -> None:
        """Write to ``folder`` what was done, and what the host and the daemon show now."""
        looks = (
            *(
                "ip -d link",
                "ip address",
                "ip -4 route show table all",
                "ip -6 route show table all",
            ),
            *("ip rule", "nft list ruleset", "ps axf", f"find {RUN_DIR} {DISK} -ls"),
        )
        shown = [self.host.run(["sh", "-c", look], check=False).stdout for look in looks]
        texts = {
            "trace": "\n".join(self.trace),
            "host": "\n".join(f"# {look}\n{text}" for look, text in zip(looks, shown, strict=True)),
            "log": self.daemon.log_text(),
        }
        for name, text in texts.items():
            (folder / name).write_text(text)


def _await_steps(steps: threading.Semaphore, times: int) -> None:
    """Wait for the clients' next steps, of which there are enough for so many times, and more."""
    for _ in range(CLIENTS * STEPS // (times + 1)):
        assert steps.acquire(timeout=30)


def own_document(random: Random, number: int, serial: str) -> str:
    """Return a document of a client's own network: always the same mode, bridge and subnet."""
    forward = ("<forward mode='nat'/>", "<forward mode='route'/>", "", "<forward mode='open'/>")
    start = random.randrange(10, 50)
    parts = [
        f"<name>{OWN[number]}</name>",
        f"<uuid>00000000-0000-0000-0000-00000000000{number}</uuid>",
        f"<description>{serial}</description>",
        forward[number],
        f"<bridge name='{OWN[number]}' stp='off'/>",
        random.choice(["", "<mtu size='1400'/>"]),
        f"<ip address='10.8.{number}.1' prefix='24'>",
        f"<dhcp><range start='10.8.{number}.{start}' end='10.8.{number}.99'/></dhcp></ip>",
        random.choice(["", f"<ip family='ipv6' address='fd08:{number}::1' prefix='64'/>"]),
        random.choice(["", _SLOW]),
        random.choice(["", _CLEAN]),
        _NO_PING,
    ]
    return f"<network {_NAMESPACE}>{''.join(parts)}</network>"


def shared_document(random: Random, name: str) -> str:
    """Return some network of that name; of two of them, one is often in the other's way.

    By its bridge: it has subnets of its own, as somebody may have taken away the routes that tell
    of the other's.
    """
    if random.random() < 0.15:
        return (
            f"<network><name>{name}</name><forward mode='bridge'/><bridge name='shared0'/>"
            f"{random.choice(['', _CLEAN])}</network>"
        )
    number = 2 * SHARED.index(name) + random.randrange(2)
    mode = random.choice(["", "nat", "route", "open"])
    dhcp = f"<dhcp><range start='10.7.{number}.{random.randrange(9, 50)}' end='10.7.{number}.99'/>"
    parts = [
        f"<name>{name}</name>",
        f"<forward mode='{mode}'/>" if mode else "",
        f"<bridge name='{random.choice(BRIDGES)}' stp='off'/>",
        random.choice(["", "<mtu size='1400'/>"]),
        f"<ip address='10.7.{number}.1' prefix='24'>{random.choice(['', dhcp + '</dhcp>'])}</ip>",
        random.choice(["", f"<ip family='ipv6' address='fd07:{number}::1' prefix='64'/>"]),
        random.choice(["", _SLOW]),
        random.choice(["", _CLEAN]),
    ]
    return f"<network>{''.join(parts)}</network>"


def port_document(group: int, number: int, owner: str) -> str:
    """Return a port that a client of libvirt asks for."""
    last = f"{group}{number:011}"
    return (
        f"<networkport><uuid>00000000-0000-0000-0001-{last}</uuid>"
        f"<owner><name>{owner}</name><uuid>00000000-0000-0000-0002-{last}</uuid></owner>"
        f"<mac address='52:54:00:00:0{group}:0{number}'/></networkport>"
    )


def settle(condition: Callable[[], list[str]], what: str) -> None:
    """Wait until a condition has nothing to say; fail with what it says last."""
    said: list[str] = ["nothing yet"]

    def is_quiet() -> bool:
        said[:] = condition()
        return not said

    try:
        wait_for(is_quiet, 20, what)
    except AssertionError as error:
        raise AssertionError(f"{what}: {'; '.join(said)}") from error
