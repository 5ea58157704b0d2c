"""Properties of allocation that hold for any network, host and order of requests."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jackfield.allocation.allocate import allocate, usage_key
from jackfield.allocation.request import Request
from jackfield.allocation.usage import Usage, is_exclusive, uplink_key
from jackfield.errors import CapacityExhausted, JackfieldError
from jackfield.model.mode import Mode
from jackfield.model.network import Network, Portgroup
from jackfield.model.port import Owner, Port
from jackfield.model.uplink import DeviceUplink
from jackfield.model.values import InterfaceName, MacAddress, NetworkName, Text
from jackfield.state.facts import Facts, LinkFact
from tests.strategies import guest_interfaces, networks, uuids

DEVICES = [InterfaceName(f"eth{number}") for number in range(6)]
HOST = Facts(links={name: LinkFact(index=n, name=name, up=True) for n, name in enumerate(DEVICES)})
SHARED = (Mode.VEPA, Mode.PRIVATE, Mode.MACVTAP_BRIDGE)


@st.composite
def pools(draw: st.DrawFn, modes: tuple[Mode, ...] = (*SHARED, Mode.PASSTHROUGH)) -> Network:
    """A macvtap network whose portgroups share its uplinks among them."""
    devices = draw(st.lists(st.sampled_from(DEVICES), min_size=1, unique=True))
    uplinks = tuple(DeviceUplink(dev=name) for name in devices)
    groups = []
    rest = list(uplinks)
    for number in range(draw(st.integers(0, 3))):
        own = tuple(rest[: draw(st.integers(0, 2))])
        rest = rest[len(own) :]
        count = draw(st.none() | st.integers(0, 4))
        groups.append(Portgroup(name=Text(f"g{number}"), count=count, uplinks=own))
    return Network(
        name=NetworkName("pool"),
        mode=draw(st.sampled_from(modes)),
        uplinks=uplinks,
        portgroups=tuple(groups),
    )


def _requests(network: Network) -> st.SearchStrategy[list[Request]]:
    names = [None, *(group.name for group in network.portgroups)]
    one = st.builds(Request, portgroup=st.sampled_from(names))
    return st.lists(one, max_size=15)


@given(st.data())
@settings(deadline=None)
def test_no_limit_is_ever_exceeded(data: st.DataObject) -> None:
    """Whatever is asked, counts and exclusive uplinks hold; freed capacity is usable again."""
    network = data.draw(pools())
    usage = Usage()
    ports: list[Port] = []
    for request in data.draw(_requests(network)):
        removes = data.draw(st.booleans())
        if ports and removes:
            gone = ports.pop(data.draw(st.integers(0, len(ports) - 1)))
            usage = usage.without_port("pool", gone)
        try:
            port = allocate(network, HOST, usage, request).port
        except CapacityExhausted:
            continue
        usage = usage.with_port("pool", port)
        ports.append(port)
        in_group = Counter(one.group for one in ports)
        for group in network.portgroups:
            assert group.count is None or in_group[group.name] <= group.count
        if network.mode is Mode.PASSTHROUGH:
            assert 1 == max(Counter(map(uplink_key, ports)).values())
        assert usage == Usage.of(("pool", one) for one in ports)


@given(st.data())
@settings(deadline=None)
def test_full_means_full_and_freed_means_free(data: st.DataObject) -> None:
    """After the first refusal the same wish is refused again, until a port like it goes."""
    network = data.draw(pools((Mode.PASSTHROUGH,)))
    usage, ports = Usage(), []
    while True:
        try:
            port = allocate(network, HOST, usage, Request()).port
        except CapacityExhausted:
            break
        usage = usage.with_port("pool", port)
        ports.append(port)
    if ports:
        gone = data.draw(st.sampled_from(ports))
        again = allocate(network, HOST, usage.without_port("pool", gone), Request())
        assert uplink_key(gone) == uplink_key(again.port)


@given(st.data())
@settings(deadline=None)
def test_fewest_connections_in_document_order(data: st.DataObject) -> None:
    """The chosen uplink is the first of the least used; asking twice gives the same."""
    network = msgspec.structs.replace(data.draw(pools(SHARED)), portgroups=())
    counts = data.draw(st.dictionaries(st.sampled_from(DEVICES), st.integers(1, 5)))
    usage = Usage(uplinks={str(name): count for name, count in counts.items()})
    allocation = allocate(network, HOST, usage, Request())
    assert allocation == allocate(network, HOST, usage, Request())
    names = [one.dev for one in network.uplinks if isinstance(one, DeviceUplink)]
    assert min(names, key=lambda name: counts.get(name, 0)) == uplink_key(allocation.port)


@given(st.data())
@settings(deadline=None)
def test_unrelated_networks_do_not_matter(data: st.DataObject) -> None:
    """The result is the same whenever networks with other uplinks are asked in between."""
    network = data.draw(pools())
    other = Network(
        name=NetworkName("other"),
        mode=Mode.VEPA,
        uplinks=(DeviceUplink(dev=InterfaceName("other0")),),
        portgroups=(Portgroup(name=Text("g0"), count=100),),
    )
    host = Facts(links={**HOST.links, "other0": LinkFact(index=99, name="other0", up=True)})
    requests = data.draw(_requests(network))
    outcomes = []
    for mixed in (False, True):
        usage, outcome = Usage(), []
        for request in requests:
            if mixed and data.draw(st.booleans()):
                unrelated = allocate(other, host, usage, Request(portgroup=Text("g0")))
                usage = usage.with_port(usage_key(other), unrelated.port)
            try:
                allocation = allocate(network, host, usage, request)
            except CapacityExhausted as error:
                outcome.append(error.message)
                continue
            usage = usage.with_port("pool", allocation.port)
            outcome.append(str(allocation.port.plug))
        outcomes.append(outcome)
    assert outcomes[0] == outcomes[1]


def _can_be_defined(network: Network) -> bool:
    """Whether its bridges have names; a definition without is refused."""
    try:
        return network.managed_bridges is not None
    except ValueError:
        return False


@given(networks(), guest_interfaces(), uuids)
@settings(deadline=None, max_examples=60)
def test_any_wish_gets_a_port_or_an_error_of_ours(
    network: Network, interface: object, owner: object
) -> None:
    """No combination of network and guest ends otherwise than in a port or our own error."""
    assume(_can_be_defined(network))
    request = Request.from_interface(interface, Owner(name=Text("g"), uuid=owner))  # type: ignore[arg-type]
    request = msgspec.structs.replace(request, mac=MacAddress("52:54:00:00:00:01"))
    if network.portgroups and request.portgroup is not None:
        request = msgspec.structs.replace(request, portgroup=network.portgroups[0].name)
    links = {
        str(one.dev): LinkFact(index=1, name=one.dev, up=True)
        for one in network.uplinks
        if isinstance(one, DeviceUplink)
    }
    try:
        port = allocate(network, Facts(links=links), Usage(), request).port
    except JackfieldError:
        return
    assert port.plug is not None
    assert not is_exclusive(port) or network.mode in (Mode.PASSTHROUGH, Mode.PRIVATE, Mode.HOSTDEV)
    assert usage_key(network)
