"""Hardened parsing of XML, and typed access to attributes with errors that name the place.

Nothing outside the text is ever read: doctypes, entities and texts of more than 4 MiB (the
longest string of libvirt's protocol) are refused, and libxml2 itself refuses elements nested
more than 256 deep.  Every error is one of :mod:`jackfield.errors` and carries the line of the
element, its name, the offending value and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar, cast

from lxml import etree

from jackfield.errors import DocumentError, SyntaxDocumentError

__all__ = [
    "MAX_BYTES",
    "MAX_UINT32",
    "Element",
    "child",
    "choice",
    "escape",
    "fail",
    "integer",
    "line_of",
    "number",
    "parse",
    "parse_verbatim",
    "required",
    "serialise",
    "typed",
    "yes_no",
]

Element = etree._Element
Value = TypeVar("Value")

MAX_BYTES = 4 * 1024 * 1024
MAX_UINT32 = 0xFFFFFFFF

_DIGITS = re.compile(r"[0-9]{1,20}")
_C_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}")
_SPECIAL = re.compile(r"[<>&'\"]")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "'": "&apos;", '"': "&quot;"}
_YES_NO = {"yes": True, "no": False}


def _make_parser(encoding: str | None, *, verbatim: bool) -> etree.XMLParser:
    return etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_blank_text=True,
        remove_comments=not verbatim,
        remove_pis=not verbatim,
        strip_cdata=not verbatim,
    )


_PARSER = _make_parser(None, verbatim=False)
_VERBATIM_PARSER = _make_parser(None, verbatim=True)
# What is text already has an encoding no more, whatever its first line says: of .NET's writers
# that is utf-16.
_TEXT_PARSER = _make_parser("utf-8", verbatim=False)
_VERBATIM_TEXT_PARSER = _make_parser("utf-8", verbatim=True)


def parse(text: str | bytes) -> Element:
    """Parse ``text`` and return its root; comments and processing instructions are dropped."""
    return _parse(text, _TEXT_PARSER if isinstance(text, str) else _PARSER)


def parse_verbatim(text: str | bytes) -> Element:
    """Parse ``text`` as ``parse`` does, with comments, instructions and CDATA sections kept."""
    return _parse(text, _VERBATIM_TEXT_PARSER if isinstance(text, str) else _VERBATIM_PARSER)


def _parse(text: str | bytes, parser: etree.XMLParser) -> Element:
    try:
        data = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError:
        raise SyntaxDocumentError("the document holds a character that is not Unicode") from None
    if len(data) > MAX_BYTES:
        raise SyntaxDocumentError(
            f"the document is {len(data)} bytes long", hint="at most 4 MiB are allowed"
        )
    if b"<!DOCTYPE" in data:
        raise SyntaxDocumentError(
            "the document holds <!DOCTYPE",
            line=data.count(b"\n", 0, data.index(b"<!DOCTYPE")) + 1,
            hint="document types and entities are not allowed; remove them",
        )
    try:
        root: Element = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        form = "a document is XML, beginning with <network>, or JSON, beginning with {"
        raise SyntaxDocumentError(
            _without_place(error),
            line=error.lineno or None,
            hint=None if data.lstrip().startswith(b"<") else form,
        ).in_libvirt(_as_libvirt_tells(error, data), domain=19) from None
    except ValueError as error:
        raise SyntaxDocumentError(str(error)) from None
    # A doctype in another encoding than ASCII is not seen as bytes above.
    if root.getroottree().docinfo.internalDTD is not None:
        raise SyntaxDocumentError(
            "the document has a document type",
            hint="document types and entities are not allowed; remove them",
        )
    return root


def _without_place(error: etree.XMLSyntaxError) -> str:
    """Return what is wrong, without the line and column that libxml2 puts after it."""
    line, column = error.lineno or 1, (error.offset or 0) + 1
    return str(error.msg).removesuffix(f", line {line}, column {column}")


def _as_libvirt_tells(error: etree.XMLSyntaxError, data: bytes) -> str:
    """Return the error with the line at fault and a mark under the column, as libvirt has it."""
    line, column = error.lineno or 1, (error.offset or 0) + 1
    lines = data.decode(errors="replace").split("\n")
    shown = lines[line - 1] if lines[line - 1 : line] and data else "(null)"
    return f"at line {line}: {_without_place(error)}\n{shown}\n{'-' * (column - 1)}^"


def serialise(element: Element) -> str:
    """Return ``element`` as text."""
    return str(etree.tostring(element, encoding="unicode"))


def line_of(element: Element) -> int | None:
    """Return the line (1-based) on which ``element`` begins."""
    return cast("int | None", element.sourceline)


def fail(element: Element, reason: str, *, hint: str | None = None) -> NoReturn:
    """Raise the error that ``element`` is wrong for ``reason``."""
    raise DocumentError(f"<{element.tag}> {reason}", line=line_of(element), hint=hint)


def _refuse(element: Element, name: str, text: str, allowed: str) -> NoReturn:
    shown = text if len(text) <= 64 else text[:64] + "…"
    raise DocumentError(f"<{element.tag}> has {name}='{shown}': {allowed}", line=line_of(element))


def child(element: Element, name: str) -> Element | None:
    """Return the first child called ``name``; libvirt ignores a second one as well."""
    found: Element | None = element.find(name)
    return found


def required(element: Element, name: str) -> str:
    """Return the attribute ``name``, which must be there and not be empty."""
    text = element.get(name)
    if not text:
        fail(element, f"lacks its attribute {name!r}")
    return text


def typed(element: Element, name: str, make: Callable[[str], Value]) -> Value | None:
    """Return ``make`` of the attribute ``name``; ``None`` where it is absent or empty."""
    text = element.get(name)
    if not text:
        return None
    try:
        return make(text)
    except ValueError as error:
        _refuse(element, name, text, str(error))


def choice(element: Element, name: str, allowed: Mapping[str, Value]) -> Value | None:
    """Return what the attribute ``name`` stands for in ``allowed``; ``None`` without it."""
    text = element.get(name)
    if text is None:
        return None
    try:
        return allowed[text]
    except KeyError:
        _refuse(element, name, text, f"allowed are {', '.join(map(repr, allowed))}")


def yes_no(element: Element, name: str) -> bool | None:
    """Return the attribute ``name``, ``yes`` or ``no``; ``None`` without it."""
    return choice(element, name, _YES_NO)


def integer(element: Element, name: str, low: int = 0, high: int = MAX_UINT32) -> int | None:
    """Return the decimal attribute ``name`` between ``low`` and ``high``; ``None`` without it."""
    text = element.get(name)
    if not text:
        return None
    if not _DIGITS.fullmatch(text) or not low <= (value := int(text)) <= high:
        _refuse(element, name, text, f"a number from {low} to {high} is allowed")
    return value


def number(element: Element, name: str, high: int) -> int | None:
    """Return the attribute ``name`` as C reads it: ``0x`` hexadecimal, ``0`` octal, decimal."""
    text = element.get(name)
    if text is None:
        return None
    value = -1
    if _C_NUMBER.fullmatch(text):
        octal = text[0] == "0" and text.isdigit()
        try:
            value = int(text, 8 if octal else 0)
        except ValueError:
            value = -1
    if not 0 <= value <= high:
        _refuse(element, name, text, f"a number from 0 to {high:#x} is allowed")
    return value


def escape(text: str) -> str:
    """Return ``text`` with the five special characters as entities, as libvirt writes them."""
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda match: _ENTITIES[match.group()], text)
