"""A program of python3-libvirt's with a QEMU driver of its own (``qemu:///embed``).

``qemu_driver.py ROOT``, run by the system's Python on a lab host: takes a command a line, and
answers each with a line of JSON.

- ``start FILE``: start the domain in the file; answers with its live document.
- ``attach NAME FILE``: plug the device in the file in; answers with the live document.
- ``limit NAME MAC WORDS``: set the limits of an interface, each word like ``inbound.floor=100``;
  answers with the live document.
- ``show NAME``: answers with the live document.
- ``end``: destroy every domain.

The end of its input ends the program, and leaves domains running: the next one finds them.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import libvirt  # type: ignore[import-not-found]


def run_events() -> None:
    """Run libvirt's event loop in the background; the driver needs it to hear its QEMUs."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def turn() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=turn, daemon=True).start()


def hear_the_kernel() -> None:
    """Do what libvirt's daemons do at their start and the embedded driver does not.

    Without, it falls over its own feet when it removes a macvtap (libvirt 11.3).
    """
    library = ctypes.CDLL("libvirt.so.0")
    library.virNetlinkEventServiceStart(0, 0)  # NETLINK_ROUTE, no groups


def obey(connection: Any, words: list[str]) -> str:
    """Do one command; return its answer."""
    if words[0] == "start":
        return str(connection.createXML(Path(words[1]).read_text()).XMLDesc())
    if words[0] == "attach":
        domain = connection.lookupByName(words[1])
        domain.attachDeviceFlags(Path(words[2]).read_text(), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        return str(domain.XMLDesc())
    if words[0] == "limit":
        domain = connection.lookupByName(words[1])
        limits = {
            name: int(value) for name, _, value in (word.partition("=") for word in words[3:])
        }
        domain.setInterfaceParameters(words[2], limits, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        return str(domain.XMLDesc())
    if words[0] == "show":
        return str(connection.lookupByName(words[1]).XMLDesc())
    for domain in connection.listAllDomains():
        domain.destroy()
    return ""


def main() -> None:
    """Open the driver and obey."""
    run_events()
    hear_the_kernel()
    connection = libvirt.open(f"qemu:///embed?root={sys.argv[1]}")
    for line in sys.stdin:
        try:
            answer = {"answer": obey(connection, line.split())}
        except libvirt.libvirtError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    # As a daemon that is killed: closing the connection might tidy up.
    os._exit(0)


if __name__ == "__main__":
    main()
