"""Metadata: what applications keep in ``<metadata>``, unchanged.

The text is the one that libvirt writes inside a network: elements without text of their own are
set on lines of their own, two spaces deeper for each level; everything else, comments and CDATA
sections included, stays as it came.
"""

from __future__ import annotations

import copy

from lxml import etree

from jackfield.document.xml import Element, parse_verbatim
from jackfield.errors import DocumentError, InvalidRequest

__all__ = ["canonical_metadata", "element_of", "metadata_of", "metadata_text", "with_element"]


def metadata_text(element: Element) -> str | None:
    """Return the text of a ``<metadata>`` element as it stands in a document."""
    if len(element) == 0 and not element.text:
        return None
    frame = etree.Element("network")
    kept = copy.deepcopy(element)
    kept.tail = None
    frame.append(kept)
    whole = str(etree.tostring(frame, pretty_print=True, encoding="unicode"))
    return whole.removeprefix("<network>\n  ").removesuffix("\n</network>\n")


def metadata_of(text: str | bytes) -> str | None:
    """Return the metadata of the ``<network>`` in ``text``."""
    element = parse_verbatim(text).find("metadata")
    return None if element is None else metadata_text(element)


def canonical_metadata(text: str) -> str | None:
    """Return ``text``, a ``<metadata>`` element, in its canonical form."""
    element = parse_verbatim(text)
    if element.tag != "metadata":
        raise DocumentError(
            f"the metadata is a <{element.tag}>", hint="it is one <metadata> element"
        )
    return metadata_text(element)


def _is_of(element: Element, uri: str) -> bool:
    # A comment's tag is a function, and its name no namespace.
    tag: object = element.tag
    return isinstance(tag, str) and tag.startswith(f"{{{uri}}}")


def with_element(metadata: str | None, uri: str, key: str | None, text: str | None) -> str | None:
    """Return ``metadata`` with its element of namespace ``uri`` replaced by ``text``.

    ``text`` is an element, which gets the prefix ``key``, as everything in it does that has no
    namespace of its own; ``None`` removes the element.
    ``None`` is returned when nothing is left (virNetworkSetMetadata).
    """
    root = parse_verbatim(metadata or "<metadata/>")
    for old in list(root):
        if _is_of(old, uri):
            root.remove(old)
    if text is not None:
        source = parse_verbatim(text)
        name = etree.QName(source).localname
        new = _add_element(root, name, uri, key)
        new.text = source.text
        for attribute, value in source.attrib.items():
            new.set(attribute, value)
        for part in source:
            new.append(part)
        for part in new.iter("{}*"):
            part.tag = f"{{{uri}}}{part.tag}"
    return metadata_text(root) if len(root) else None


def _add_element(root: Element, name: str, uri: str, key: str | None) -> Element:
    """Add an element of namespace ``uri`` with the prefix ``key``; refuse what XML cannot say."""
    try:
        added: Element = etree.SubElement(
            root, f"{{{uri}}}{name}", nsmap={key: uri} if key else None
        )
    except ValueError as error:
        refused = InvalidRequest(
            f"metadata cannot have the namespace {uri!r} with the prefix {key!r}: {error}",
            hint="the namespace is a URI, and its prefix a name",
        )
        if "prefix" in str(error):
            refused.in_libvirt("failed to validate prefix for a new XML namespace", code=1)
        raise refused from None
    return added


def element_of(metadata: str | None, uri: str) -> str | None:
    """Return the element of namespace ``uri`` in ``metadata``; ``None`` when there is none.

    Its own namespace is left out, and what stands in that (virNetworkGetMetadata).
    """
    if metadata is None:
        return None
    for one in parse_verbatim(metadata):
        if _is_of(one, uri):
            one.tail = None
            for part in one.iter(f"{{{uri}}}*"):
                part.tag = etree.QName(part).localname
            etree.cleanup_namespaces(one)
            return str(etree.tostring(one, pretty_print=True, encoding="unicode")).strip()
    return None
