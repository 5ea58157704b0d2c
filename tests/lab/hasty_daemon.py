"""jackfieldd that stops each network as soon as it has started: ``hasty_daemon.py ARGUMENTS…``.

As it does when the wish to stop arrives together with the news that the network has started.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from jackfield.engine.networks import Networks
    from jackfield.engine.views import NetworkView


def main() -> None:
    """Be that daemon."""
    # The script's own folder must not be where the daemon's imports come from.
    sys.path.pop(0)
    from jackfield import daemon
    from jackfield.engine.networks import Networks

    start, stops = Networks.start, set()

    async def stop_at_once(networks: Networks, network: UUID, lock: asyncio.Lock) -> None:
        # It has a turn in every round of the loop, also in that in which the start ends.
        for held in (True, False):
            while lock.locked() is not held:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await networks.stop(network)

    async def start_and_stop(self: Networks, ref: str | UUID) -> NetworkView:
        record = self._registry.network(ref)
        stops.add(asyncio.create_task(stop_at_once(self, record.uuid, record.lock)))
        return await start(self, ref)

    Networks.start = start_and_stop  # type: ignore[method-assign]
    sys.exit(daemon.main())


if __name__ == "__main__":
    main()
