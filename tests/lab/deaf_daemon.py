"""jackfieldd with hardly any room for what the kernel tells: ``deaf_daemon.py ARGUMENTS…``.

A few changes of the host's network while it does not read are more than it can hold, as some ten
thousand are elsewhere.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Be that daemon."""
    # The script's own folder must not be where the daemon's imports come from.
    sys.path.pop(0)
    from jackfield import daemon
    from jackfield.host.mirror import Mirror

    defaults = Mirror.__init__.__kwdefaults__
    assert defaults is not None
    defaults["receive_buffer"] = 4096
    sys.exit(daemon.main())


if __name__ == "__main__":
    main()
