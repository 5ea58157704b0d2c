"""The driver of sysctls, in a namespace of its own."""

from __future__ import annotations

import dataclasses

import pytest

from jackfield.errors import InternalError, KernelError, NotFound
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.settings import SettingDriver, read_setting
from jackfield.state.settings import Setting
from tests.lab.namespace import NetworkNamespace

FORWARD = Setting(name="net/ipv4/ip_forward", value="1", shared=True)


@pytest.mark.kernel
def test_a_setting_is_written_and_read(kernel: Kernel, here: NetworkNamespace) -> None:
    """The value that is there is told; the wanted one is written; removal changes nothing."""
    driver = SettingDriver()
    before = dataclasses.replace(FORWARD, value=here.sysctl(FORWARD.name))
    expected = {FORWARD.key: Observed(presence=Presence.OURS, resource=before)}
    assert expected == driver.observe(kernel, [FORWARD])
    driver.ensure(kernel, [FORWARD], {FORWARD.key: before})
    assert "1" == here.sysctl(FORWARD.name)
    driver.remove(kernel, [FORWARD])
    assert "1" == here.sysctl(FORWARD.name)
    assert FORWARD == driver.observe(kernel, [FORWARD])[FORWARD.key].resource


@pytest.mark.kernel
def test_a_value_of_several_words(here: NetworkNamespace) -> None:
    """Words are separated by single spaces, whatever the kernel prints."""
    assert "\t" in here.sysctl("net/ipv4/ip_local_port_range")
    assert here.sysctl("net/ipv4/ip_local_port_range").replace("\t", " ") == read_setting(
        "net/ipv4/ip_local_port_range"
    )


@pytest.mark.kernel
def test_a_missing_setting(kernel: Kernel) -> None:
    """A sysctl that does not exist is absent, and an error to set."""
    wanted = Setting(name="net/ipv6/conf/none/accept_ra", value="0")
    assert {wanted.key: ABSENT} == SettingDriver().observe(kernel, [wanted])
    with pytest.raises(NotFound, match="net/ipv6/conf/none/accept_ra"):
        SettingDriver().ensure(kernel, [wanted], {})


@pytest.mark.kernel
def test_a_refused_value(kernel: Kernel) -> None:
    """A value that the kernel refuses is an error with its errno."""
    wanted = Setting(name="net/ipv4/ip_forward", value="many")
    with pytest.raises(KernelError, match="cannot set net/ipv4/ip_forward to many: EINVAL"):
        SettingDriver().ensure(kernel, [wanted], {})


@pytest.mark.parametrize(
    "name",
    [
        "kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net/ipv4/./ip_forward",
        "net/ipv4/",
        "net",
        "/net/ipv4/ip_forward",
        "net//ip_forward",
        "net/ipv4/ip_forward\n",
        "net/ipv4/conf/a b/x",
        "",
    ],
)
def test_no_other_file_is_reached(name: str) -> None:
    """Only names below net/, without any way up, lead to a file."""
    with pytest.raises(InternalError, match="is not the name of a network sysctl"):
        read_setting(name)
