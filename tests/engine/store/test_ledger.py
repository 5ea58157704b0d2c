"""The ledger of shared sysctls, on a kernel that is a dictionary."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest

from jackfield.engine.store import ledger
from jackfield.engine.store.rows import SettingRow
from jackfield.engine.store.tables import Store
from jackfield.errors import KernelError
from jackfield.host.applier import Applier
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.model.uplink import PciAddress
from jackfield.state.functions import FunctionAspect, FunctionSetting
from jackfield.state.settings import Setting

RED, BLUE = UUID(int=1), UUID(int=2)
NAME = "net/ipv4/ip_forward"
WANTED = Setting(name=NAME, value="1", shared=True)
OWN = Setting(name="net/ipv6/conf/virbr0/accept_ra", value="0")


class FakeSettings:
    """A driver of settings that are not the kernel's."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self.written: list[tuple[str, str]] = []

    def observe(
        self, _: Kernel, resources: Sequence[Setting], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        assert not claimed
        return {
            item.key: Observed(
                presence=Presence.OURS,
                resource=Setting(name=item.name, value=self.values[item.name], shared=item.shared),
            )
            if item.name in self.values
            else ABSENT
            for item in resources
        }

    def ensure(
        self, _: Kernel, resources: Sequence[Setting], replaced: Mapping[str, Setting]
    ) -> None:
        assert not replaced
        for item in resources:
            self.values[item.name] = item.value
            self.written.append((item.name, item.value))

    def remove(self, _: Kernel, resources: Sequence[Setting]) -> None:
        raise AssertionError(f"nobody removes {resources}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give an empty store."""
    opened = Store(tmp_path / "jackfield.db")
    yield opened
    opened.close()


@pytest.fixture
def host() -> FakeSettings:
    """Give a host that does not forward."""
    return FakeSettings({NAME: "0"})


@pytest.fixture
def applier(host: FakeSettings) -> Applier:
    """Give an applier of settings."""
    return Applier(cast("Kernel", None), {"setting": host})


def acquire(store: Store, applier: Applier, host: FakeSettings, network: UUID) -> None:
    """Do what the start of a network does."""
    with store.transaction():
        ledger.acquire(store, applier, network, [WANTED, OWN])
    host.values[NAME] = "1"


def test_the_last_user_puts_it_back(store: Store, applier: Applier, host: FakeSettings) -> None:
    """The value before the first user comes back with the last one, and nothing stays behind."""
    acquire(store, applier, host, RED)
    acquire(store, applier, host, BLUE)
    ledger.release(store, applier, RED)
    assert [] == host.written
    ledger.release(store, applier, BLUE)
    assert [(NAME, "0")] == host.written
    assert store.setting(NAME) is None
    assert not store.setting_has_users(NAME)


def test_somebody_elses_value_stays(store: Store, applier: Applier, host: FakeSettings) -> None:
    """What is not ours any more is not put back."""
    acquire(store, applier, host, RED)
    host.values[NAME] = "2"
    ledger.release(store, applier, RED)
    assert [] == host.written
    assert store.setting(NAME) is None


def test_releasing_twice_does_no_harm(store: Store, applier: Applier, host: FakeSettings) -> None:
    """A crash between putting back and forgetting repeats the release."""
    acquire(store, applier, host, RED)
    host.values[NAME] = "0"
    ledger.release(store, applier, RED)
    ledger.release(store, applier, RED)
    assert [] == host.written
    assert store.setting(NAME) is None


def test_what_is_still_wanted_is_kept(store: Store, applier: Applier, host: FakeSettings) -> None:
    """A change releases only what the new definition does not want."""
    acquire(store, applier, host, RED)
    ledger.release(store, applier, RED, [WANTED])
    assert [NAME] == store.settings_of(RED)
    assert not store.setting_has_users(NAME, besides=RED)
    assert "1" == host.values[NAME]


def test_acquiring_again_keeps_the_first_value(
    store: Store, applier: Applier, host: FakeSettings
) -> None:
    """The value before us is that before the first user, however often one acquires."""
    acquire(store, applier, host, RED)
    acquire(store, applier, host, RED)
    assert SettingRow("0", "1") == store.setting(NAME)


def test_another_value_of_ours_is_ours(store: Store, applier: Applier, host: FakeSettings) -> None:
    """What a change gives a setting is put back as what it replaced would have been."""
    acquire(store, applier, host, RED)
    other = Setting(name=NAME, value="2", shared=True)
    with store.transaction():
        ledger.acquire(store, applier, RED, [other])
    host.values[NAME] = "2"
    ledger.release(store, applier, RED)
    assert [(NAME, "0")] == host.written


def test_a_link_s_own_setting_is_not_in_the_ledger(
    store: Store, applier: Applier, host: FakeSettings
) -> None:
    """Settings of our own links go with the links."""
    acquire(store, applier, host, RED)
    assert [NAME] == store.settings_of(RED)


class FakeFunctions:
    """A driver of virtual functions that are not the kernel's; ``broken`` cannot be set."""

    def __init__(self, values: dict[FunctionAspect, str]) -> None:
        self.values = values
        self.written: list[FunctionAspect] = []
        self.broken: FunctionAspect | None = None

    def observe(
        self, _: Kernel, resources: Sequence[FunctionSetting], claimed: Collection[str] = ()
    ) -> dict[str, Observed]:
        assert not claimed
        return {
            item.key: Observed(presence=Presence.OURS, resource=aspect(item.aspect, self.values))
            for item in resources
        }

    def ensure(
        self,
        _: Kernel,
        resources: Sequence[FunctionSetting],
        replaced: Mapping[str, FunctionSetting],
    ) -> None:
        assert not replaced
        for item in resources:
            if item.aspect is self.broken:
                raise KernelError("cannot", errno=5)
            self.values[item.aspect] = item.value
            self.written.append(item.aspect)

    def remove(self, _: Kernel, resources: Sequence[FunctionSetting]) -> None:
        raise AssertionError(f"nobody removes {resources}")


def aspect(which: FunctionAspect, values: Mapping[FunctionAspect, str]) -> FunctionSetting:
    """Return one aspect with its value among ``values``."""
    return FunctionSetting(address=PciAddress.of(bus=1, slot=16), aspect=which, value=values[which])


BEFORE = {
    FunctionAspect.DRIVER: "igbvf",
    FunctionAspect.OVERRIDE: "",
    FunctionAspect.MAC: "00:00:00:00:00:00",
}
OURS = {
    FunctionAspect.DRIVER: "vfio-pci",
    FunctionAspect.OVERRIDE: "vfio-pci",
    FunctionAspect.MAC: "52:54:00:00:00:01",
}


@pytest.fixture
def functions(store: Store) -> tuple[FakeFunctions, Applier]:
    """Give a function whose aspects are recorded and set."""
    fake = FakeFunctions(dict(BEFORE))
    applier = Applier(cast("Kernel", None), {"function-setting": fake})
    with store.transaction():
        ledger.acquire(store, applier, RED, [aspect(one, OURS) for one in OURS])
    fake.values.update(OURS)
    return fake, applier


def test_a_function_is_put_back_in_order(
    store: Store, functions: tuple[FakeFunctions, Applier]
) -> None:
    """It must be free to take its driver before it is given back to it, which reads the rest."""
    fake, applier = functions
    ledger.release(store, applier, RED)
    assert BEFORE == fake.values
    assert [
        FunctionAspect.OVERRIDE,
        FunctionAspect.MAC,
        FunctionAspect.DRIVER,
    ] == fake.written


def test_a_function_between_two_drivers_is_ours(
    store: Store, functions: tuple[FakeFunctions, Applier]
) -> None:
    """A crash may come between taking it from one and giving it to the other."""
    fake, applier = functions
    fake.values[FunctionAspect.DRIVER] = ""
    # This one is somebody else's by now.
    fake.values[FunctionAspect.MAC] = "02:00:00:00:00:01"
    ledger.release(store, applier, RED)
    assert BEFORE | {FunctionAspect.MAC: "02:00:00:00:00:01"} == fake.values


def test_one_failure_does_not_stop_the_others(
    store: Store, functions: tuple[FakeFunctions, Applier]
) -> None:
    """All else is put back, the failure is told, and what is left is put back later."""
    fake, applier = functions
    fake.broken = FunctionAspect.OVERRIDE
    with pytest.raises(KernelError):
        ledger.release(store, applier, RED)
    assert BEFORE | {FunctionAspect.OVERRIDE: "vfio-pci"} == fake.values
    fake.broken = None
    ledger.release(store, applier, RED)
    assert BEFORE == fake.values
