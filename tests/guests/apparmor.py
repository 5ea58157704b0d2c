"""AppArmor in a whole Linux, with dnsmasq's profile as Debian ships it, but enforced."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path

from tests.guests.fullkernel import Site
from tests.guests.machine import ROOT
from tests.lab.packages import Unavailable, unpacked

__all__ = ["Dnsmasq", "skip_reason"]

_ADDITION = ROOT / "packaging/apparmor/usr.sbin.dnsmasq"
_FOLDER = "/run/apparmor.d"
_PROFILE = f"{_FOLDER}/usr.sbin.dnsmasq"


@functools.cache
def skip_reason() -> str | None:
    """Return why there is no AppArmor, or ``None``; fetches its packages if need be."""
    try:
        _root()
    except Unavailable as error:
        return f"no AppArmor: {error}"
    return None


class Dnsmasq:
    """The profile of dnsmasq, enforced in the machine of a site until ``close``."""

    def __init__(self, site: Site) -> None:
        """Load it as it comes."""
        self._site = site
        site.run(
            "mountpoint -q /sys/kernel/security || mount -t securityfs none /sys/kernel/security"
        )
        site.run(f"cp -r {_root()}/etc/apparmor.d {_FOLDER}; sed -i s/complain,// {_PROFILE}")
        self._parse("--add")

    def allow(self) -> None:
        """Add what we ship, with the state directory of the site's daemon."""
        site = f"sed s,/var/lib/jackfield,/run/state, {shlex.quote(str(_ADDITION))}"
        self._site.run(f"{site} >{_FOLDER}/local/usr.sbin.dnsmasq")
        self._parse("--replace")

    def denied(self) -> list[str]:
        """Return what was denied so far, as the kernel logged it."""
        return self._site.run("dmesg | grep 'DENIED.*profile=\"dnsmasq\"' || true").splitlines()

    def close(self) -> None:
        """Unload it."""
        self._parse("--remove")
        self._site.run(f"rm -r {_FOLDER}")

    def _parse(self, act: str) -> None:
        parser = _root() / "usr/sbin/apparmor_parser"
        self._site.run(f"{parser} --base {_FOLDER} --skip-cache {act} {_PROFILE}")


def _root() -> Path:
    return unpacked("apparmor", ("apparmor", "apparmor-profiles"), alone=True)
