"""The daemon's configuration: a TOML file, and what the command line says over it."""

from __future__ import annotations

import dataclasses
import grp
import ipaddress
import pwd
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from jackfield.errors import ConfigurationError

__all__ = ["DEFAULT_PATH", "KEYS", "Config", "TlsConfig", "load"]

DEFAULT_PATH = Path("/etc/jackfield/jackfieldd.toml")

_TLS_PORT = 16514
_LISTEN = re.compile(
    r"(?:\[(?P<six>[^\]]*)\]|(?P<four>[^:\[\]]*))(?::(?P<port>\d{1,5}))?|(?P<bare>[0-9a-fA-F:.]+)"
)

_DEFAULT_GROUP = "jackfield"
_DNSMASQ_USERS = ("dnsmasq", "nobody")
# Debian's package vde2 makes the first.
_VDE_USERS = ("vde2-net", "nobody")


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys of the file, with their types."""

    run_dir: str = "/run/jackfield"
    state_dir: str = "/var/lib/jackfield"
    group: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    autostart: bool = True
    dnsmasq_user: str | None = None
    vde_user: str | None = None
    libvirt_socket: str | None = None
    libvirt_socket_ro: str | None = None
    openvswitch_socket: str | None = None
    hooks_dir: str = "/etc/libvirt/hooks"
    hook_timeout: Annotated[float, msgspec.Meta(gt=0)] = 30
    take_managed_uplinks: bool = False
    gateway_timeout: Annotated[float, msgspec.Meta(ge=0)] = 10
    switch_timeout: Annotated[float, msgspec.Meta(gt=0)] = 10
    libvirt_tls: str | None = None
    tls_ca_file: str = "/etc/pki/CA/cacert.pem"
    tls_crl_file: str = "/etc/pki/CA/cacrl.pem"
    tls_cert_file: str = "/etc/pki/libvirt/servercert.pem"
    tls_key_file: str = "/etc/pki/libvirt/private/serverkey.pem"
    tls_allowed_dn_list: tuple[str, ...] | None = None
    virtual_functions: dict[str, Annotated[int, msgspec.Meta(gt=0)]] = {}


KEYS = _File.__struct_fields__
"""Every key the file may hold."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Where clients connect with TLS, and what they are checked by.

    ``address`` ``*`` is every address; the list of certificates that were revoked may be missing.
    ``allowed`` are patterns of distinguished names, ``None`` for every signed certificate.
    """

    address: str
    port: int
    ca_file: Path
    crl_file: Path
    cert_file: Path
    key_file: Path
    allowed: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The daemon's settings, with names resolved.

    ``run_dir`` holds the sockets and what dies with a boot, ``state_dir`` the database.
    ``group`` is the numeric group whose members may change things besides root, ``None`` for
    nobody; ``vde_user`` is the numeric user of VDE switches.  ``autostart`` says whether networks
    marked so are started with the host.  ``libvirt_socket`` and ``libvirt_socket_ro`` are where
    libvirt's clients connect, ``None`` for ``libvirt-sock`` and ``libvirt-sock-ro`` in
    ``run_dir``.  ``openvswitch_socket`` is where Open vSwitch's database listens, ``None`` for the
    usual place.  ``hooks_dir`` is where the administrator's scripts are, each of which may take
    ``hook_timeout`` seconds.
    With ``take_managed_uplinks`` bridges are made over uplinks that another program configures;
    a gateway that answered before must do so again within ``gateway_timeout`` seconds, unless
    that is 0.  A switch that ports are to be associated with (802.1Qbg) must have taken one in
    within ``switch_timeout`` seconds.
    Without ``tls`` nobody can connect from elsewhere.  ``virtual_functions`` says how many of them
    are made of a card, by the name of its link, when a network wants some; of others none are.
    """

    run_dir: Path = Path("/run/jackfield")
    state_dir: Path = Path("/var/lib/jackfield")
    group: int | None = None
    log_level: str = "info"
    autostart: bool = True
    dnsmasq_user: str = "nobody"
    vde_user: int = 65534
    libvirt_socket: Path | None = None
    libvirt_socket_ro: Path | None = None
    openvswitch_socket: Path | None = None
    hooks_dir: Path = Path("/etc/libvirt/hooks")
    hook_timeout: float = 30
    take_managed_uplinks: bool = False
    gateway_timeout: float = 10
    switch_timeout: float = 10
    tls: TlsConfig | None = None
    virtual_functions: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def libvirt_path(self) -> Path:
        """Where libvirt's clients connect."""
        return self.libvirt_socket or self.run_dir / "libvirt-sock"

    @property
    def libvirt_ro_path(self) -> Path:
        """Where libvirt's clients connect that change nothing."""
        return self.libvirt_socket_ro or self.run_dir / "libvirt-sock-ro"


def load(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> Config:
    """Return the configuration of the file ``path``, with ``overrides`` winning over it.

    Without ``path`` the default file is read, if there is one.  An override of ``None`` says
    nothing.  Raises ``ConfigurationError``, which names the file and the key.
    """
    source = DEFAULT_PATH if path is None else path
    values = _read(source, required=path is not None)
    unknown = sorted(set(values) - set(KEYS))
    if unknown:
        raise ConfigurationError(
            f"{source}: unknown key {unknown[0]!r}", hint=f"the keys are {', '.join(KEYS)}"
        )
    try:
        file = msgspec.convert(values, _File)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{source}: {error}") from error
    said = {key: value for key, value in (overrides or {}).items() if value is not None}
    try:
        file = msgspec.convert({**msgspec.structs.asdict(file), **said}, _File)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"command line: {error}") from error
    return Config(
        run_dir=_absolute("run_dir", file.run_dir),
        state_dir=_absolute("state_dir", file.state_dir),
        group=_group(file.group),
        log_level=file.log_level,
        autostart=file.autostart,
        dnsmasq_user=_helper_user("dnsmasq", file.dnsmasq_user, _DNSMASQ_USERS).pw_name,
        vde_user=_helper_user("vde", file.vde_user, _VDE_USERS).pw_uid,
        libvirt_socket=_optional("libvirt_socket", file.libvirt_socket),
        libvirt_socket_ro=_optional("libvirt_socket_ro", file.libvirt_socket_ro),
        openvswitch_socket=_optional("openvswitch_socket", file.openvswitch_socket),
        hooks_dir=_absolute("hooks_dir", file.hooks_dir),
        hook_timeout=file.hook_timeout,
        take_managed_uplinks=file.take_managed_uplinks,
        gateway_timeout=file.gateway_timeout,
        switch_timeout=file.switch_timeout,
        tls=None if file.libvirt_tls is None else _tls(file.libvirt_tls, file),
        virtual_functions=file.virtual_functions,
    )


def _read(path: Path, *, required: bool) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not required:
            return {}
        raise ConfigurationError(f"configuration file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read configuration file {path}: {error}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _absolute(key: str, text: str) -> Path:
    """Return the directory ``text``, made absolute: the daemon may change its own later."""
    if not text or "\0" in text:
        raise ConfigurationError(f"{key} must be a directory's path, not {text!r}")
    return Path(text).absolute()


def _optional(key: str, text: str | None) -> Path | None:
    return None if text is None else _absolute(key, text)


def _tls(text: str, file: _File) -> TlsConfig:
    """Return what ``ADDRESS``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT`` and the files say."""
    match = _LISTEN.fullmatch(text)
    port = int(match["port"] or _TLS_PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise ConfigurationError(
            f"libvirt_tls is {text!r}, and must be an address, with :PORT where it is not "
            f"{_TLS_PORT}",
            hint="for example '*', '192.0.2.1' or '[2001:db8::1]:16514'",
        )
    address = match["six"] or match["bare"] or match["four"]
    if address != "*":
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise ConfigurationError(f"libvirt_tls: {error}") from error
    return TlsConfig(
        address=address,
        port=port,
        ca_file=_absolute("tls_ca_file", file.tls_ca_file),
        crl_file=_absolute("tls_crl_file", file.tls_crl_file),
        cert_file=_absolute("tls_cert_file", file.tls_cert_file),
        key_file=_absolute("tls_key_file", file.tls_key_file),
        allowed=file.tls_allowed_dn_list,
    )


def _group(name: str | None) -> int | None:
    """Return the number of group ``name``; only the default one may be missing."""
    try:
        return grp.getgrnam(_DEFAULT_GROUP if name is None else name).gr_gid
    except KeyError:
        if name is None:
            return None
        raise ConfigurationError(
            f"group {name!r} does not exist", hint=f"make it with: groupadd --system {name}"
        ) from None


def _helper_user(program: str, name: str | None, usual: tuple[str, ...]) -> pwd.struct_passwd:
    """Return the user that ``program`` runs as: the one named, or the first usual one there is."""
    candidates = usual if name is None else (name,)
    for candidate in candidates:
        try:
            return pwd.getpwnam(candidate)
        except KeyError:
            continue
    raise ConfigurationError(
        f"user {candidates[0]!r} for {program} does not exist",
        hint=f"name an existing one with the key {program}_user",
    )
