"""What to do where the kernel lacks something that is a module of its own."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["missing_module_hint"]

_FOLDERS = (Path("/lib/modules"), Path("/usr/lib/modules"))
_DISABLED = Path("/proc/sys/kernel/modules_disabled")


def missing_module_hint(option: str) -> str:
    """Return what helps where a feature is not there that ``option`` of the kernel's build gives.

    It may be that the kernel can load no modules any more, as after its upgrade.
    """
    release = os.uname().release
    if not any((folder / release).is_dir() for folder in _FOLDERS):
        return (
            f"there is no {_FOLDERS[0] / release}, so the kernel that runs can load no modules: "
            f"if it was upgraded, boot anew; otherwise see its {option} options"
        )
    if _DISABLED.exists() and _DISABLED.read_text().strip() == "1":
        return (
            "the kernel loads no modules any more (kernel.modules_disabled is 1): name what is "
            f"needed in /etc/modules-load.d and boot anew; see the {option} options"
        )
    return f"the kernel may lack what is needed: see its {option} options"
