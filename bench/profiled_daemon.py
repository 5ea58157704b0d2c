"""jackfieldd under cProfile, every thread of it: ``python -m bench.profiled_daemon FILE …``.

The profile (``pstats``) is written to ``FILE`` when the daemon ends in order; the other arguments
are the daemon's own.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import threading

from jackfield import daemon


def main() -> int:
    """Run the daemon and write what its threads did, added up."""
    profiles: list[cProfile.Profile] = []

    def follow(*_: object) -> None:
        # Called for the first event of a new thread; the profile takes over from there.
        profile = cProfile.Profile()
        try:
            profile.enable()
        except ValueError:
            # Since Python 3.12 the first one follows every thread.
            return
        profiles.append(profile)

    threading.setprofile(follow)
    follow()
    try:
        return daemon.main(sys.argv[2:])
    finally:
        threading.setprofile(None)
        total = pstats.Stats(profiles[0])
        for profile in profiles[1:]:
            total.add(profile)
        total.dump_stats(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
