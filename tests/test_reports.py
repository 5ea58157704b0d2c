"""The summary of a run: what was shown, and how."""

from __future__ import annotations

from pathlib import Path

from tests.reports import describe_shown, shown, totals

REPORT = """
<testsuites><testsuite tests="4" failures="1" errors="0" skipped="1">
  <testcase classname="tests.a" name="one">
    <properties><property name="shows:nat" value="a real guest"/></properties>
  </testcase>
  <testcase classname="tests.a" name="two">
    <properties>
      <property name="shows:nat" value="a real guest"/>
      <property name="shows:vde" value="a switch"/>
      <property name="other" value="unread"/>
    </properties>
  </testcase>
  <testcase classname="tests.a" name="three">
    <properties><property name="shows:vepa" value="a real guest"/></properties>
    <failure message="no"/>
  </testcase>
  <testcase classname="tests.a" name="four">
    <properties><property name="shows:vepa" value="a real guest"/></properties>
    <skipped message="not here"/>
  </testcase>
</testsuite></testsuites>
"""


def test_only_what_passed_was_shown(tmp_path: Path) -> None:
    """Ways are counted; a failed or skipped test shows nothing."""
    report = tmp_path / "lab.xml"
    report.write_text(REPORT)
    assert {"nat": {"a real guest": 2}, "vde": {"a switch": 1}} == shown([report])
    assert {"passed": 2, "failed": 1, "skipped": 1} == totals([report])


def test_each_mode_has_a_line() -> None:
    """What nobody has shown is said, and other things than modes come last."""
    lines = describe_shown({"nat": {"b": 1, "a": 2}, "vde": {"c": 3}}).splitlines()
    told = {words[0]: " ".join(words[1:]) for words in map(str.split, lines)}
    assert "a (2); b (1)" == told["nat"]
    assert "not shown" == told["vepa"]
    assert "c (3)" == told["vde"]
    assert "vde" == list(told)[-1]
