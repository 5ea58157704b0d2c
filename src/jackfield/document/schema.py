"""The RELAX NG schema of networks (``network.rng``), for ``--validate`` and for the tests.

It refuses what the readers ignore: elements and attributes that nobody knows.  Validating takes
far longer than reading, so it is done only when asked for.
"""

from __future__ import annotations

import functools
from importlib import resources

from lxml import etree

from jackfield.document.xml import parse
from jackfield.errors import SchemaDocumentError

__all__ = ["schema_text", "validate"]


def schema_text() -> bytes:
    """Return the schema, in RELAX NG's XML syntax."""
    return resources.files("jackfield.document").joinpath("network.rng").read_bytes()


@functools.cache
def _schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.fromstring(schema_text()))


def validate(text: str | bytes) -> None:
    """Raise :class:`SchemaDocumentError` unless ``text`` follows the schema."""
    schema = _schema()
    if schema.validate(parse(text)):
        return
    # libxml2 names the innermost element first; what follows are its consequences.  It may not
    # know where that is, and then says of an element around it.
    errors = [(one.line, one.message) for one in schema.error_log]
    message = errors[0][1] if errors else "it does not match"
    line = next((line for line, _ in errors if line), None)
    raise SchemaDocumentError(f"the document does not follow the schema: {message}", line=line)
