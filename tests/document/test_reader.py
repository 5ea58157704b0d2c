"""What the reader makes of each spelling, and what it says about wrong ones."""

from __future__ import annotations

import pytest

from jackfield.document.layered import write_layered
from jackfield.document.libvirt import write_network
from jackfield.document.reader import DNSMASQ_NAMESPACE, read_network
from jackfield.errors import DocumentError
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink
from jackfield.model.values import InterfaceName

IP = "<ip address='10.0.0.1' prefix='24'/>"


def network(body: str) -> Network:
    """Read a network called ``n``."""
    return read_network(f"<network><name>n</name>{body}</network>")


@pytest.mark.parametrize(
    ("body", "mode"),
    [
        ("", Mode.ISOLATED),
        ("<forward mode='none'/>", Mode.ISOLATED),
        (f"<forward/>{IP}", Mode.NAT),
        (f"<forward layer='network'/>{IP}", Mode.NAT),
        (f"<forward layer='network' mode='nat'/>{IP}", Mode.NAT),
        (f"<forward mode='route'/>{IP}", Mode.ROUTE),
        (f"<forward mode='open'/>{IP}", Mode.OPEN),
        (f"<forward layer='network' mode='subnet' dev='eth0'/>{IP}", Mode.SUBNET),
        (f"<forward mode='subnet' dev='eth0'/>{IP}", Mode.SUBNET),
        (f"<forward mode='route' dev='eth0'><proxy arp='yes'/></forward>{IP}", Mode.SUBNET),
        (f"<forward mode='route' dev='eth0'/><proxy arp='yes' ndp='yes'/>{IP}", Mode.SUBNET),
        (f"<forward mode='route' dev='eth0'/><proxy arp='no' ndp='no'/>{IP}", Mode.ROUTE),
        ("<forward mode='bridge'/><bridge name='br0'/>", Mode.BRIDGE),
        ("<forward layer='link' mode='bridge-brctl'/><bridge name='br0'/>", Mode.BRIDGE),
        ("<forward layer='link' mode='bridge'/><bridge name='br0'/>", Mode.BRIDGE),
        (
            "<forward mode='bridge'/><bridge><uplinks><interface dev='e'/></uplinks></bridge>",
            Mode.BRIDGE,
        ),
        ("<forward mode='bridge'/><vpn type='wireguard' vni='1'/>", Mode.BRIDGE),
        ("<forward mode='bridge'/><virtualport type='openvswitch'/>", Mode.BRIDGE),
        ("<forward mode='bridge'/>", Mode.MACVTAP_BRIDGE),
        ("<forward mode='bridge' dev='eth0'/>", Mode.MACVTAP_BRIDGE),
        ("<forward layer='link' mode='bridge-macvtap' dev='eth0'/>", Mode.MACVTAP_BRIDGE),
        ("<forward mode='vepa'/>", Mode.VEPA),
        ("<forward layer='link' mode='private'/>", Mode.PRIVATE),
        ("<forward mode='passthru'/>", Mode.PASSTHROUGH),
        ("<forward layer='link' mode='passthrough'/>", Mode.PASSTHROUGH),
        ("<forward mode='hostdev'/>", Mode.HOSTDEV),
    ],
)
def test_every_spelling_of_a_mode(body: str, mode: Mode) -> None:
    """Either dialect, and any mixture of them, gives the one flat mode; both outputs keep it."""
    found = network(body)
    assert mode == found.mode
    assert found == read_network(write_network(found))
    assert found == read_network(write_layered(found))


def test_one_uplink_and_many_look_the_same() -> None:
    """``dev`` is the first of the list, whichever of them is written."""
    uplink = DeviceUplink(dev=InterfaceName("eth0"))
    for forward in (
        "<forward mode='vepa' dev='eth0'/>",
        "<forward mode='vepa'><interface dev='eth0'/></forward>",
        "<forward mode='vepa' dev='eth0'><interface dev='eth0'/></forward>",
    ):
        assert (uplink,) == network(forward).uplinks


def test_further_uplinks_of_a_routed_network() -> None:
    """libvirt's ``<interface>``, then ``<uplink>``; in the layered dialect all are alike."""
    libvirt = network(
        f"<forward mode='nat' dev='e0'><interface dev='e0'/><uplink dev='e1'/></forward>{IP}"
    )
    layered = network(
        "<forward layer='network' mode='nat'><interface dev='e0'/><interface dev='e1'/></forward>"
        + IP
    )
    assert libvirt == layered
    assert "<uplink dev='e1'/>" in write_network(layered)
    assert "<interface dev='e1'/>" in write_layered(libvirt)


def test_managed_bridge_in_both_dialects() -> None:
    """The uplinks stand in the bridge for libvirt, in the forward element in the layers."""
    libvirt = network(
        "<forward mode='bridge'/><bridge name='br0'><uplinks mtu='9000'><interface dev='eth0'/>"
        "</uplinks></bridge>"
    )
    layered = network(
        "<forward layer='link' mode='bridge-brctl' dev='eth0'><interface dev='eth0'/></forward>"
        "<bridge name='br0'><uplinks mtu='9000'/></bridge>"
    )
    assert libvirt == layered


def test_unnamed_portgroups_get_free_names() -> None:
    """The names are the lowest that no other portgroup of the document has."""
    found = network("<portgroup/><portgroup name='portgroup0'/><portgroup/>")
    assert ["portgroup1", "portgroup0", "portgroup2"] == [one.name for one in found.portgroups]


def test_what_libvirt_ignores_is_ignored() -> None:
    """Unknown elements and attributes, comments and second ones do not count."""
    found = network("<!-- x --><foo/><?pi x?><bridge name='a' bar='1'/><bridge name='b'/>")
    assert found.bridge is not None
    assert "a" == found.bridge.name


def test_options_of_every_element_count() -> None:
    """libvirt takes the dnsmasq options of all elements that hold some."""
    options = "".join(
        f"<d:options xmlns:d='{DNSMASQ_NAMESPACE}'><d:option value='{value}'/></d:options>"
        for value in ("foo=1", "bar=2")
    )
    assert ("foo=1", "bar=2") == network(options).dnsmasq_options


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<forward layer='network' mode='vepa'/>", "layer='network' and mode='vepa'"),
        ("<forward layer='link' mode='nat'/>", "layer='link' and mode='nat'"),
        ("<forward layer='network' mode='bridge'/>", "layer='network' and mode='bridge'"),
        ("<forward layer='cheese'/>", "layer='cheese': allowed are 'network', 'link'"),
        ("<forward layer='link'/>", "layer='link' without a mode"),
        ("<forward mode='pudding'/>", "mode='pudding': allowed are 'bridge'"),
        ("<forward mode='nat'/>", "mode nat but no <ip>"),
        (f"<forward mode='open' dev='eth0'/>{IP}", "mode open does not use"),
        ("<forward mode='none' dev='eth0'/>", "mode isolated does not use"),
        (f"<forward mode='subnet'/>{IP}", "mode subnet without an uplink"),
        (
            f"<forward mode='subnet' dev='e'><proxy arp='no' ndp='no'/></forward>{IP}",
            "turns off both",
        ),
        (f"<forward mode='nat'><proxy arp='yes'/></forward>{IP}", "belongs to mode='route'"),
        ("<forward mode='vepa'><nat/></forward>", "belongs to mode='nat'"),
        ("<forward mode='vepa'/><bridge name='br0'/>", "vepa, which has no bridge"),
        ("<forward mode='vepa'/><mtu size='1500'/>", "<mtu>, which mode vepa"),
        ("<forward mode='bridge' dev='e'/><bridge name='b'/>", "<bridge> has name='b'"),
        ("<forward mode='bridge'/><bridge name='b' stp='on'/>", "stp='on', which is for isolated"),
        ("<forward mode='bridge'/><bridge name='b' delay='2'/>", "delay='2'"),
        ("<forward mode='bridge-brctl'/>", "without <bridge name"),
        ("<forward mode='vepa' dev='a'><interface dev='b'/></forward>", "first <interface> is b"),
        ("<forward mode='vepa' dev='a'><pf dev='b'/></forward>", "together with"),
        ("<forward mode='hostdev'><pf dev='a'/><pf dev='b'/></forward>", "more than one <pf>"),
        ("<forward mode='vepa'><interface/></forward>", "lacks its attribute 'dev'"),
        (
            "<forward mode='vepa'><interface dev='a'/><interface dev='a'/></forward>",
            "a second time",
        ),
        (f"<forward mode='nat'><address type='pci'/></forward>{IP}", "needs a device"),
        ("<forward mode='hostdev'><address type='usb'/></forward>", "allowed is 'pci'"),
        ("<bridge name='a/b'/>", "letters, digits"),
        ("<bridge name='sixteencharslong'/>", "longer than 15 bytes"),
        ("<bridge name='all'/>", "device name 'all' is the kernel's own"),
        ("<bridge name='default'/>", "device name 'default' is the kernel's own"),
        ("<bridge stp='maybe'/>", "allowed are 'on', 'off'"),
        ("<bridge><uplinks><interface dev='a'/></uplinks></bridge>", "has mode='bridge'"),
        ("<mac address='01:00:00:00:00:00'/>", "multicast"),
        ("<mac address='1:2'/>", "not a MAC address"),
        ("<uuid>x</uuid>", "not a UUID"),
        ("<title>a\nb</title>", "line break"),
        ("<ip address='10.0.0'/>", "not an IP address"),
        ("<ip address='fe80::1%eth0' family='ipv6'/>", "not an IP address"),
        ("<ip address='fd00::1'/>", "without a family"),
        ("<ip family='ipv6' address='1.2.3.4'/>", "family='ipv6' but address"),
        ("<ip family='ipv5'/>", "allowed are 'ipv4', 'ipv6'"),
        ("<ip address='1.2.3.4' prefix='24' netmask='255.255.255.0'/>", "both netmask"),
        ("<ip address='1.2.3.4' netmask='255.0.255.0'/>", "ones come before"),
        ("<ip address='1.2.3.4' prefix='33'/>", "from 0 to 32"),
        ("<ip address='fd00::1' family='ipv6'><tftp root='/'/></ip>", "not supported in an IPv6"),
        (
            (
                "<ip address='10.0.0.1' prefix='24'><dhcp><range start='10.0.1.2' end='10.0.1.3'/>"
                "</dhcp></ip>"
            ),
            "not in the subnet 10.0.0.1/24",
        ),
        (
            (
                "<ip address='10.0.0.1' prefix='24'><dhcp><range start='10.0.0.0' end='10.0.0.9'/>"
                "</dhcp></ip>"
            ),
            "network's own address",
        ),
        (
            (
                "<ip address='10.0.0.1' prefix='24'><dhcp>"
                "<range start='10.0.0.9' end='10.0.0.255'/></dhcp></ip>"
            ),
            "broadcast",
        ),
        (
            (
                "<ip address='10.0.0.1' prefix='24'><dhcp><range start='10.0.0.9' end='10.0.0.8'/>"
                "</dhcp></ip>"
            ),
            "after end=",
        ),
        (
            (
                "<ip address='10.0.0.1' prefix='8'><dhcp><range start='10.0.0.9' end='10.1.0.255'/>"
                "</dhcp></ip>"
            ),
            "more than the last 16 bits",
        ),
        (
            (
                "<ip address='10.0.0.1' prefix='24'><dhcp><range start='10.0.0.2' end='10.0.0.8'>"
                "<lease expiry='1'/></range></dhcp></ip>"
            ),
            "two minutes",
        ),
        ("<ip address='10.0.0.1'><dhcp><host ip='10.0.0.2'/></dhcp></ip>", "a mac or a name"),
        (
            "<ip address='10.0.0.1'><dhcp><host name='99' ip='10.0.0.2'/></dhcp></ip>",
            "at least one letter",
        ),
        (
            "<ip address='10.0.0.1'><dhcp><host mac='52:54:00:00:00:01'/></dhcp></ip>",
            "lacks its attribute 'ip'",
        ),
        ("<ip><dhcp/></ip>", "without an address"),
        (f"{IP}<route address='10.1.0.1' prefix='24' gateway='10.0.0.5'/>", "beyond its prefix"),
        (f"{IP}<route address='10.1.0.0' gateway='10.0.0.5'/>", "beyond its prefix of 0"),
        (f"{IP}<route address='10.1.0.0' prefix='24' gateway='10.9.0.5'/>", "none of its subnets"),
        (f"{IP}<route address='10.1.0.0' prefix='24'/>", "lacks its attribute 'gateway'"),
        ("<dns enable='no'><txt name='a' value='b'/></dns>", "enable='no' and yet"),
        ("<dns><txt name='a'/></dns>", "lacks its attribute 'value'"),
        ("<dns><txt name='a b' value='c'/></dns>", "holds a space"),
        ("<dns><srv service='x' protocol='a b'/></dns>", "a name like 'tcp' or 'udp'"),
        ("<dns><srv service='x' protocol='tcp' port='1'/></dns>", "needs a target"),
        ("<dns><host ip='1.2.3.4'/></dns>", "at least one <hostname>"),
        ("<dns><forwarder/></dns>", "needs an addr or a domain"),
        ("<domain name='a b'/>", "not a DNS name"),
        ("<vlan/>", "at least one <tag"),
        ("<vlan><tag id='4096'/></vlan>", "from 0 to 4095"),
        ("<vlan trunk='no'><tag id='1'/><tag id='2'/></vlan>", "trunk='no' with more than one"),
        ("<bandwidth><inbound peak='1'/></bandwidth>", "needs an average"),
        ("<bandwidth><inbound average='1' floor='1'/></bandwidth>", "floor='1'"),
        ("<bandwidth><inbound average='-1'/></bandwidth>", "a number from 0"),
        ("<virtualport/>", "lacks its attribute 'type'"),
        ("<virtualport type='x'/>", "allowed are '802.1Qbg'"),
        (
            "<virtualport type='802.1Qbg'><parameters profileid='x'/></virtualport>",
            "allowed are 'managerid'",
        ),
        (
            "<virtualport type='802.1Qbg'><parameters typeid='0x1000000'/></virtualport>",
            "from 0 to 0xffffff",
        ),
        (
            "<portgroup name='g'><interface dev='eth9'/></portgroup>",
            "'g' with the uplink eth9, which is not one of the network's",
        ),
        ("<portgroup count='x'/>", "a number from 0"),
        ("<vpn/>", "lacks its attribute 'type'"),
        ("<vpn type='openvpn'/>", "allowed is 'wireguard'"),
        ("<vpn type='wireguard'/>", "<vpn>, which mode isolated"),
        ("<forward mode='vepa'/><vde/>", "no bridge to hang it on"),
        (
            "<forward mode='bridge'/><vpn type='wireguard'><peer publicKey='short'/></vpn>",
            "44 characters",
        ),
        (
            (
                "<forward><portForward proto='tcp'><range start='1'/><target/></portForward>"
                f"</forward>{IP}"
            ),
            "exactly one of mac, name and ip",
        ),
        (
            (
                f"<forward dev='a'><portForward proto='tcp' dev='b'><range start='1'/>"
                f"<target name='x'/></portForward></forward>{IP}"
            ),
            "not one of its uplinks",
        ),
        ("<forward mode='nat' managed='yes' dev='e'><driver name='x'/></forward>", "'vfio'"),
    ],
)
def test_errors_say_where_what_and_what_is_allowed(body: str, said: str) -> None:
    """Each error has libvirt's code, names the line and the value, and says what would do."""
    with pytest.raises(DocumentError) as caught:
        read_network(f"<network>\n<name>n</name>\n{body}\n</network>")
    error = caught.value
    assert said in f"{error.message} {error.hint}"
    assert 27 == error.code
    assert error.line is not None
    assert error.message.startswith(f"line {error.line}: ")
    assert error.line >= 3


@pytest.mark.parametrize(
    "text",
    [
        "<domain/>",
        "<network/>",
        "<network><name/></network>",
        "<network><name>a/b</name></network>",
    ],
)
def test_a_network_needs_its_name(text: str) -> None:
    """Other documents, and networks without a usable name, are refused."""
    with pytest.raises(DocumentError):
        read_network(text)


def test_live_documents_are_read_without_what_is_only_live() -> None:
    """Counts of ports and a public key shown in a live document do not enter a definition."""
    found = read_network("""
        <network connections='7'><name>n</name><forward mode='nat' dev='eth0'>
          <interface dev='eth0' connections='7'/></forward>
          <ip address='10.0.0.1' prefix='24'/></network>""")
    assert found.connections is None
    uplink = found.uplinks[0]
    live = write_network(found, inactive=False, connections={uplink: 3})
    assert "<interface dev='eth0' connections='3'/>" in live
    assert found == read_network(live)
