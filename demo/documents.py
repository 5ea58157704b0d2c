"""The networks of the demo."""

from __future__ import annotations

__all__ = ["DEFAULT", "LAB", "ROUTED"]

DEFAULT = """\
<network>
  <name>default</name>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='off'/>
  <domain name='vm.example' localOnly='yes'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='192.168.122.2' end='192.168.122.254'/>
      <host mac='52:54:00:00:00:01' name='anna' ip='192.168.122.11'/>
      <host mac='52:54:00:00:00:02' name='bert' ip='192.168.122.12'/>
    </dhcp>
  </ip>
</network>
"""

LAB = """\
<network>
  <name>lab</name>
  <bridge name='virbr1' stp='off'/>
  <ip address='10.10.0.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='10.10.0.100' end='10.10.0.199'/>
    </dhcp>
  </ip>
</network>
"""

ROUTED = """\
<network>
  <name>routed</name>
  <forward mode='route' dev='eth0'/>
  <bridge name='virbr2' stp='off'/>
  <ip address='198.51.100.1' prefix='25'>
    <dhcp>
      <range start='198.51.100.10' end='198.51.100.99'/>
    </dhcp>
  </ip>
</network>
"""
