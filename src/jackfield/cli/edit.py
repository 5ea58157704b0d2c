"""Edit a network's definition in the editor that its user has chosen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

from jackfield.cli.output import print_json, report, say
from jackfield.client import quote
from jackfield.errors import (
    Conflict,
    InvalidRequest,
    JackfieldError,
    NetworkNotFound,
    SchemaDocumentError,
    UsageError,
    shell_word,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jackfield.cli.command import Arguments, Context

__all__ = ["edit"]

_FALLBACKS = ("sensible-editor", "editor", "nano", "vi")
_QUESTION = "Edit it again? [y]es, [n]o: "
_QUESTION_OF_SCHEMA = "Edit it again? [y]es, [n]o, [i]gnore the schema: "


def edit(context: Context, arguments: Arguments) -> None:
    """Have a definition edited, and store it; what is refused may be edited again."""
    network = context.client.request("GET", f"/v1/networks/{quote(arguments.network)}")
    dialect = "layered" if arguments.layered else "libvirt"
    editing = _Editing(context, network, dialect)
    before = editing.stored_text()
    try:
        defined = editing.run(before)
    except JackfieldError as error:
        raise editing.kept(error, before) from error
    except KeyboardInterrupt:
        editing.kept(JackfieldError(""), before)
        raise
    if context.json:
        print_json(defined or network)
    elif defined is None:
        say(f"Network {network['name']} is not changed.")
    else:
        say(_told(defined))


class _Editing:
    """One definition, and the file in which it is edited."""

    def __init__(self, context: Context, network: dict[str, Any], dialect: str) -> None:
        self._client = context.client
        self._name: str = network["name"]
        self._uuid: str = network["uuid"]
        self._dialect = dialect
        self._path: str | None = None

    def stored_text(self) -> str:
        """Return the definition as it is stored now."""
        query = {"dialect": self._dialect, "inactive": "1"}
        return self._client.text("GET", f"/v1/networks/{quote(self._uuid)}/xml", query=query)

    def run(self, before: str) -> dict[str, Any] | None:
        """Return the network with what was made of ``before``; ``None`` without a change."""
        descriptor, self._path = tempfile.mkstemp(
            prefix=f"jackfield-{self._name[:50]}-", suffix=".xml"
        )
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(before)
        while True:
            _call_editor(self._path)
            text = self._read()
            if text == before:
                self._remove()
                return None
            schema = True
            while True:
                try:
                    defined = self._define(text, before, schema=schema)
                except Conflict:
                    # No other text would help.
                    raise
                except JackfieldError as error:
                    answer = _ask(error)
                    if answer == "i":
                        schema = False
                        continue
                    if answer != "y":
                        # What is wrong with it has been told.
                        error.message, error.hint = f"network {self._name!r} is not changed", None
                        raise
                    break
                self._remove()
                return defined

    def kept(self, error: JackfieldError, before: str) -> JackfieldError:
        """Return ``error`` with where the text is kept, if there is anything new in it."""
        if self._path is None:
            return error
        try:
            changed = self._read() != before
        except JackfieldError:
            changed = True
        if not changed:
            self._remove()
            return error
        where = f"what you wrote is kept in {self._path}"
        error.hint = f"{error.hint}; {where}" if error.hint else where
        if not error.message:
            print(f"jackfield: {where}", file=sys.stderr)
        return error

    def _define(self, text: str, before: str, *, schema: bool) -> dict[str, Any]:
        self._check_identity(text)
        try:
            now = self.stored_text()
        except NetworkNotFound as error:
            raise Conflict(
                f"network {self._name!r} was undefined while you edited it",
                hint="define it with: jackfield define FILE",
            ) from error
        if now != before:
            raise Conflict(
                f"somebody else changed network {self._name!r} while you edited it",
                hint=f"edit it as it is now: jackfield edit {shell_word(self._name)}",
            )
        query = {"validate": "1"} if schema else None
        body = _encoded(text)
        defined: dict[str, Any] = self._client.request("POST", "/v1/networks", body, query=query)
        return defined

    def _check_identity(self, text: str) -> None:
        """Refuse what would define another network."""
        import json

        from jackfield import offline

        document = json.loads(offline.convert(_encoded(text), "json"))
        if document["name"] != self._name:
            raise InvalidRequest(
                f"the name of network {self._name!r} cannot be edited",
                hint=f"to have {document['name']!r} as well, take the uuid out and use: "
                "jackfield define FILE",
            )
        if document.get("uuid", self._uuid) != self._uuid:
            raise InvalidRequest(f"the uuid of network {self._name!r} cannot be edited")

    def _read(self) -> str:
        assert self._path is not None
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
                return file.read()
        except OSError as error:
            raise UsageError(f"cannot read {self._path}: {error.strerror or error}") from error

    def _remove(self) -> None:
        assert self._path is not None
        try:  # noqa: SIM105 - contextlib is an import more
            os.unlink(self._path)  # noqa: PTH108
        except FileNotFoundError:
            pass


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _call_editor(path: str) -> None:
    """Have the editor change a file; it may be a command with options."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        editor = next((name for name in _FALLBACKS if shutil.which(name)), None)
    if not editor:
        raise UsageError(
            "there is no editor", hint="install one, or name one: EDITOR=PROGRAM jackfield edit …"
        )
    status = subprocess.run(["sh", "-c", f'{editor} "$1"', "sh", path], check=False).returncode
    if status:
        raise UsageError(
            f"the editor failed: {editor} ended with status {status}",
            hint="VISUAL or EDITOR in the environment name another one",
        )


def _ask(error: JackfieldError) -> str:
    """Return ``y`` (edit again), ``n``, or ``i`` (ignore the schema); raise where nobody is."""
    if not sys.stdin.isatty():
        raise error
    report(error, as_json=False)
    of_schema = isinstance(error, SchemaDocumentError)
    choices = "yni" if of_schema else "yn"
    while True:
        try:
            said = input(_QUESTION_OF_SCHEMA if of_schema else _QUESTION).strip().lower()[:1]
        except EOFError:
            return "n"
        if said and said in choices:
            return said


def _told(network: dict[str, Any]) -> str:
    """Return what is so now, and what to do next."""
    name, word = network["name"], shell_word(network["name"])
    if network["active"] and network["live"] != network["stored"]:
        return (
            f"Network {name} is defined; what runs differs, until: jackfield apply {word} "
            f"(what that would do: jackfield plan {word})"
        )
    if network["active"]:
        return f"Network {name} is defined, and runs so already."
    if network["problem"]:
        return f"Network {name} is defined, but cannot be started now: {network['problem']}"
    return f"Network {name} is defined; start it with: jackfield start {word}"
