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
    ("text", "message"),
    [
        ("colour = 1", "unknown key 'colour'"),
        ("[network]\nname = 'x'", "unknown key 'network'"),
        ("autostart = 'yes'", r"Expected `bool`, got `str` - at `\$.autostart`"),
        ("log_level = 'loud'", "Invalid enum value 'loud'"),
        ("run_dir = ''", "run_dir must be a directory's path"),
        ("group = 'no-such-group-here'", "group 'no-such-group-here' does not exist"),
        ("dnsmasq_user = 'no-such-user'", "user 'no-such-user' for dnsmasq does not exist"),
        ("vde_user = 'no-such-user'", "user 'no-such-user' for vde does not exist"),
        ("[virtual_functions]\neth0 = 0", r"Expected `int` >= 1 - at `\$.virtual_functions"),
        ("switch_timeout = 0", r"Expected `float` > 0.0 - at `\$.switch_timeout`"),
        ("virtual_functions = 3", r"Expected `object`, got `int` - at `\$.virtual_functions`"),
        ("group = ", "jackfieldd.toml: Invalid value"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    """A wrong file is an error that names file or key."""
    with pytest.raises(ConfigurationError, match=message):
        config.load(written(tmp_path, text))


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
