"""A program of python3-libvirt's, run by the system's Python on a lab host; prints JSON.

``libvirt_client.py life URI``: the life of a network ``red``, which must not be there before.
``libvirt_client.py watch URI``: say ``ready``, wait for the end of the connection, and connect
again.
``libvirt_client.py leases URI``: the DHCP leases of ``red``.
``libvirt_client.py port URI``: a port of ``red``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import libvirt  # type: ignore[import-not-found]

RED = """<network><name>red</name><bridge name='red0' stp='off'/>
<ip address='192.168.150.1' netmask='255.255.255.0'>
<dhcp><range start='192.168.150.10' end='192.168.150.99'/></dhcp></ip></network>"""
HOST = "<host mac='52:54:00:00:00:01' ip='192.168.150.5'/>"
PORT_UUID = "00000000-0000-0000-0000-00000000004d"
PORT = f"""<networkport><uuid>{PORT_UUID}</uuid>
<owner><name>guest</name><uuid>00000000-0000-0000-0000-000000000005</uuid></owner>
<mac address='52:54:00:7b:35:93'/>
<bandwidth><inbound average='100' peak='200'/></bandwidth></networkport>"""


def run_events() -> None:
    """Run libvirt's event loop in the background."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def turn() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=turn, daemon=True).start()


def refusal(call: Any, *arguments: object) -> list[object]:
    """Return code, domain, text and second string of the error that a call gives."""
    try:
        call(*arguments)
    except libvirt.libvirtError as error:
        return [
            error.get_error_code(),
            error.get_error_domain(),
            error.get_error_message(),
            error.get_str2(),
        ]
    return []


def wait_for(condition: Any, what: str) -> None:
    """Wait until ``condition()`` holds."""
    end = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.01)


def life(uri: str) -> dict[str, object]:
    """Return what was seen of a network's life."""
    found: dict[str, Any] = {}
    events: list[list[Any]] = []
    conn = libvirt.open(uri)
    found["keepalive"] = conn.setKeepAlive(1, 3)
    conn.networkEventRegisterAny(
        None, 0, lambda _c, net, event, _d, _o: events.append([net.name(), event]), None
    )
    found["missing"] = refusal(conn.networkLookupByName, "red")
    net = conn.networkDefineXML(RED)
    found["uuid"] = net.UUIDString() == conn.networkLookupByName("red").UUIDString()
    found["defined"] = [conn.listDefinedNetworks(), conn.numOfDefinedNetworks()]
    net.create()
    found["twice"] = refusal(net.create)
    found["active"] = [conn.listNetworks(), conn.numOfNetworks(), net.isActive()]
    found["all"] = [item.name() for item in conn.listAllNetworks()]
    found["filtered"] = [
        len(conn.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_INACTIVE)),
        len(conn.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_PERSISTENT)),
    ]
    net.setAutostart(1)
    found["autostart"] = net.autostart()
    found["bridge"] = net.bridgeName()
    net.update(
        libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
        libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
        -1,
        HOST,
        libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE | libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG,
    )
    found["updated"] = [HOST in net.XMLDesc(flag) for flag in (0, 1)]
    port = net.portCreateXML(PORT)
    found["ports"] = [item.UUIDString() for item in net.listAllPorts()]
    found["parameters"] = port.paramters() if hasattr(port, "paramters") else port.parameters()
    port.setParameters({"inbound.average": 77, "inbound.peak": 88})
    found["limited"] = "<inbound average='77' peak='88'/>" in port.XMLDesc()
    found["connections"] = "<network connections='1'>" in net.XMLDesc()
    found["plug"] = "<plug type='network' bridge='red0'/>" in port.XMLDesc()
    port.delete()
    # More than fits into a parameter, but not into a document.
    port = net.portCreateXML(PORT.replace("average='100' peak='200'", "average='99999999999'"))
    shown = port.paramters() if hasattr(port, "paramters") else port.parameters()
    # Python's binding takes it for a number with a sign.
    found["most"] = shown["inbound.average"] % 2**32
    port.delete()
    elsewhere = PORT.replace("</networkport>", "<plug type='direct' dev='lo' mode='vepa'/>")
    found["elsewhere"] = refusal(
        net.portCreateXML,
        f"{elsewhere}</networkport>",
        libvirt.VIR_NETWORK_PORT_CREATE_RECLAIM,
    )
    found["gone"] = refusal(net.portLookupByUUIDString, PORT_UUID)
    found["leases"] = net.DHCPLeases()
    # Longer than the client waits for an answer to its pings.
    time.sleep(4.5)
    found["alive"] = conn.isAlive()
    net.destroy()
    net.undefine()
    wait_for(lambda: ["red", 1] in events, "the last event")
    found["events"] = events
    conn.close()
    return found


def watch(uri: str) -> dict[str, object]:
    """Return why the connection ended, and what is there after it is back."""
    reasons: list[int] = []
    conn = libvirt.open(uri)
    conn.registerCloseCallback(lambda _c, reason, _o: reasons.append(reason), None)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    wait_for(lambda: reasons, "the end of the connection")

    again: list[Any] = []

    def opened() -> bool:
        try:
            again.append(libvirt.open(uri))
        except libvirt.libvirtError:
            return False
        return True

    wait_for(opened, "the daemon to be back")
    net = again[0].networkLookupByName("red")
    return {
        "reasons": reasons,
        "alive": conn.isAlive(),
        "active": net.isActive(),
        "ports": [port.UUIDString() for port in net.listAllPorts()],
    }


def leases(uri: str) -> dict[str, object]:
    """Return the leases of the network red, and those of an address that has none."""
    net = libvirt.open(uri).networkLookupByName("red")
    return {"all": net.DHCPLeases(), "none": net.DHCPLeases("52:54:00:ff:ff:ff")}


def port(uri: str) -> dict[str, object]:
    """Make a port of the network red and return the document that came of it."""
    net = libvirt.open(uri).networkLookupByName("red")
    return {"xml": net.portCreateXML(PORT).XMLDesc()}


if __name__ == "__main__":
    run_events()
    job = {"life": life, "watch": watch, "leases": leases, "port": port}[sys.argv[1]]
    sys.stdout.write(json.dumps(job(sys.argv[2])) + "\n")
