"""Logs are JSON, one object a line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from jackfield import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Configure the logs for a test, and put back what was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    text = io.StringIO()
    log.configure("info", text)
    yield text
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_is_one_line_of_json(stream: io.StringIO) -> None:
    """Time, level, logger, message and the extra fields are there, line breaks are not."""
    logging.getLogger("jackfield.test").info("two\nlines of %s", "é", extra={"uid": 7, "path": {1}})
    logging.getLogger("jackfield.test").debug("not asked for")
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert {
        "level": "info",
        "logger": "jackfield.test",
        "message": "two\nlines of é",
        "uid": 7,
        "path": [1],
    } == record


def test_an_exception_brings_its_traceback(stream: io.StringIO) -> None:
    """The traceback is a field of the same line."""
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("jackfield.test").exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["traceback"].endswith("ValueError: why")


def test_records_logged_together_are_a_line_each(stream: io.StringIO) -> None:
    """They look as those logged one by one, with their own times, and other handlers get them."""
    logger = logging.getLogger("jackfield.test")
    seen: list[str] = []

    class Other(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    other = Other()
    logger.addHandler(other)
    try:
        logger.info("one %s", "by itself", extra={"uid": 7})
        log.log_together(
            logger,
            [
                log.made_record(logger, logging.INFO, "50 %s", {"uid": 8}, created=0.25),
                log.made_record(logger, logging.WARNING, "three", {}, created=61),
            ],
        )
    finally:
        logger.removeHandler(other)
    first, *rest = map(json.loads, stream.getvalue().splitlines())
    assert {"time", "level", "logger", "message", "uid"} == first.keys()
    common = {"logger": "jackfield.test"}
    assert [
        {"time": "1970-01-01T00:00:00.250Z", "level": "info", "message": "50 %s", "uid": 8},
        {"time": "1970-01-01T00:01:01.000Z", "level": "warning", "message": "three"},
    ] == [{key: line[key] for key in line if key not in common} for line in rest]
    assert ["one by itself", "50 %s", "three"] == seen
