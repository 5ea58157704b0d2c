"""The rtnetlink socket against the kernel; ``ip -j`` and pyroute2 are the witnesses."""

from __future__ import annotations

import errno
from pathlib import Path

import pyroute2
import pytest

from jackfield.errors import KernelError, NotFound
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.bridge import create_bridge
from jackfield.host.netlink.link import dump_links, set_link, wears_group
from jackfield.host.netlink.message import Message, Reply, attribute_text, nested
from jackfield.host.netlink.namespace import call_in_namespace
from jackfield.host.netlink.route import ONE_BY_ONE_LIMIT, RouteSocket
from jackfield.host.netlink.socket import MessagesLost, NetlinkSocket, Refusal
from jackfield.host.tap import TapDriver
from jackfield.model.values import InterfaceName
from tests.host.taps import make_taps
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

RTNLGRP_LINK = 1


def drain(listener: NetlinkSocket) -> None:
    """Read all that waits."""
    while listener.poll():
        pass


def test_links_are_what_pyroute2_sees(kernel: Kernel, here: NetworkNamespace) -> None:
    """Every property we decode is the one that two other decoders find."""
    here.ip("link", "add", "br0", "address", "52:54:00:00:00:01", "type", "bridge")
    here.ip("link", "add", "v0", "mtu", "1400", "type", "veth", "peer", "name", "v1")
    here.ip("link", "set", "v0", "master", "br0", "up", "alias", "somebody's")
    found = kernel.route.links()
    with pyroute2.IPRoute() as witness:
        seen = {link.get("ifname"): link for link in witness.get_links()}
    assert seen.keys() == found.keys()
    for name, link in found.items():
        other = seen[name]
        assert other["index"] == link.index
        assert other.get("address") == link.mac_text
        assert other.get("mtu") == link.mtu
        assert other.get("master") == link.master
        assert (other.get("ifalias") or "") == link.alias
        assert other.get("link") == link.lower
        assert bool(other["flags"] & 1) == link.up
        assert (other.get(("linkinfo", "kind")) or "") == link.kind
    assert found["v0"] == kernel.route.link("v0")
    assert found["br0"].index == kernel.route.index("br0")
    assert [found["v0"]] == kernel.route.ports(found["br0"].index)


def test_what_does_not_exist(kernel: Kernel) -> None:
    """A link that is not there is no error to ask for, and one to need."""
    assert kernel.route.link("none") is None
    assert kernel.route.index("none") is None
    assert {} == kernel.route.links(["none"])
    assert [] == kernel.route.bridge_ports(InterfaceName("none"))
    with pytest.raises(NotFound, match="cannot bring none up: there is no link none"):
        kernel.route.require_index("none", "bring none up")


def test_a_refusal_says_what_which_and_why(kernel: Kernel, here: NetworkNamespace) -> None:
    """The error holds the request, the errno's name and the kernel's own words."""
    here.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    unknown = bytes(16) + attribute_text(3, "x0") + nested(18, attribute_text(1, "nothing"))
    with pytest.raises(Refusal, match=r"cannot create x0: EOPNOTSUPP \(.*\): Unknown device type"):
        kernel.route.request(Message(16, 0x400, unknown, "create x0"))
    with pytest.raises(KernelError) as caught:
        kernel.route.send([set_link("v0", "join", master=kernel.route.index("v1"))])
    assert errno.EOPNOTSUPP == caught.value.errno


def test_a_batch_goes_on_after_a_refusal(kernel: Kernel, here: NetworkNamespace) -> None:
    """All that can be done is done, and each refusal says which message it answers."""
    names = ["b0", "b1", "b1", "b2", "b0", "b3"]
    refusals = kernel.route.try_all(
        [create_bridge(name, None, stp=False, forward_delay=0) for name in names]
    )
    assert [2, 4] == [refusal.index for refusal in refusals]
    assert {"lo", "b0", "b1", "b2", "b3"} == here.links()
    # Nothing of the batch is left to be taken for the answer of the next request.
    assert kernel.route.link("b3") is not None


def test_more_messages_than_one_send_holds(kernel: Kernel, here: NetworkNamespace) -> None:
    """A long list goes in several sends, and refusals are counted through all of them."""
    messages = [set_link("lo", "set lo", mtu=60000 + number) for number in range(1200)]
    messages[700] = set_link("none", "set none", mtu=1)
    assert [700] == [refusal.index for refusal in kernel.route.try_all(messages)]
    assert 61199 == here.ip("link", "show", "lo")[0]["mtu"]


def test_the_whole_group_goes_at_once(kernel: Kernel, here: NetworkNamespace) -> None:
    """Five hundred taps are deleted in one request; nobody else's link is touched."""
    taps = make_taps(kernel, 500)
    here.ip("link", "add", "other", "type", "bridge")
    here.ip("link", "set", "other", "group", "77")
    deletions: list[Message] = []
    original = kernel.route.batch

    def watch(messages: list[Message], *, atomic: bool = False) -> list[Refusal]:
        deletions.extend(message for message in messages if message.type == 17)
        return original(messages, atomic=atomic)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel.route, "batch", watch)
        TapDriver().remove(kernel, taps)
    assert {"lo", "other"} == here.links()
    assert ["delete 500 links at once"] == [message.what for message in deletions]


def test_a_group_that_others_wear_is_not_deleted(
    kernel: Kernel, here: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When every number we draw is taken, the links are deleted one by one."""
    taps = make_taps(kernel, 3)
    here.ip("link", "add", "other", "type", "bridge")
    here.ip("link", "set", "other", "group", "77")
    monkeypatch.setattr("random.randrange", lambda *_: 77)
    TapDriver().remove(kernel, taps)
    assert {"lo", "other"} == here.links()


def test_another_number_is_drawn(
    kernel: Kernel, here: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that somebody wears is passed over for the next."""
    taps = make_taps(kernel, 3)
    here.ip("link", "add", "other", "type", "bridge")
    here.ip("link", "set", "other", "group", "77")
    numbers = iter((77, 78))
    monkeypatch.setattr("random.randrange", lambda *_: next(numbers))
    TapDriver().remove(kernel, taps)
    assert {"lo", "other"} == here.links()
    assert next(numbers, None) is None


def test_deleting_what_is_gone(kernel: Kernel, here: NetworkNamespace) -> None:
    """Indexes without a link are passed over, in a group and alone."""
    here.ip("link", "add", "b0", "type", "bridge")
    index = kernel.route.index("b0")
    assert index is not None
    kernel.route.delete_links([index, 4000, 4001])
    kernel.route.delete_links([4000, 4001])
    kernel.route.delete_links([4000])
    kernel.route.delete_links([])
    assert {"lo"} == here.links()


def test_what_cannot_be_deleted_is_told_at_the_end(kernel: Kernel, here: NetworkNamespace) -> None:
    """lo cannot be deleted; the others are, and the error names what was left."""
    here.ip("link", "add", "b0", "type", "bridge")
    index = kernel.route.index("b0")
    assert index is not None
    with pytest.raises(ExceptionGroup, match="could not delete every link") as caught:
        kernel.route.delete_links([1, index])
    (failure,) = caught.value.exceptions
    assert str(failure).startswith("link lo: cannot delete the link with index 1: ")
    assert {"lo"} == here.links()


def test_group_membership_is_read_right(kernel: Kernel, here: NetworkNamespace) -> None:
    """The search in a dump's bytes finds exactly the members."""
    make_taps(kernel, 4)
    here.ip("link", "set", "tap1", "group", "1234567")
    here.ip("link", "set", "tap3", "group", "1234567")
    expected = {link["ifindex"] for link in here.ip("link", "show", "group", "1234567")}
    bodies = [reply.body for reply in kernel.route.dump(dump_links())]
    assert expected == {wears_group(body, 1234567) for body in bodies} - {None}


def test_many_links_are_asked_for_at_once(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few links are asked for by name and never by a dump; many by one dump, in no other way."""
    taps = make_taps(kernel, ONE_BY_ONE_LIMIT + 1)
    asked: list[str] = []
    request, dump = kernel.route.request, kernel.route.dump

    def watch_request(message: Message) -> list[Reply]:
        asked.append("one")
        return request(message)

    def watch_dump(message: Message) -> list[Reply]:
        asked.append("all")
        return dump(message)

    monkeypatch.setattr(kernel.route, "request", watch_request)
    monkeypatch.setattr(kernel.route, "dump", watch_dump)
    assert len(taps) == len(kernel.route.links([tap.name for tap in taps]))
    assert ["all"] == asked
    asked.clear()
    assert 2 == len(kernel.route.links(["tap0", "tap1"]))
    assert ["one", "one"] == asked


def test_bytes_are_what_pyroute2_packs(kernel: Kernel, here: NetworkNamespace) -> None:
    """A bridge as we ask for it is the one that pyroute2 reads back in full."""
    kernel.route.send(
        [create_bridge("br0", bytes.fromhex("525400000009"), stp=True, forward_delay=4)]
    )
    with pyroute2.IPRoute() as witness:
        (bridge,) = witness.get_links(ifname="br0")
    data = bridge.get(("linkinfo", "data"))
    assert "52:54:00:00:00:09" == bridge.get("address")
    assert (1, 400) == (data.get("br_stp_state"), data.get("br_forward_delay"))


def test_a_listener_that_overflows_is_told(kernel: Kernel, here: NetworkNamespace) -> None:
    """When the buffer is too small for what comes, the loss is an error, not a gap."""
    with NetlinkSocket(0, receive_buffer=2048) as listener:
        listener.subscribe(RTNLGRP_LINK)
        assert [] == listener.poll()
        make_taps(kernel, 20)
        with pytest.raises(MessagesLost):
            drain(listener)


def test_another_namespace_leaves_ours_alone(
    kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace
) -> None:
    """A call in another namespace sees that one, and ours is the same afterwards."""
    there.ip("link", "add", "inside", "type", "bridge")

    def names() -> set[str]:
        with RouteSocket() as socket:
            return set(socket.links())

    def fail() -> None:
        raise ValueError("inside")

    with there.path.open("rb") as file:
        assert {"lo", "inside"} == call_in_namespace(file.fileno(), names)
        with pytest.raises(ValueError, match="inside"):
            call_in_namespace(file.fileno(), fail)
        assert kernel.route.netns_id(file.fileno()) is None
    assert {"lo"} == names()
    with (
        Path("/proc/self/status").open("rb") as wrong,
        pytest.raises(KernelError, match="cannot enter"),
    ):
        call_in_namespace(wrong.fileno(), names)


def test_a_namespace_without_routes(kernel: Kernel, here: NetworkNamespace) -> None:
    """The main table may not exist yet: that is no routes, not an error."""
    here.ip("link", "set", "lo", "down")
    assert [] == kernel.route.routes(4)
    assert [] == kernel.route.routes(6)
