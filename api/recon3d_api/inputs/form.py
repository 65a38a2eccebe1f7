"""A request's multipart/form-data, taken apart as it comes: fields are kept, files are checked and written at once.

The parser knows where parts begin and end; recon3d_contract.inputs decides what a file is. Whoever sends chooses
neither path nor name: a file's name only says which of the twelve pictures it is.
"""

from __future__ import annotations

from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Final

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from recon3d_contract.conventions import VIEWS
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.inputs import ARCHIVE_LIMIT, Collector, InputManifest, extract
from recon3d_contract.storage_errors import storing

_MAX_FIELDS: Final = 64
_MAX_FIELD_BYTES: Final = 64 * 1024
_MAX_HEADER: Final = 4096
_ZIP_TYPES: Final = ("application/zip", "application/x-zip-compressed")
_FOLDERS: Final = ("multi_views", "depth_renders")
_ARCHIVE: Final = ".archive"


class Form:
    """Feed it the body; then `finish`. Blocking: it belongs into a thread.

    Raises Recon3dError: INVALID_REQUEST for what is no form, and what recon3d_contract.inputs finds.
    """

    def __init__(self, boundary: bytes, begin: Callable[[], Path]) -> None:
        """`begin` makes the folder for files, when the first one comes."""
        self.fields: dict[str, str] = {}
        self.folder: Path | None = None
        self._begin = begin
        self._collector: Collector | None = None
        self._archive: FileIO | None = None
        self._archive_bytes = 0
        self._whole = False
        self._headers: dict[str, bytes] = {}
        self._header_name, self._header_value = b"", b""
        self._into: Callable[[bytes], None] = self._ignore
        self._field: tuple[str, bytearray] | None = None
        callbacks = {
            "on_part_begin": self._part_begins,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_data,
            "on_part_end": self._part_ends,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        except FormParserError:
            raise _no_form() from None

    def feed(self, data: bytes) -> None:
        """Take the body's next bytes."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise _no_form() from None

    def finish(self) -> InputManifest | None:
        """Return the input, which then lies in `folder`; None if the form has no file."""
        if not self._whole:
            raise Recon3dError(Code.INVALID_REQUEST, "The form is cut off.")
        if self._archive is not None and self.folder is not None:
            if self._collector is not None and self._collector.count:
                raise Recon3dError(Code.INVALID_INPUT, "Give either one ZIP or single PNG files, not both.")
            self._archive.close()
            path = self.folder / _ARCHIVE
            manifest = extract(path, self.folder)
            with storing():
                path.unlink()
            return manifest
        return None if self._collector is None else self._collector.finish()

    def close(self) -> None:
        """Close what is open; the folder is left to the caller."""
        for each in (self._collector, self._archive):
            if each is not None:
                each.close()

    def begin_file(self, field: str, filename: str, media_type: str) -> None:
        """A file begins."""
        if self.folder is None:
            self.folder = self._begin()
        if media_type in _ZIP_TYPES or filename.lower().endswith(".zip"):
            if self._archive is not None:
                raise Recon3dError(Code.INVALID_INPUT, "There is more than one ZIP.")
            with storing():
                self._archive = FileIO(self.folder / _ARCHIVE, "xb")
            self._into = self._to_archive
            return
        if self._collector is None:
            self._collector = Collector(self.folder)
        self._collector.begin(_parts(field, filename))
        self._into = self._collector.feed

    def feed_file(self, data: bytes) -> None:
        """The file's next bytes."""
        self._into(data)

    def end_file(self) -> None:
        """The file is whole."""
        if self._collector is not None and self._into == self._collector.feed:
            self._collector.end()
        self._into = self._ignore

    def all_there(self) -> None:
        """Nothing more comes."""
        self._whole = True

    # --- the parser's calls

    def _part_begins(self) -> None:
        self._headers, self._field, self._into = {}, None, self._ignore
        self._header_name, self._header_value = b"", b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if len(self._header_name) + len(self._header_value) > _MAX_HEADER or len(self._headers) > 16:
            raise Recon3dError(Code.INVALID_REQUEST, "A part of the form has too long a head.")
        self._headers[self._header_name.decode("latin-1").lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def _on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise Recon3dError(Code.INVALID_REQUEST, "A part of the form has no name.")
        field = _text(name)
        media_type = self._headers.get("content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if b"filename" in options or media_type.startswith("image/") or media_type in _ZIP_TYPES:
            self.begin_file(field, _text(options.get(b"filename", b"")), media_type)
            return
        if len(self.fields) >= _MAX_FIELDS:
            raise Recon3dError(Code.INVALID_REQUEST, f"The form has more than {_MAX_FIELDS} fields.")
        if field in self.fields:
            problems = [{"path": field, "problem": "is given twice"}]
            raise Recon3dError(Code.INVALID_REQUEST, f"{field}: is given twice", {"problems": problems})
        self._field = (field, bytearray())

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._field is None:
            self._into(piece)
            return
        self._field[1].extend(piece)
        if len(self._field[1]) > _MAX_FIELD_BYTES:
            raise Recon3dError(Code.INVALID_REQUEST, f"A field of the form is longer than {_MAX_FIELD_BYTES} bytes.")

    def _part_ends(self) -> None:
        if self._field is None:
            self.end_file()
            return
        name, value = self._field
        try:
            self.fields[name] = value.decode()
        except UnicodeDecodeError:
            raise Recon3dError(Code.INVALID_REQUEST, f"The field {name[:60]} is not UTF-8.") from None
        self._field = None

    def _on_end(self) -> None:
        self._whole = True

    def _ignore(self, data: bytes) -> None:
        """What belongs to no part."""

    def _to_archive(self, data: bytes) -> None:
        self._archive_bytes += len(data)
        if self._archive_bytes > ARCHIVE_LIMIT:
            text = f"The archive is larger than {ARCHIVE_LIMIT} bytes."
            raise Recon3dError(Code.UPLOAD_TOO_LARGE, text, {"limit": ARCHIVE_LIMIT})
        assert self._archive is not None  # noqa: S101 - set together with this sink
        with storing():
            left = memoryview(data)
            while left:
                left = left[self._archive.write(left) :]


def _no_form() -> Recon3dError:
    return Recon3dError(Code.INVALID_REQUEST, "The body is not multipart/form-data.")


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")


def _parts(field: str, filename: str) -> tuple[str, ...]:
    """Return a file's place in an input, from its field (`front`, `depth_front`, `multi_views`) or its path."""
    word = field.lower().removesuffix("[]")
    if word in VIEWS:
        return "multi_views", f"{word}.png"
    depth = word.removeprefix("depth_").removesuffix("_depth")
    if depth != word and depth in VIEWS:
        return "depth_renders", f"{depth}.png"
    path = tuple(part for part in filename.replace("\\", "/").split("/") if part not in ("", "."))
    if len(path) == 1 and word in _FOLDERS:
        return word, path[0]
    return path or (field[:200] or "file",)
