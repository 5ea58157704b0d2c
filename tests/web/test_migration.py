"""Import and export by HTTP and by the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jackfield.cli.main import main
from jackfield.config import Config
from jackfield.errors import InvalidRequest
from tests.web.fake import Served, serve
from tests.web.test_api import WRITERS, as_user, said_to_user


@pytest.fixture
def served() -> Iterator[Served]:
    """Give a server with a fake engine."""
    with serve() as running:
        yield running


def run(served: Served, *arguments: str) -> int:
    """Return how the command line ends."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--run-dir", str(served.run_dir)])
    return int(ended.value.code or 0)


@pytest.mark.kernel
def test_for_root_only() -> None:
    """Members of the group may change networks, but not move them."""
    with serve(Config(group=WRITERS)) as served:
        requests = [("POST", f"/v1/{what}", None) for what in ("import", "export")]
        assert ["access-denied"] * 2 == as_user(served, f"{WRITERS}", *requests)
        # Whom no group would help is not told of one.
        told = said_to_user(served, "", *requests)[1].splitlines()
        assert ["import", "export"] == [line.split("may not ")[1].split()[0] for line in told]
        assert served.client.request("POST", "/v1/import")["steps"]


def test_a_dry_run_says_so(served: Served) -> None:
    """Steps that would be done are not called done, and parameters are checked."""
    query = {"dry_run": "1", "network": "green"}
    answer = served.client.request("POST", "/v1/import", query=query)
    step = {"network": "green", "text": "defined", "done": False, "refused": False}
    assert {"steps": [step]} == answer
    with pytest.raises(InvalidRequest):
        served.client.request("POST", "/v1/export", query={"to": "mars"})


def test_lines(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each thing, with a sign; what is left alone is an error at the end."""
    assert 5 == run(served, "import")
    said = capsys.readouterr()
    assert "* red: defined\n! blue: why\n" == said.out
    assert "left as they are: blue" in said.err
    assert 0 == run(served, "import", "red", "--dry-run")
    assert "+ red: defined\n" == capsys.readouterr().out
    assert 0 == run(served, "export", "--to", "libvirt")
    assert "libvirt has everything already.\n" == capsys.readouterr().out
    assert 2 == run(served, "export", "--to", "mars")
    assert "mars" in capsys.readouterr().err
