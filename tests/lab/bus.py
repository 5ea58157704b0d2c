"""The system bus of a lab host."""

from __future__ import annotations

from tests.lab.host import Host
from tests.lab.wait import wait_for

__all__ = ["start_bus"]

BUS = "/run/dbus/system_bus_socket"
#: Everybody may do everything, and nothing is started because somebody asks for it.
BUS_CONF = f"""\
<busconfig>
  <type>system</type>
  <listen>unix:path={BUS}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow send_requested_reply="true"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""


def start_bus(host: Host) -> None:
    """Start a bus, which ends with the host."""
    host.file("/run/dbus").mkdir()
    host.file("/run/lab/bus.conf").write_text(BUS_CONF)
    with host.file("/run/lab/bus.log").open("w") as log:
        host.start(
            ["dbus-daemon", "--config-file=/run/lab/bus.conf", "--nofork", "--nopidfile"],
            stdout=log,
            stderr=log,
        )
    wait_for(host.file(BUS).is_socket, 10, "the system bus")
