"""The kernel's doors of one network namespace, opened once and used on one thread."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jackfield.host.netlink.route import RouteSocket
from jackfield.host.nft.keeper import ConnectionKeeper
from jackfield.host.nft.socket import NftSocket

__all__ = ["Kernel"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What drivers act through: two sockets, and two directories.

    ``run_dir`` holds what dies with a boot, ``state_dir`` what outlives it (DHCP leases).
    ``connections`` is the table that lives as long as the socket ``nft``.
    """

    route: RouteSocket
    nft: NftSocket
    run_dir: Path
    state_dir: Path
    connections: ConnectionKeeper = dataclasses.field(default_factory=ConnectionKeeper)

    @classmethod
    def open(cls, run_dir: Path, state_dir: Path | None = None) -> Kernel:
        """Open the sockets in the calling thread's network namespace.

        ``state_dir`` is a folder of ``run_dir`` unless it is given.
        """
        return cls(
            route=RouteSocket(),
            nft=NftSocket(),
            run_dir=run_dir,
            state_dir=run_dir / "state" if state_dir is None else state_dir,
        )

    def close(self) -> None:
        """Close the sockets."""
        self.route.close()
        self.nft.close()
