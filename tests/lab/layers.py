"""Layers over a lab host's files: what is unpacked elsewhere is there as if it were installed."""

from __future__ import annotations

from pathlib import Path

from tests.lab.host import Host

__all__ = ["lay_over"]


def lay_over(host: Host, root: Path | None, writable: Path | None = None) -> None:
    """Mount the unpacked packages in ``root`` over the host's /usr, /etc and /var.

    Without any there is only room to write, in ``writable``, or on the host's own /run.
    """
    upper = Path("/run/lab/layers") if writable is None else writable
    commands = ["set -e"]
    for name in ("usr", "etc", "var"):
        over, work = upper / name, upper / f"{name}.work"
        commands.append(f"mkdir -p {over} {work}")
        lower = f"/{name}"
        if root is not None and (root / name).is_dir():
            lower = f"{root / name}:{lower}"
        options = f"lowerdir={lower},upperdir={over},workdir={work}"
        commands.append(f"mount -t overlay -o {options} overlay /{name}")
    # Hidden by the new /etc where it was.
    commands.append("mount --bind /run/lab/resolv.conf $(realpath /etc/resolv.conf)")
    host.run(["sh", "-c", "\n".join(commands)])
