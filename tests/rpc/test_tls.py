"""Who a certificate is of, and who is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from jackfield.config import TlsConfig, load
from jackfield.errors import ConfigurationError
from jackfield.rpc.credentials import make_context
from jackfield.rpc.tls import is_allowed, names_of

CERTIFICATE = {
    "subject": (
        (("countryName", "GB"),),
        (("organizationName", "Red, Blue"), ("organizationalUnitName", "Lab")),
        (("commonName", "anna"),),
    )
}


def test_a_name_in_both_orders() -> None:
    """Parts have their short names and are escaped; libvirt's order is the certificate's."""
    assert (
        "C=GB,O=Red\\, Blue+OU=Lab,CN=anna",
        "CN=anna,O=Red\\, Blue+OU=Lab,C=GB",
    ) == names_of(CERTIFICATE)
    assert ("", "") == names_of({})


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (None, True),
        ((), False),
        (("C=GB,*,CN=anna",), True),
        (("CN=anna,*",), True),
        (("CN=ann?,*",), True),
        (("CN=ann[a],*",), False),
        (("CN=anna",), False),
        (("CN=bob*", "*"), True),
    ],
)
def test_the_list(patterns: tuple[str, ...] | None, *, expected: bool) -> None:
    """``*`` and ``?`` stand for anything, and nothing else does."""
    assert expected is is_allowed(names_of(CERTIFICATE), patterns)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", ("*", 16514)),
        ("192.0.2.1", ("192.0.2.1", 16514)),
        ("192.0.2.1:1", ("192.0.2.1", 1)),
        ("*:99", ("*", 99)),
        ("[2001:db8::1]:7", ("2001:db8::1", 7)),
        ("2001:db8::1", ("2001:db8::1", 16514)),
        ("", None),
        ("host.example", None),
        ("192.0.2.1:", None),
        ("192.0.2.1:65536", None),
        ("192.0.2.1:0", None),
    ],
)
def test_where_to_listen(tmp_path: Path, text: str, expected: tuple[str, int] | None) -> None:
    """An address of either family, with a port or not."""
    path = tmp_path / "c.toml"
    path.write_text(f'libvirt_tls = "{text}"\n')
    if expected is None:
        with pytest.raises(ConfigurationError, match="libvirt_tls"):
            load(path)
    else:
        tls = load(path).tls
        assert tls is not None
        assert expected == (tls.address, tls.port)
        assert Path("/etc/pki/libvirt/private/serverkey.pem") == tls.key_file


def test_the_file_at_fault_is_named(tmp_path: Path) -> None:
    """A certificate that is missing, or is none, is an error that names its file."""
    for name in ("ca", "cert", "key"):
        config = TlsConfig(
            address="*",
            port=1,
            ca_file=tmp_path / "ca",
            crl_file=tmp_path / "crl",
            cert_file=tmp_path / "cert",
            key_file=tmp_path / "key",
        )
        with pytest.raises(ConfigurationError, match=f"{tmp_path}/{name}: No such file"):
            make_context(config)
        (tmp_path / name).write_text("x")
        with pytest.raises(ConfigurationError, match=f"{tmp_path}/{name}: it holds no .* in PEM"):
            make_context(config)
        what = "PRIVATE KEY" if name == "key" else "CERTIFICATE"
        (tmp_path / name).write_text(f"-----BEGIN {what}-----\n")
    with pytest.raises(ConfigurationError, match="cannot serve TLS"):
        make_context(config)
    (tmp_path / "key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/key: it is encrypted"):
        make_context(config)
