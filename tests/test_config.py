"""The daemon's configuration."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from jackfield import config
from jackfield.errors import ConfigurationError


def written(tmp_path: Path, text: str) -> Path:
    """Return a configuration file."""
    path = tmp_path / "jackfieldd.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A default file that does not exist says nothing."""
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "none.toml")
    loaded = config.load()
    assert (Path("/run/jackfield"), Path("/var/lib/jackfield")) == (
        loaded.run_dir,
        loaded.state_dir,
    )
    assert loaded.autostart
    assert "info" == loaded.log_level
    assert pwd.getpwnam(loaded.dnsmasq_user)
    assert pwd.getpwuid(loaded.vde_user).pw_name in {"vde2-net", "nobody"}


def test_the_file_and_what_wins_over_it(tmp_path: Path) -> None:
    """Every key is taken from the file, and an override wins; ``None`` overrides nothing."""
    group, user = grp.getgrgid(os.getgid()).gr_name, pwd.getpwuid(os.getuid()).pw_name
    path = written(
        tmp_path,
        f"""
        run_dir = "/run/a"
        state_dir = "/var/a"
        group = "{group}"
        log_level = "debug"
        autostart = false
        dnsmasq_user = "{user}"
        vde_user = "{user}"
        [virtual_functions]
        ens1f0 = 8
        """,
    )
    loaded = config.load(path, {"run_dir": "/run/b", "state_dir": None})
    expected = config.Config(
        run_dir=Path("/run/b"),
        state_dir=Path("/var/a"),
        group=os.getgid(),
        log_level="debug",
        autostart=False,
        dnsmasq_user=user,
        vde_user=os.getuid(),
        virtual_functions={"ens1f0": 8},
    )
    assert expected == loaded


def test_a_relative_directory_is_made_absolute(tmp_path: Path) -> None:
    """The daemon's directory may change; what was said must not."""
    loaded = config.load(written(tmp_path, ""), {"run_dir": "here"})
    assert Path.cwd() / "here" == loaded.run_dir


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("colour = 1", "there is no key colour", "the keys are run_dir, state_dir, "),
        ("log-level = 'info'", "there is no key log-level", "did you mean log_level?"),
        ("[network]\nname = 'x'", "there is no key network", "the keys are run_dir"),
        (
            "[daemon]\nlog_level = 'info'",
            "there is no key daemon",
            "keys stand by themselves: leave out the line [daemon]",
        ),
        (
            "autostart = 'yes'",
            'autostart is "yes", and must be true or false, without quotes',
            "write, for example: autostart = true",
        ),
        (
            "log_level = 'loud'",
            'log_level is "loud", and must be "debug", "info", "warning" or "error"',
            'write, for example: log_level = "info"',
        ),
        (
            "run_dir = ''",
            'run_dir is "", and must be the path of a directory, in quotes',
            'write, for example: run_dir = "/run/jackfield"',
        ),
        (
            "group = 'no such group'",
            'group is "no such group", and there is no such group',
            "make it with: groupadd --system 'no such group'",
        ),
        (
            "dnsmasq_user = 'no-such-user'",
            "dnsmasq_user is \"no-such-user\", and there is no user 'no-such-user'",
            'write the name of a user that exists: dnsmasq_user = "nobody"',
        ),
        (
            "vde_user = 'no-such-user'",
            "vde_user is \"no-such-user\", and there is no user 'no-such-user'",
            'write the name of a user that exists: vde_user = "nobody"',
        ),
        (
            "[virtual_functions]\neth0 = 0",
            "virtual_functions is { eth0 = 0 }, and must be a table that has, for names of cards",
            "write, for example: virtual_functions = { ens1f0 = 8 }",
        ),
        (
            "[virtual_functions]\nens1f0 = 8\ngroup = 'root'",
            'virtual_functions is { ens1f0 = 8, group = "root" }, and must be a table',
            "what stands below [virtual_functions] belongs to it: move group above it",
        ),
        (
            "switch_timeout = 0",
            "switch_timeout is 0, and must be a number of seconds above 0, at most 86400",
            "write, for example: switch_timeout = 10",
        ),
        ("hook_timeout = inf", "hook_timeout is inf, and must be a number", "hook_timeout = 30"),
        ("gateway_timeout = nan", "gateway_timeout is nan, and must be", "gateway_timeout = 10"),
        (
            "libvirt_tls = 'localhost'",
            "libvirt_tls is \"localhost\", and 'localhost' is not an IP address",
            'or libvirt_tls = "*" for all of them',
        ),
        (
            "libvirt_tls = '*:0'",
            'libvirt_tls is "*:0", and must be an address in quotes, with :PORT',
            'write, for example: libvirt_tls = "*", "192.0.2.1" or "[2001:db8::1]:16514"',
        ),
        (
            "libvirt_socket = '/run/a'\nlibvirt_socket_ro = '/run/a'",
            "libvirt_socket and libvirt_socket_ro are one path, and must be two",
            'libvirt_socket_ro = "/run/a-ro"',
        ),
        ("group = admins", "is not TOML: Invalid value (at line 1", "text stands in quotes"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    """A wrong file is an error that names the file, the key, its value, and what would be right."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)
    assert caught.value.message.startswith(str(path))
    assert message in caught.value.message
    assert caught.value.hint is not None
    assert hint in caught.value.hint


@pytest.mark.parametrize("key", config.KEYS)
@pytest.mark.parametrize("value", ["2020-01-01", '[{ a = "b" }]', '{ x = "y" }', '"a\\u0000b"'])
def test_every_key_says_what_it_must_be(tmp_path: Path, key: str, value: str) -> None:
    """A value of a wrong type is answered in words of the file, and with a line that is right."""
    path = written(tmp_path, f"{key} = {value}")
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)
    assert f"{key} is " in caught.value.message
    assert "`" not in caught.value.message
    assert caught.value.hint is not None
    advised = caught.value.hint.partition("write, for example: ")[2]
    assert advised.startswith(f"{key} = ")
    config.load(written(tmp_path, advised.replace('"jackfield"', '"root"')))


def test_an_option_that_is_wrong_is_named(tmp_path: Path) -> None:
    """What the command line says wrongly is not blamed on the file."""
    with pytest.raises(ConfigurationError) as caught:
        config.load(written(tmp_path, ""), {"run_dir": ""})
    assert "--run-dir is '', and must be a directory's path" == caught.value.message


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """Why a file cannot be read is told in words."""
    path = tmp_path / "jackfieldd.toml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)
    why = "Is a directory" if content is None else "it is not UTF-8 text"
    assert caught.value.message.startswith(f"cannot read configuration file {path}: {why}")


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    """Only the default file may be missing."""
    with pytest.raises(ConfigurationError, match=r"none.toml does not exist"):
        config.load(tmp_path / "none.toml")


def test_a_time_must_be_one(tmp_path: Path) -> None:
    """Seconds are a number above zero, whole or not."""
    for text, expected in (("2", 2.0), ("0.5", 0.5)):
        assert expected == config.load(written(tmp_path, f"hook_timeout = {text}")).hook_timeout
    for text in ("0", "-1", '"x"'):
        with pytest.raises(ConfigurationError, match="hook_timeout"):
            config.load(written(tmp_path, f"hook_timeout = {text}"))
