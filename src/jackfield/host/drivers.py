"""Every driver, by the kind of resource it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jackfield.host.addresses import AddressDriver, RouteDriver
from jackfield.host.bridge import BridgeDriver
from jackfield.host.dnsmasq.driver import DnsmasqDriver
from jackfield.host.driver import Driver, Records
from jackfield.host.guarantee import GuaranteeDriver
from jackfield.host.linksettings import LinkSettingDriver
from jackfield.host.macvlan import MacvlanDriver
from jackfield.host.macvtap import MacvtapDriver, TapNodeDriver
from jackfield.host.membership import BridgePortDriver, LinkUpDriver
from jackfield.host.nft.bpdu import BpduGuardDriver
from jackfield.host.nft.driver import RulesDriver
from jackfield.host.nft.echo import EchoGuardDriver
from jackfield.host.nft.guarddriver import PortGuardDriver
from jackfield.host.nft.policing import PolicingDriver
from jackfield.host.nft.private import PrivateGuardDriver
from jackfield.host.openvswitch.bridge import OvsBridgeDriver
from jackfield.host.openvswitch.database import Database
from jackfield.host.openvswitch.port import OvsPortDriver
from jackfield.host.service.driver import ServiceDriver
from jackfield.host.settings import SettingDriver
from jackfield.host.shaping import ShapingDriver
from jackfield.host.sriov.addresses import OwnAddressDriver
from jackfield.host.sriov.count import FunctionCountDriver
from jackfield.host.sriov.settings import FunctionSettingDriver
from jackfield.host.tap import TapDriver
from jackfield.host.uplink import UplinkDriver
from jackfield.host.vde.driver import VdeSwitchDriver
from jackfield.host.vdp.driver import SwitchAssociationDriver
from jackfield.host.vdp.lldpad import Lldpad
from jackfield.host.veth import VethDriver
from jackfield.host.vlans import UplinkVlanDriver, VlanFilteringDriver

__all__ = ["make_drivers", "make_service_drivers"]


def make_service_drivers(dnsmasq: DnsmasqDriver) -> dict[str, ServiceDriver[Any, Any]]:
    """Return the drivers of helper processes; they remember what they have started.

    The first of them to be prepared starts nothing, so it finds what is missing before others do.
    """
    return {"vde-switch": VdeSwitchDriver(), "dnsmasq": dnsmasq}


def make_drivers(
    services: Mapping[str, ServiceDriver[Any, Any]], openvswitch: Database, records: Records
) -> dict[str, Driver[Any]]:
    """Return drivers for one kernel, which remember what they have seen of it, and ``services``.

    In ``records`` they keep what outlives them.
    """
    return {
        "bridge": BridgeDriver(),
        "tap": TapDriver(),
        "veth": VethDriver(),
        "macvtap": MacvtapDriver(),
        "macvlan": MacvlanDriver(),
        "tap-node": TapNodeDriver(),
        "setting": SettingDriver(),
        "link-setting": LinkSettingDriver(),
        "function-count": FunctionCountDriver(),
        "function-setting": FunctionSettingDriver(),
        "own-address": OwnAddressDriver(),
        "address": AddressDriver(),
        "rules": RulesDriver(),
        "port-guard": PortGuardDriver(),
        "up": LinkUpDriver(),
        "bpdu-guard": BpduGuardDriver(),
        "echo-guard": EchoGuardDriver(),
        "private-guard": PrivateGuardDriver(),
        "uplink": UplinkDriver(records),
        "vlan-filtering": VlanFilteringDriver(),
        "uplink-vlan": UplinkVlanDriver(),
        "bridge-port": BridgePortDriver(),
        "ovs-bridge": OvsBridgeDriver(openvswitch),
        "ovs-port": OvsPortDriver(openvswitch),
        "route": RouteDriver(),
        "shaping": ShapingDriver(),
        "guarantee": GuaranteeDriver(),
        "policing": PolicingDriver(),
        "switch-association": SwitchAssociationDriver(Lldpad()),
        **services,
    }
