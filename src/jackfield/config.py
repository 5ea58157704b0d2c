"""The daemon's configuration: a TOML file, and what the command line says over it."""

from __future__ import annotations

import dataclasses
import difflib
import grp
import ipaddress
import json
import pwd
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from jackfield.errors import ConfigurationError, shell_word

__all__ = ["DEFAULT_PATH", "KEYS", "Config", "TlsConfig", "load"]

DEFAULT_PATH = Path("/etc/jackfield/jackfieldd.toml")

_TLS_PORT = 16514
_LONGEST = 60  # characters of a value, in an error
_LISTEN = re.compile(
    r"(?:\[(?P<six>[^\]]*)\]|(?P<four>[^:\[\]]*))(?::(?P<port>\d{1,5}))?|(?P<bare>[0-9a-fA-F:.]+)"
)

_DEFAULT_GROUP = "jackfield"
_DNSMASQ_USERS = ("dnsmasq", "nobody")
# Debian's package vde2 makes the first.
_VDE_USERS = ("vde2-net", "nobody")


# Not empty, and without what the kernel takes for the end.
_Text = Annotated[str, msgspec.Meta(pattern=r"\A[^\0]+\Z")]
# A day is more than anybody waits for, and less than the event loop can.
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys of the file, with their types."""

    run_dir: _Text = "/run/jackfield"
    state_dir: _Text = "/var/lib/jackfield"
    group: _Text | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    autostart: bool = True
    dnsmasq_user: _Text | None = None
    vde_user: _Text | None = None
    libvirt_socket: _Text | None = None
    libvirt_socket_ro: _Text | None = None
    openvswitch_socket: _Text | None = None
    hooks_dir: _Text = "/etc/libvirt/hooks"
    hook_timeout: _Seconds = 30
    take_managed_uplinks: bool = False
    gateway_timeout: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 10
    switch_timeout: _Seconds = 10
    libvirt_tls: _Text | None = None
    tls_ca_file: _Text = "/etc/pki/CA/cacert.pem"
    tls_crl_file: _Text = "/etc/pki/CA/cacrl.pem"
    tls_cert_file: _Text = "/etc/pki/libvirt/servercert.pem"
    tls_key_file: _Text = "/etc/pki/libvirt/private/serverkey.pem"
    tls_allowed_dn_list: tuple[str, ...] | None = None
    virtual_functions: dict[str, Annotated[int, msgspec.Meta(gt=0)]] = {}


KEYS = _File.__struct_fields__
"""Every key the file may hold."""

_SWITCH = "true or false, without quotes"
_DIRECTORY = "the path of a directory, in quotes"
_FILE = "the path of a file, in quotes"
_SOCKET = "the path of a socket, in quotes"
_USER = "the name of a user, in quotes"
_SECONDS = "a number of seconds above 0, at most 86400"

# What an error says that a value must be, and a line that would be right.
_EXPECTED: Mapping[str, tuple[str, str]] = {
    "run_dir": (_DIRECTORY, '"/run/jackfield"'),
    "state_dir": (_DIRECTORY, '"/var/lib/jackfield"'),
    "group": ("the name of a group, in quotes", '"jackfield"'),
    "log_level": ('"debug", "info", "warning" or "error"', '"info"'),
    "autostart": (_SWITCH, "true"),
    "dnsmasq_user": (_USER, '"nobody"'),
    "vde_user": (_USER, '"nobody"'),
    "libvirt_socket": (_SOCKET, '"/run/libvirt/virtnetworkd-sock"'),
    "libvirt_socket_ro": (_SOCKET, '"/run/libvirt/virtnetworkd-sock-ro"'),
    "openvswitch_socket": (_SOCKET, '"/run/openvswitch/db.sock"'),
    "hooks_dir": (_DIRECTORY, '"/etc/libvirt/hooks"'),
    "hook_timeout": (_SECONDS, "30"),
    "take_managed_uplinks": (_SWITCH, "true"),
    "gateway_timeout": ("a number of seconds from 0, which does not ask, to 86400", "10"),
    "switch_timeout": (_SECONDS, "10"),
    "libvirt_tls": ("an address in quotes, with :PORT where it is not 16514", '"*"'),
    "tls_ca_file": (_FILE, '"/etc/pki/CA/cacert.pem"'),
    "tls_crl_file": (_FILE, '"/etc/pki/CA/cacrl.pem"'),
    "tls_cert_file": (_FILE, '"/etc/pki/libvirt/servercert.pem"'),
    "tls_key_file": (_FILE, '"/etc/pki/libvirt/private/serverkey.pem"'),
    "tls_allowed_dn_list": ("a list of patterns, each in quotes", '["O=Lab,CN=anna", "O=Lab,*"]'),
    "virtual_functions": (
        "a table that has, for names of cards, how many: whole numbers above 0",
        "{ ens1f0 = 8 }",
    ),
}


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


def load(path: Path | None = None, overrides: Mapping[str, str | None] | None = None) -> Config:
    """Return the configuration of the file ``path``, with ``overrides`` winning over it.

    Without ``path`` the default file is read, if there is one.  An override of ``None`` says
    nothing; the others are values of options.  Raises ``ConfigurationError``, which names the file
    and the key, or the option.
    """
    source = DEFAULT_PATH if path is None else path
    values = _read(source, required=path is not None)
    _check(source, values)
    said = {key: value for key, value in (overrides or {}).items() if value is not None}
    for key, value in said.items():
        if not _fits(key, value):
            option = f"--{key.replace('_', '-')}"
            raise ConfigurationError(f"{option} is {value!r}, and must be a directory's path")
    file = msgspec.convert({**values, **said}, _File)
    try:
        return _resolve(file)
    except ConfigurationError as error:
        raise error.with_context(str(source)) from error


def _check(source: Path, values: Mapping[str, object]) -> None:
    """Raise ``ConfigurationError`` for the first of ``values`` that cannot be."""
    for key, value in values.items():
        if key not in KEYS:
            raise ConfigurationError(f"{source}: there is no key {key}", hint=_advice(key, value))
        if not _fits(key, value):
            expected, example = _EXPECTED[key]
            hint = f"write, for example: {key} = {example}"
            if isinstance(value, dict) and (strayed := [word for word in value if word in KEYS]):
                hint = f"what stands below [{key}] belongs to it: move {strayed[0]} above it"
            raise ConfigurationError(
                f"{source}: {key} is {_shown(value)}, and must be {expected}", hint=hint
            )


def _fits(key: str, value: object) -> bool:
    """Return whether ``value`` can be that of ``key``."""
    try:
        msgspec.convert({key: value}, _File)
    except msgspec.ValidationError:
        return False
    return value is not None


def _advice(key: str, value: object) -> str:
    """Return what to do about a key that does not exist."""
    if isinstance(value, dict) and not value.keys().isdisjoint(KEYS):
        return f"keys stand by themselves: leave out the line [{key}]"
    near = difflib.get_close_matches(key.lower().replace("-", "_"), KEYS, n=1)
    return f"did you mean {near[0]}?" if near else f"the keys are {', '.join(KEYS)}"


def _shown(value: object) -> str:
    """Return a value as TOML has it, not longer than a line bears."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{key} = {_shown(item)}" for key, item in value.items())
        text = f"{{ {pairs} }}" if pairs else "{}"
    elif isinstance(value, list):
        text = f"[{', '.join(map(_shown, value))}]"
    elif isinstance(value, str | bool):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _resolve(file: _File) -> Config:
    """Return what the file's values mean here; ``ConfigurationError`` names the key."""
    if file.libvirt_socket is not None and file.libvirt_socket == file.libvirt_socket_ro:
        raise ConfigurationError(
            "libvirt_socket and libvirt_socket_ro are one path, and must be two",
            hint=f"write, for example: libvirt_socket_ro = {_shown(f'{file.libvirt_socket}-ro')}",
        )
    return Config(
        run_dir=Path(file.run_dir).absolute(),
        state_dir=Path(file.state_dir).absolute(),
        group=_group(file.group),
        log_level=file.log_level,
        autostart=file.autostart,
        dnsmasq_user=_helper_user("dnsmasq", file.dnsmasq_user, _DNSMASQ_USERS).pw_name,
        vde_user=_helper_user("vde", file.vde_user, _VDE_USERS).pw_uid,
        libvirt_socket=_optional(file.libvirt_socket),
        libvirt_socket_ro=_optional(file.libvirt_socket_ro),
        openvswitch_socket=_optional(file.openvswitch_socket),
        hooks_dir=Path(file.hooks_dir).absolute(),
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
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 text: {error}"
        raise ConfigurationError(f"cannot read configuration file {path}: {reason}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{path} is not TOML: {error}",
            hint='a line is KEY = VALUE; text stands in quotes: log_level = "info"',
        ) from error


def _optional(text: str | None) -> Path | None:
    return None if text is None else Path(text).absolute()


def _tls(text: str, file: _File) -> TlsConfig:
    """Return what ``ADDRESS``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT`` and the files say."""
    match = _LISTEN.fullmatch(text)
    port = int(match["port"] or _TLS_PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise ConfigurationError(
            f"libvirt_tls is {_shown(text)}, and must be {_EXPECTED['libvirt_tls'][0]}",
            hint='write, for example: libvirt_tls = "*", "192.0.2.1" or "[2001:db8::1]:16514"',
        )
    address = match["six"] or match["bare"] or match["four"]
    if address != "*":
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise ConfigurationError(
                f"libvirt_tls is {_shown(text)}, and {address!r} is not an IP address",
                hint='write an address that this host has, or libvirt_tls = "*" for all of them',
            ) from error
    return TlsConfig(
        address=address,
        port=port,
        ca_file=Path(file.tls_ca_file).absolute(),
        crl_file=Path(file.tls_crl_file).absolute(),
        cert_file=Path(file.tls_cert_file).absolute(),
        key_file=Path(file.tls_key_file).absolute(),
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
            f"group is {_shown(name)}, and there is no such group",
            hint=f"make it with: groupadd --system {shell_word(name)}",
        ) from None


def _helper_user(program: str, name: str | None, usual: tuple[str, ...]) -> pwd.struct_passwd:
    """Return the user that ``program`` runs as: the one named, or the first usual one there is."""
    candidates = usual if name is None else (name,)
    for candidate in candidates:
        try:
            return pwd.getpwnam(candidate)
        except KeyError:
            continue
    key = f"{program}_user"
    said = "is not given" if name is None else f"is {_shown(name)}"
    raise ConfigurationError(
        f"{key} {said}, and there is no user {' or '.join(map(repr, candidates))}",
        hint=f"write the name of a user that exists: {key} = {_EXPECTED[key][1]}",
    )
