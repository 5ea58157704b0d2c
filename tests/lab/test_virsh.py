"""Every ``virsh net-*`` command, on a host with a stock libvirtd and on one with ours.

The same commands in the same order get the same exit status and the same text, but for what is
generated; what differs on purpose is marked, with its reason, and docs/virsh.md lists the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import libvirtd
from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.virsh import URI, Pair
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

PAGE = Path(__file__).parents[2] / "docs" / "virsh.md"

RED = """
<network>
  <name>red</name>
  <uuid>11111111-2222-3333-4444-555555555555</uuid>
  <forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>
  <bridge name='red0' stp='off'/>
  <mac address='52:54:00:01:02:03'/>
  <ip address='192.168.150.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.150.10' end='192.168.150.99'/></dhcp>
  </ip>
</network>
"""
PORT = """
<networkport>
  <uuid>00000000-0000-0000-0000-00000000004d</uuid>
  <owner><name>guest</name><uuid>00000000-0000-0000-0000-000000000005</uuid></owner>
  <mac address='52:54:00:7b:35:93'/>
</networkport>
"""
DOCUMENTS = {
    "red": RED,
    "red2": RED.replace("192.168.150.99", "192.168.150.98"),
    "redother": RED.replace("11111111-2222", "11111111-9999"),
    "plainred": RED.replace(">red<", ">plain<").replace("red0", "plain0"),
    "redplain": RED.replace("11111111-2222", "11111111-9999").replace("red0", "plain0"),
    "redname": RED.replace(">red<", ">pink<").replace("red0", "pink0"),
    "plain": "<network><name>plain</name><bridge name='plain0' stp='off'/></network>",
    "blue": "<network><name>blue</name><bridge name='blue0' stp='off'/>"
    "<ip address='10.5.0.1' prefix='24'/></network>",
    "bluebr": "<network><name>bluebr</name><bridge name='blue0' stp='off'/></network>",
    "overlap": "<network><name>overlap</name><bridge name='ov0' stp='off'/>"
    "<ip address='10.5.0.1' prefix='24'/></network>",
    "green": "<network><name>green</name><forward mode='bridge'/><bridge name='br0'/></network>",
    "ongreen": "<network><name>ongreen</name><bridge name='br0' stp='off'/></network>",
    "overblue": "<network><name>overblue</name><forward mode='bridge'/><bridge name='blue0'/>"
    "</network>",
    "nat": "<network><name>nat</name><forward mode='nat'/><bridge name='nat0' stp='off'/>"
    "<ip address='10.6.0.1' prefix='24'/></network>",
    "twin": RED.replace(">red<", ">11111111-2222-3333-4444-555555555555<")
    .replace("<uuid>11111111-2222", "<uuid>11111111-7777")
    .replace("red0", "twin0"),
    "overred": "<network><name>overred</name><forward mode='bridge'/><bridge name='red0'/>"
    "</network>",
    "garbage": "<network",
    "noname": "<network/>",
    "wrong": "<foo/>",
    "bogus": "<network><name>bogus</name><bogus/></network>",
    "badmode": "<network><name>x</name><forward mode='foo'/></network>",
    "badip": "<network><name>x</name><ip address='10.300.0.1' prefix='24'/></network>",
    "host1": "<host mac='52:54:00:00:00:01' name='one' ip='192.168.150.5'/>",
    "host1b": "<host mac='52:54:00:00:00:01' name='one' ip='192.168.150.6'/>",
    "port": PORT,
    "portgroup": PORT.replace("4d<", "4e<").replace("<mac", "<group>nosuch</group><mac"),
    "two": "<network><name>two</name><bridge name='two0' stp='off'/>"
    "<ip address='10.7.0.1' prefix='24'/>"
    "<ip family='ipv6' address='fd00::1' prefix='64'/></network>",
    "half": "<network><name>half</name><bridge name='half0' stp='off'/>"
    "<ip address='10.7.0.129' prefix='25'/></network>",
    "long": "<network><name>long</name><bridge name='sixteen-letters0'/></network>",
    "maybe": "<network><name>maybe</name><bridge name='maybe0' stp='maybe'/></network>",
    "zone": "<network><name>zone</name><bridge name='zone0' stp='off' zone='public'/></network>",
    "known": "<network><name>known</name><bridge name='known0' stp='off'/>"
    "<domain name='known.example' localOnly='yes' register='yes'/>"
    "<ip address='10.8.0.1' prefix='24'/></network>",
    "vlan": "<network><name>vlan</name><bridge name='vlan0' stp='off'/><vlan><tag id='4'/></vlan>"
    "</network>",
    "nic": "<network><name>nic</name><forward mode='bridge'><interface dev='eth7'/></forward>"
    "</network>",
    "functions": "<network><name>functions</name><forward mode='hostdev' managed='yes'>"
    "<pf dev='eth7'/></forward></network>",
    "function": "<network><name>function</name><forward mode='hostdev'>"
    "<address type='pci' domain='0' bus='4' slot='0' function='1'/></forward></network>",
    "porttwo": PORT.replace("4d<", "5d<"),
    "portnic": PORT.replace("4d<", "5e<"),
    "portqbg": PORT.replace("4d<", "5f<").replace(
        "<mac",
        "<virtualport type='802.1Qbg'><parameters managerid='1' typeid='2' typeidversion='3'/>"
        "</virtualport><mac",
    ),
    "template": "<network><name>template</name><bridge name='lab%d' stp='off'/></network>",
    "bare": "<network><name>bare</name><forward mode='open'/><bridge name='bare0' stp='off'/>"
    "</network>",
    "routed": "<network><name>routed</name><forward mode='route' dev='lo'/>"
    "<bridge name='routed0' stp='off'/><ip address='10.8.0.1' prefix='24'/></network>",
    "dotnet": "<?xml version='1.0' encoding='utf-16'?>\n"
    "<network><name>dotnet</name><title>caf\u00e9</title><metadata/></network>",
    "kept": "<network><name>kept</name><uuid>00000000-0000-0000-0000-0000000000c1</uuid>"
    "<bridge name='kept0' stp='off'/><mac address='52:54:00:01:02:04'/></network>",
    "keptless": "<network><name>kept</name><uuid>00000000-0000-0000-0000-0000000000c1</uuid>"
    "</network>",
    "listen": "<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>"
    "<name>listen</name><ip address='10.9.0.1' prefix='24'/><dnsmasq:options>"
    "<dnsmasq:option value='listen-address=::1'/>"
    "</dnsmasq:options></network>",
    "doctype": "<!DOCTYPE network><network><name>doctype</name></network>",
    "notes": "<network><name>notes</name><uuid>00000000-0000-0000-0000-0000000000c2</uuid>"
    "<metadata><note>mine</note></metadata><bridge name='notes0'/>"
    "<mac address='52:54:00:01:02:05'/></network>",
    "wider": "<network><name>wider</name><forward mode='vepa'><interface dev='eth7'/></forward>"
    "<portgroup name='slow'><bandwidth><inbound average='100'/></bandwidth></portgroup></network>",
    "six": "<network><name>six</name><bridge name='six0' stp='off'/>"
    "<ip family='ipv6' address='fd00::2' prefix='64'/></network>",
    "nodns": "<network><name>nodns</name><bridge name='nodns0' stp='off'/><dns enable='no'/>"
    "</network>",
    "portnone": PORT.replace("<uuid>00000000-0000-0000-0000-00000000004d</uuid>", ""),
    "portbridge": PORT.replace("4d<", "6d<"),
    "portextra": PORT.replace("4d<", "7d<").replace("<mac", "<extra/><mac"),
    "portvlan": PORT.replace("4d<", "7e<").replace("<mac", "<vlan><tag id='5'/></vlan><mac"),
    "direct": "<network><name>direct</name><forward mode='private'><interface dev='lo'/></forward>"
    "</network>",
    "whole": "<network><name>whole</name><forward mode='passthrough' dev='lo'/></network>",
    "merged": "<network><name>merged</name><forward mode='vepa' dev='lo'/>"
    "<virtualport type='802.1Qbg'><parameters managerid='9'/></virtualport></network>",
    "portwhole": PORT.replace("4d<", "8d<"),
    "portfull": PORT.replace("4d<", "8e<"),
    "portmerged": PORT.replace("4d<", "8f<").replace(
        "<mac", "<virtualport type='802.1Qbg'><parameters managerid='1'/></virtualport><mac"
    ),
    "portclass": PORT.replace("4d<", "9d<").replace(
        "<mac", "<bandwidth classID='7'><inbound average='10'/></bandwidth><mac"
    ),
    "foreign": "<x:network xmlns:x='urn:x'><name>foreign</name></x:network>",
    "portbad": "<networkport><uuid>00000000-0000-0000-0000-00000000004e</uuid></networkport>",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Differs:
    """A command whose answer differs on purpose; ``why`` is a line of the page."""

    command: str
    why: str


HOSTNAME = "`virsh hostname` answers; libvirt's network driver has no such call"
TEXTS = (
    "what is wrong in a document is error 27, and told with line, element, value and what is "
    "allowed; libvirt's own codes and words are kept where the document is no XML, is no network "
    "or has no name; `net-update` tells it also of what is to be deleted or modified, where "
    "libvirt says that it is not there"
)
NAMESPACE = (
    "an element of a namespace of its own is not libvirt's, and a prefix that stands for none is "
    "an error; of a document's first element libvirt looks at the name alone"
)
CLASS = "a `classID` of a port that is promised nothing is left out; libvirt shows it"
SCHEMA = "`--validate` uses Jackfield's schema, which knows its extensions, and has none for ports"
PORTS = (
    "`<nat>` of a running network is shown as it was defined; libvirt adds "
    "`<port start='1024' end='65535'/>` to it"
)
GROUP = "a port shows the portgroup that it was given, also when its guest names none"
UNKNOWN = "a portgroup that does not exist is an error; libvirt ignores it"
SECTIONS = (
    "`net-update` also changes the sections bridge, domain, ip, forward and forward-pf, which "
    "libvirt lists and refuses"
)

UUIDS = "the uuid of a port is its own on the whole host; libvirt's on its network only"
VIRTUALPORT = (
    "a guest's `<virtualport>` means nothing where its network is a Linux bridge, and is left out; "
    "libvirt refuses most of them there"
)
FAMILY = (
    "a `--parent-index` of the wrong address family is passed over: an address goes to an `<ip>` "
    "of its own family; libvirt refuses it"
)
USED = (
    "a network whose bridge another one uses with forward mode bridge can be defined again; "
    "libvirt refuses it then"
)
OVERLAP = (
    "a subnet that overlaps one that is in use is refused; libvirt refuses only the same one, of "
    "IPv4"
)
VALUES = (
    "a value that nothing can be made of is refused: a bridge's name of 16 letters, "
    "`stp='maybe'`; libvirt defines the network"
)
REGISTER = (
    "a network whose domain is to be registered starts also where systemd-resolved does not run, "
    "and says so; libvirt does not start it then"
)
VLAN = "`<vlan>` is allowed on isolated and routed networks as well"
CARRIER = (
    "a port gets no NIC that is not there or has no carrier, and no bridge that is not there; "
    "libvirt gives it any"
)
REDEFINED = (
    "a network that is defined again without its bridge's name or its MAC address keeps them; "
    "libvirt makes new ones"
)
RECORDS = (
    "`net-update` refuses what `net-define` does, as DNS records of a network that has no DNS; "
    "libvirt takes them, and then refuses the document that it shows"
)
OPTIONS = (
    "dnsmasq's options that reach beyond the network's bridge are refused, as `listen-address`; "
    "libvirt hands on any"
)
DOCTYPE = "a document with a document type or entities is refused"
NOTES = (
    "elements of `<metadata>` without a namespace, several of one, and comments are kept; libvirt "
    "drops them"
)
WIDER = (
    "what Jackfield can do it does not refuse: limits of a macvtap network's portgroups, functions "
    "by PCI address in mode passthrough, portgroups without a name, uplinks under a bridge"
)
WISHES = (
    "a port that wants what its network cannot give, as a VLAN or isolation on macvtap, is "
    "refused; libvirt leaves it out"
)
FULL = (
    "why a guest gets no port is told in full: each portgroup and uplink with what is used of it, "
    "and where each of two virtualports that contradict each other stands (error 67, libvirt's 27)"
)
COUNTED = "the number of a network's ports stays right after `net-update`; libvirt forgets it"
FUNCTIONS = (
    "a network of virtual functions is defined and starts also while there is none; then its "
    "ports are refused"
)

KEPT = (
    "a stopped network keeps the ports of running guests, and gives them their place on the "
    "bridge when it starts again; libvirt forgets them"
)
HELD = "a stopped network with ports cannot be undefined, because its guests would lose it"
SOUND = "calls with lists or names that are empty are answered; some of them end libvirtd 11.3"
MENDED = (
    "what somebody takes away from a running network, as its bridge, is made again; libvirt finds "
    "the network stopped when it is started again"
)
HOOKS = (
    "a hook that fails after `net-update` of a running network is told, as of one that does not "
    "run; libvirt says nothing of it then"
)
#: Differences that no single command shows.
EXTRA = {KEPT, HELD, SOUND, HOOKS, MENDED}

#: What one after the other is asked.
COMMANDS: tuple[str | Differs, ...] = (
    "version",
    "uri",
    "net-list",
    "net-list --all",
    "net-list --name",
    "net-define /run/lab/red.xml",
    "net-define /run/lab/red.xml",
    "net-define /run/lab/redother.xml",
    "net-define /run/lab/redname.xml",
    "net-define /run/lab/plain.xml",
    "net-define /run/lab/plainred.xml",
    # Of two things that are taken the bridge is told.
    "net-define /run/lab/redplain.xml",
    "net-create /run/lab/redplain.xml",
    "net-undefine plain",
    "net-define /run/lab/garbage.xml",
    "net-define /run/lab/noname.xml",
    "net-define /run/lab/wrong.xml",
    "net-define /run/lab/nosuchfile.xml",
    Differs("net-define --validate /run/lab/bogus.xml", SCHEMA),
    Differs("net-define /run/lab/badmode.xml", TEXTS),
    Differs("net-define /run/lab/badip.xml", TEXTS),
    "net-define --validate /run/lab/red.xml",
    "net-list --all",
    "net-list --inactive",
    "net-list --persistent --all",
    "net-list --transient",
    "net-list --autostart --all",
    "net-list --no-autostart --all",
    "net-list --uuid --all",
    "net-info red",
    "net-info nosuch",
    "net-name 11111111-2222-3333-4444-555555555555",
    "net-name 11111111-2222-3333-4444-555555555556",
    "net-uuid red",
    "net-uuid nosuch",
    "net-dumpxml red",
    "net-dumpxml red --inactive",
    "net-dumpxml nosuch",
    "net-destroy red",
    "net-port-list red",
    "net-dhcp-leases red",
    "net-start red",
    "net-start red",
    "net-create /run/lab/red.xml",
    "net-info red",
    "net-dumpxml red",
    "net-dumpxml red --xpath //bridge",
    "net-autostart red",
    "net-info red",
    "net-list --autostart",
    "net-autostart red --disable",
    "net-autostart nosuch",
    "net-define /run/lab/red2.xml",
    "net-dumpxml red",
    "net-dumpxml red --inactive",
    # Partial updates.
    "net-update red add ip-dhcp-host /run/lab/host1.xml",
    "net-update red add ip-dhcp-host /run/lab/host1.xml",
    "net-update red add ip-dhcp-host /run/lab/host1.xml --config",
    "net-update red add ip-dhcp-host /run/lab/host1.xml --live --config",
    "net-update red add ip-dhcp-host \"<host mac='52:54:00:00:00:01' ip='192.168.150.8'/>\"",
    "net-update red modify ip-dhcp-host /run/lab/host1b.xml --live --config",
    "net-dumpxml red",
    "net-dumpxml red --inactive",
    "net-update red modify ip-dhcp-host \"<host mac='52:54:00:00:00:07' ip='192.168.150.7'/>\"",
    "net-update red modify ip-dhcp-host \"<host name='seven' ip='192.168.150.7'/>\"",
    "net-update red delete ip-dhcp-host /run/lab/host1b.xml --live --config",
    "net-update red delete ip-dhcp-host /run/lab/host1b.xml --live",
    "net-update red modify ip-dhcp-host /run/lab/host1b.xml --live",
    (
        "net-update red add ip-dhcp-host \"<host mac='52:54:00:00:00:09' ip='192.168.150.9'/>\" "
        "--live --parent-index 3"
    ),
    (
        "net-update red add-first ip-dhcp-range "
        "\"<range start='192.168.150.100' end='192.168.150.120'/>\" --live --config"
    ),
    (
        "net-update red add ip-dhcp-range "
        "\"<range start='192.168.150.100' end='192.168.150.120'/>\" --live"
    ),
    (
        "net-update red modify ip-dhcp-range "
        "\"<range start='192.168.150.100' end='192.168.150.120'/>\" --live"
    ),
    (
        "net-update red delete ip-dhcp-range "
        "\"<range start='192.168.150.101' end='192.168.150.120'/>\" --live"
    ),
    (
        "net-update red delete ip-dhcp-range "
        "\"<range start='192.168.150.100' end='192.168.150.120'/>\" --live"
    ),
    "net-update red add dns-host \"<host ip='192.168.150.3'><hostname>a</hostname></host>\"",
    "net-update red add dns-host \"<host ip='192.168.150.3'><hostname>a</hostname></host>\"",
    "net-update red modify dns-host \"<host ip='192.168.150.3'><hostname>b</hostname></host>\"",
    "net-update red modify dns-host \"<host ip='192.168.150.4'><hostname>b</hostname></host>\"",
    "net-update red delete dns-host \"<host ip='192.168.150.4'><hostname>c</hostname></host>\"",
    "net-update red add dns-txt \"<txt name='t' value='v'/>\" --live --config",
    "net-update red add dns-txt \"<txt name='t' value='v'/>\"",
    "net-update red modify dns-txt \"<txt name='t' value='w'/>\"",
    "net-update red delete dns-txt \"<txt name='u'/>\"",
    (
        "net-update red add dns-srv "
        "\"<srv service='s' protocol='tcp' domain='d' target='.' port='1024'/>\""
    ),
    (
        "net-update red add dns-srv "
        "\"<srv service='s' protocol='tcp' domain='d' target='.' port='1024'/>\""
    ),
    "net-update red modify dns-srv \"<srv service='s' protocol='tcp'/>\"",
    "net-update red delete dns-srv \"<srv service='x' protocol='tcp'/>\"",
    "net-dumpxml red",
    "net-update red delete dns-host \"<host ip='192.168.150.3'/>\"",
    "net-update red delete dns-txt \"<txt name='t'/>\"",
    "net-update red delete dns-srv \"<srv service='s' protocol='tcp'/>\"",
    "net-update red add portgroup \"<portgroup name='pg'/>\" --live --config",
    "net-update red add portgroup \"<portgroup name='pg'/>\"",
    "net-update red modify portgroup \"<portgroup name='nope'/>\"",
    "net-update red delete portgroup \"<portgroup name='nope'/>\"",
    "net-update red delete portgroup \"<portgroup name='pg'/>\"",
    "net-update red add forward-interface \"<interface dev='eth7'/>\" --config",
    "net-update red delete forward-interface \"<interface dev='eth8'/>\" --config",
    "net-update red delete forward-interface \"<interface dev='eth7'/>\" --config",
    "net-update red modify forward-interface \"<interface dev='eth8'/>\"",
    Differs("net-update red modify domain \"<domain name='x'/>\"", SECTIONS),
    "net-update red add ip-dhcp-host \"<range start='192.168.150.100'/>\"",
    Differs("net-update red add ip-dhcp-host \"<host mac='zz'/>\"", TEXTS),
    'net-update red add ip-dhcp-host "<host"',
    'net-update red add nosuch "<host/>"',
    "net-dumpxml red",
    # Title, description, metadata.
    "net-desc red",
    "net-desc red --title",
    "net-desc red --title --new-desc 'the title'",
    "net-desc red --title",
    "net-desc red --new-desc 'the description' --live --config",
    "net-desc red --config",
    "net-desc red --live",
    "net-metadata red http://x.example/ --key k --set \"<a b='1'><c/></a>\"",
    "net-metadata red http://x.example/",
    "net-dumpxml red",
    "net-metadata red http://y.example/",
    "net-metadata red http://x.example/ --remove",
    "net-metadata red http://x.example/",
    "net-metadata red http://x.example/ --key 'k k' --set '<a/>'",
    "net-dumpxml red",
    # Ports.
    "net-port-list red",
    "net-port-create red /run/lab/port.xml",
    "net-port-create red /run/lab/port.xml",
    "net-port-create red /run/lab/portbad.xml",
    "net-port-create red /run/lab/wrong.xml",
    "net-port-list red",
    "net-port-dumpxml red 00000000-0000-0000-0000-00000000004d",
    "net-port-dumpxml red 00000000-0000-0000-0000-00000000004f",
    "net-dumpxml red",
    "net-port-delete red 00000000-0000-0000-0000-00000000004d",
    "net-port-delete red 00000000-0000-0000-0000-00000000004d",
    "net-update red add portgroup \"<portgroup name='d' default='yes'/>\"",
    "net-update red add portgroup \"<portgroup name='e' default='yes'/>\"",
    "net-port-create red /run/lab/port.xml",
    Differs("net-port-dumpxml red 00000000-0000-0000-0000-00000000004d", GROUP),
    "net-port-delete red 00000000-0000-0000-0000-00000000004d",
    "net-dhcp-leases red",
    "net-dhcp-leases red 52:54:00:00:00:01",
    "net-dhcp-leases red --mac 52:54:0:0:0:1",
    "net-dhcp-leases red --mac nonsense",
    # Ends.
    "net-destroy red",
    "net-destroy red",
    "net-update red add ip-dhcp-host /run/lab/host1.xml --live",
    "net-desc red --live",
    "net-port-create red /run/lab/port.xml",
    "net-undefine red",
    "net-undefine red",
    # Transient networks.
    "net-create /run/lab/plain.xml",
    "net-list",
    "net-info plain",
    "net-undefine plain",
    "net-autostart plain",
    "net-update plain add dns-txt \"<txt name='t' value='v'/>\" --config",
    "net-desc plain --config",
    "net-desc plain --config --new-desc x",
    "net-destroy plain",
    "net-list --all",
    "net-define /run/lab/plain.xml",
    "net-start plain",
    "net-port-create plain /run/lab/port.xml",
    "net-undefine plain",
    "net-info plain",
    "net-port-list plain",
    "net-destroy plain",
    "net-info plain",
    # Names and subnets that are taken.
    "net-define /run/lab/blue.xml",
    "net-define /run/lab/blue.xml",
    "net-create /run/lab/blue.xml",
    "net-start blue",
    "net-define /run/lab/bluebr.xml",
    # With forward mode bridge it is only used, and cannot be had after that.
    "net-define /run/lab/overblue.xml",
    "net-undefine overblue",
    "net-define /run/lab/overlap.xml",
    "net-start overlap",
    "net-create /run/lab/blue.xml",
    "net-undefine overlap",
    "net-undefine blue",
    "net-list --all",
    "net-destroy blue",
    # A network that is called as another is numbered.
    "net-define /run/lab/red.xml",
    "net-define /run/lab/overred.xml",
    Differs("net-define /run/lab/red.xml", USED),
    "net-undefine overred",
    "net-define /run/lab/twin.xml",
    "net-start red",
    "net-autostart red",
    "net-desc red the first",
    "net-update red add dns-txt \"<txt name='t' value='v'/>\" --live --config",
    "net-port-create red /run/lab/port.xml",
    "net-port-list red",
    "net-list --all",
    "net-dumpxml red",
    "net-dumpxml red --inactive",
    "net-port-delete red 00000000-0000-0000-0000-00000000004d",
    "net-destroy red",
    "net-undefine red",
    "net-list --all",
    "net-undefine 11111111-2222-3333-4444-555555555555",
    # A bridge that is named after its template, and one that is left alone.
    "net-create /run/lab/template.xml",
    "net-dumpxml template",
    "net-info template",
    "net-destroy template",
    "net-define /run/lab/bare.xml",
    "net-start bare",
    "net-dumpxml bare",
    "net-port-create bare /run/lab/port.xml",
    "net-port-dumpxml bare 00000000-0000-0000-0000-00000000004d",
    "net-port-delete bare 00000000-0000-0000-0000-00000000004d",
    "net-destroy bare",
    "net-undefine bare",
    # Only what is plugged into an uplink is counted there.
    "net-create /run/lab/routed.xml",
    "net-port-create routed /run/lab/port.xml",
    "net-dumpxml routed",
    "net-port-delete routed 00000000-0000-0000-0000-00000000004d",
    "net-destroy routed",
    "net-create /run/lab/nodns.xml",
    "net-update nodns add dns-txt \"<txt name='t' value='v'/>\" --live",
    "net-destroy nodns",
    "net-define /run/lab/dotnet.xml",
    "net-dumpxml dotnet",
    "net-undefine dotnet",
    # Other modes.
    "net-define /run/lab/green.xml",
    "net-info green",
    "net-dumpxml green",
    "net-define /run/lab/ongreen.xml",
    "net-create /run/lab/ongreen.xml",
    "net-list --all",
    "net-undefine green",
    "net-define /run/lab/nat.xml",
    "net-start nat",
    Differs("net-dumpxml nat", PORTS),
    "net-destroy nat",
    "net-undefine nat",
    # Calls of other drivers.
    "net-event --list",
    "list",
    "pool-list",
    "nodeinfo",
    "capabilities",
    Differs("hostname", HOSTNAME),
    # The last, because here the daemons part.
    "net-create /run/lab/plain.xml",
    Differs("net-port-create plain /run/lab/portgroup.xml", UNKNOWN),
    "net-port-create plain /run/lab/portclass.xml",
    Differs("net-port-dumpxml plain 00000000-0000-0000-0000-00000000009d", CLASS),
    "net-port-delete plain 00000000-0000-0000-0000-00000000009d",
    "net-update plain add ip-dhcp-host \"<host mac='zz'/>\" --live",
    "net-update plain modify ip-dhcp-range \"<range start='zz'/>\" --live",
    Differs("net-update plain delete forward-interface \"<interface dev='a b'/>\" --live", TEXTS),
    Differs("net-define /run/lab/foreign.xml", NAMESPACE),
    "net-create /run/lab/two.xml",
    "net-port-create two /run/lab/porttwo.xml",
    Differs("net-port-create plain /run/lab/porttwo.xml", UUIDS),
    Differs("net-port-create two /run/lab/portqbg.xml", VIRTUALPORT),
    Differs(
        "net-update two add ip-dhcp-host \"<host mac='52:54:00:00:00:01' ip='10.7.0.5'/>\" "
        "--live --parent-index 1",
        FAMILY,
    ),
    Differs("net-create /run/lab/half.xml", OVERLAP),
    Differs("net-define /run/lab/long.xml", VALUES),
    Differs("net-define /run/lab/maybe.xml", VALUES),
    "net-create /run/lab/zone.xml",
    Differs("net-create /run/lab/known.xml", REGISTER),
    Differs("net-create /run/lab/vlan.xml", VLAN),
    Differs("net-create /run/lab/six.xml", OVERLAP),
    "net-port-create two /run/lab/portnone.xml",
    "net-update two add portgroup \"<portgroup name='late'/>\" --live",
    Differs("net-dumpxml two", COUNTED),
    Differs("net-port-create two /run/lab/portextra.xml --validate", SCHEMA),
    "net-create /run/lab/direct.xml",
    Differs("net-port-create direct /run/lab/portvlan.xml", WISHES),
    "net-create /run/lab/merged.xml",
    Differs("net-port-create merged /run/lab/portmerged.xml", FULL),
    "net-destroy merged",
    "net-create /run/lab/whole.xml",
    "net-port-create whole /run/lab/portwhole.xml",
    Differs("net-port-create whole /run/lab/portfull.xml", FULL),
    "net-port-delete whole 00000000-0000-0000-0000-00000000008d",
    "net-destroy whole",
    "net-define /run/lab/kept.xml",
    "net-define /run/lab/keptless.xml",
    Differs("net-dumpxml kept", REDEFINED),
    "net-undefine kept",
    "net-define /run/lab/green.xml",
    Differs("net-update green add dns-txt \"<txt name='t' value='v'/>\" --config", RECORDS),
    Differs("net-update green add forward-interface \"<interface dev='e7'/>\" --config", WIDER),
    Differs("net-update green delete forward-interface \"<interface dev='e7'/>\" --config", WIDER),
    "net-start green",
    Differs("net-port-create green /run/lab/portbridge.xml", CARRIER),
    Differs("net-define /run/lab/listen.xml", OPTIONS),
    Differs("net-define /run/lab/doctype.xml", DOCTYPE),
    "net-define /run/lab/notes.xml",
    Differs("net-dumpxml notes", NOTES),
    Differs("net-define /run/lab/wider.xml", WIDER),
    "net-create /run/lab/nic.xml",
    Differs("net-port-create nic /run/lab/portnic.xml", CARRIER),
    Differs("net-create /run/lab/functions.xml", FUNCTIONS),
    Differs("net-define /run/lab/function.xml", FUNCTIONS),
)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Give a stock host and one of ours, with the documents on both."""
    reason = libvirtd.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    with Pair() as hosts:
        hosts.files(**DOCUMENTS)
        yield hosts


def test_virsh_is_answered_as_by_libvirt(pair: Pair) -> None:
    """Every command has the same status and text on both hosts, but those marked."""
    wrong = []
    for entry in COMMANDS:
        command = entry if isinstance(entry, str) else entry.command
        stock, ours = pair.ask(command)
        if isinstance(entry, Differs) and stock == ours:
            wrong.append(f"{command}: marked as different, but both say:\n{ours}")
        elif isinstance(entry, str) and stock != ours:
            wrong.append(f"{command}:\n--- libvirt\n{stock}\n--- ours\n{ours}")
    running = (
        *("plain", "red", "two", "half", "six", "known", "vlan", "nic", "functions", "green"),
        "direct",
    )
    for name in running:
        pair.ask(f"net-destroy {name}")
    for name in (
        "long",
        "maybe",
        "green",
        "listen",
        "doctype",
        "notes",
        "wider",
        "function",
        "foreign",
    ):
        pair.ask(f"net-undefine {name}")
    assert not wrong, "\n\n".join(wrong)


def test_the_page_lists_the_differences() -> None:
    """Users read of each deliberate difference, and of no other."""
    text = PAGE.read_text()
    listed = text.partition("## What is different on purpose\n")[2].partition("\n## ")[0]
    rows = {line.removeprefix("- ") for line in listed.splitlines() if line.startswith("- ")}
    marked = {entry.why for entry in COMMANDS if isinstance(entry, Differs)}
    assert marked | EXTRA == rows


def test_read_only_connections_change_nothing(pair: Pair) -> None:
    """What `virsh -r` may see is the same, and what it may not do is refused alike."""
    for command in ("-r net-define /run/lab/red.xml", "-r net-list --all", "-r net-start red"):
        stock, ours = pair.ask(command)
        assert stock == ours, command


def test_net_edit(pair: Pair) -> None:
    """An editor changes a definition: fetched twice, defined once, seen afterwards."""
    pair.ask("net-define /run/lab/red.xml")
    answers = []
    for host in (pair.stock_host, pair.host):
        result = host.run(
            ["sh", "-c", f"virsh -c {URI} net-edit red"],
            env={"EDITOR": "sed -i s/192.168.150.99/192.168.150.90/", "LC_ALL": "C.UTF-8"},
        )
        answers.append(result.stdout)
    assert answers[0] == answers[1]
    stock, ours = pair.ask("net-dumpxml red")
    assert "192.168.150.90" in ours.output
    assert stock == ours
    pair.ask("net-undefine red")


def _follow(host: Host, event: str) -> Callable[[], str]:
    """Start ``virsh net-event`` on a host, wait until it listens, and return what reads it."""
    path = host.file(f"/run/lab/{event}")
    with path.open("w") as output:
        host.start(
            ["stdbuf", "-oL", "virsh", "-c", URI, "net-event", "--loop", "--event", event],
            stdout=output,
            stderr=output,
        )

    def listens() -> bool:
        for command in ("net-define /run/lab/plain.xml", "net-desc plain x", "net-undefine plain"):
            host.run(["virsh", "-q", "-c", URI, *command.split()])
        return "plain" in path.read_text()

    wait_for(listens, 15, "net-event to listen")
    return path.read_text


@pytest.mark.parametrize("event", ["lifecycle", "metadata-change"])
def test_events_come_in_the_same_order(pair: Pair, event: str) -> None:
    """The events of a life, as ``virsh net-event`` prints them."""
    readers = [_follow(host, event) for host in (pair.stock_host, pair.host)]
    for command in (
        "net-define /run/lab/red.xml",
        "net-start red",
        "net-define /run/lab/red2.xml",
        "net-desc red --new-desc hello",
        "net-desc red --title --new-desc hello --config",
        "net-metadata red http://x.example/ --key k --set '<a/>'",
        "net-metadata red http://x.example/ --remove",
        "net-autostart red",
        "net-autostart red --disable",
        "net-update red add ip-dhcp-host /run/lab/host1.xml --live --config",
        "net-port-create red /run/lab/port.xml",
        "net-port-delete red 00000000-0000-0000-0000-00000000004d",
        "net-undefine red",
        "net-destroy red",
        "net-define /run/lab/red.xml",
        "net-create /run/lab/red.xml",
        "net-destroy red",
        "net-undefine red",
        "net-create /run/lab/blue.xml",
        "net-destroy blue",
        "net-define /run/lab/nat.xml",
        "net-desc nat --new-desc end",
        "net-undefine nat",
    ):
        stock, ours = pair.ask(command)
        assert stock == ours, command
    last = {"lifecycle": "network nat: Undefined", "metadata-change": "network nat:"}[event]
    for read in readers:
        wait_for(lambda read=read: last in read(), 10, "the last event")  # type: ignore[misc]
    seen = [
        [line for line in read().splitlines() if "network plain:" not in line] for read in readers
    ]
    assert seen[0] == seen[1]


def test_others_look_but_do_not_change(host: Host, libvirt_daemon: Daemon) -> None:
    """A user who is neither root nor in the group lists networks and defines none."""
    path = libvirt_daemon.document(DOCUMENTS["plain"])
    uri = f"{URI}?socket=/run/libvirt/virtnetworkd-sock"
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "virsh", "-c", uri]
    env = {"HOME": "/tmp", "XDG_RUNTIME_DIR": "/tmp"}
    assert "Name" in host.run([*nobody, "net-list"], env=env).stdout
    refused = host.run([*nobody, "net-define", path], env=env, check=False)
    assert refused.returncode == 1
    assert "access denied: user 65534 may look but not change anything" in refused.stderr


def test_both_doors_show_the_same_network(host: Host, libvirt_daemon: Daemon) -> None:
    """What virsh defines the command line lists, and the other way round."""
    virsh = ["virsh", "-q", "-c", URI]
    host.run([*virsh, "net-define", libvirt_daemon.document(DOCUMENTS["blue"])])
    libvirt_daemon.cli("define", libvirt_daemon.document(DOCUMENTS["plain"]))
    libvirt_daemon.cli("start", "blue")
    assert {"blue", "plain"} == set(
        host.run([*virsh, "net-list", "--all", "--name"]).stdout.split()
    )
    assert {"blue": True, "plain": False} == {
        entry["name"]: entry["active"] for entry in libvirt_daemon.cli("list", json=True)
    }
    host.run([*virsh, "net-port-create", "blue", libvirt_daemon.document(PORT)])
    (port,) = libvirt_daemon.cli("ports", json=True)
    assert "client" == port["realiser"]


def test_a_guests_tap_finds_its_bridge_again(host: Host, libvirt_daemon: Daemon) -> None:
    """A tap that a client made is back after a restart of the network, with its flags."""
    virsh = ["virsh", "-q", "-c", URI]
    host.run([*virsh, "net-create", libvirt_daemon.document(DOCUMENTS["plain"])])
    host.run([*virsh, "net-define", libvirt_daemon.document(_with_uuid(host, "plain"))])
    host.run([*virsh, "net-port-create", "plain", libvirt_daemon.document(PORT)])
    for command in (
        "ip tuntap add vnet0 mode tap",
        "ip link set vnet0 address fe:54:00:7b:35:93 master plain0 up",
        "bridge link set dev vnet0 isolated on",
    ):
        host.run(command.split())
    (port,) = libvirt_daemon.cli("ports", json=True)
    assert ("client", "vnet0") == (port["realiser"], port["device"])
    host.run([*virsh, "net-destroy", "plain"])
    assert "master" not in host.run(["ip", "link", "show", "vnet0"]).stdout
    libvirt_daemon.restart()
    host.run([*virsh, "net-start", "plain"])
    assert "master plain0" in host.run(["ip", "link", "show", "vnet0"]).stdout
    assert "isolated on" in host.run(["bridge", "-d", "link", "show", "dev", "vnet0"]).stdout
    ports = host.run([*virsh, "net-port-list", "plain"]).stdout
    assert "00000000-0000-0000-0000-00000000004d" in ports


def _with_uuid(host: Host, name: str) -> str:
    return host.run(["virsh", "-c", URI, "net-dumpxml", name, "--inactive"]).stdout
