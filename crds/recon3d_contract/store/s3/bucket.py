"""One bucket and prefix: objects by their key, every failure one of the contract's errors.

Credentials and endpoint come from the AWS_* variables that obstore reads: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.store.reference import Reference, parse_reference

try:
    import obstore
    from obstore import exceptions
    from obstore.store import S3Store as Objects
except ImportError:
    raise Recon3dError(
        Code.STORAGE_UNAVAILABLE,
        "S3 cannot be used here: its library is not installed.",
        suggestion="Install recon3d with the extra s3, or use a folder.",
    ) from None

_CHUNK: Final = 8 * 1024 * 1024
_AT_ONCE: Final = 4
_TIMEOUT_S: Final = 60


@dataclass(frozen=True)
class Found:
    """An object of a listing."""

    key: str
    """Relative to the prefix that was listed."""
    bytes: int
    changed: dt.datetime


class Bucket:
    """Objects below `s3://bucket/prefix`. Raises STORAGE_UNAVAILABLE."""

    def __init__(self, reference: Reference | str) -> None:
        ref = parse_reference(reference) if isinstance(reference, str) else reference
        name, _, prefix = ref.value.partition("/")
        with failing():
            self._objects = Objects(
                name, prefix=prefix.strip("/") or None, client_options={"timeout": f"{_TIMEOUT_S}s", "allow_http": True}
            )

    def get(self, key: str) -> bytes | None:
        """Return a small object; None if there is none."""
        with failing():
            try:
                return bytes(obstore.get(self._objects, key).bytes())
            except FileNotFoundError:
                return None

    def create(self, key: str, content: bytes) -> bool:
        """Create an object unless it exists; return whether it was created."""
        with failing():
            try:
                obstore.put(self._objects, key, content, mode="create", use_multipart=False)
            except exceptions.AlreadyExistsError:
                return False
        return True

    def put_file(self, key: str, path: Path) -> None:
        """Store a file, in parts where it is large."""
        with failing():
            obstore.put(self._objects, key, path, chunk_size=_CHUNK, max_concurrency=_AT_ONCE)

    def put(self, key: str, content: bytes) -> None:
        """Store a small object, over an older one."""
        with failing():
            obstore.put(self._objects, key, content, use_multipart=False)

    def below(self, prefix: str) -> Iterator[Found]:
        """Yield what lies below `prefix`, with keys relative to it."""
        with failing():
            for batch in obstore.list(self._objects, prefix, chunk_size=1000):
                for meta in batch:
                    key = str(meta["path"]).removeprefix(f"{prefix}/")
                    yield Found(key, int(meta["size"]), meta["last_modified"])

    def folders(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix` that have something below them."""
        with failing():
            found = obstore.list_with_delimiter(self._objects, prefix)
        return [str(path).rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"]]

    def open(self, key: str) -> BinaryIO | None:
        """Open an object for reading, from any place in it; None if there is none."""
        with failing():
            try:
                return cast(BinaryIO, _Reading(obstore.open_reader(self._objects, key, buffer_size=1024 * 1024)))
            except FileNotFoundError:
                return None

    def fetch(self, key: str, target: Path) -> None:
        """Write an object to a new file, in constant memory."""
        source = self.open(key)
        if source is None:
            raise Recon3dError(Code.INPUT_NOT_FOUND, "The object does not exist.")
        with source, target.open("xb") as file:
            while data := source.read(1024 * 1024):
                file.write(data)

    def remove(self, prefix: str) -> None:
        """Remove the object `prefix` and all that lies below it."""
        keys = [f"{prefix}/{found.key}" for found in self.below(prefix)]
        with failing():
            for start in range(0, len(keys), 1000):
                obstore.delete(self._objects, keys[start : start + 1000])

    def sign(self, key: str, seconds: int) -> str:
        """Return an address at which anybody can read the object for `seconds`."""
        with failing():
            return str(obstore.sign(self._objects, "GET", key, dt.timedelta(seconds=seconds)))


class _Reading:
    """obstore's reader as the standard library's files are: bytes, and closed at the end of a block."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int = -1) -> bytes:
        with failing():
            return bytes(self._reader.read() if size < 0 else self._reader.read(size))

    def seek(self, offset: int, whence: int = 0) -> int:
        with failing():
            return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def failing() -> Iterator[None]:
    """Turn what the library raises into STORAGE_UNAVAILABLE; its texts name addresses and are not shown."""
    try:
        yield
    except FileNotFoundError:
        raise Recon3dError(
            Code.STORAGE_UNAVAILABLE, "The bucket, or an object that was there, does not exist."
        ) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
        raise Recon3dError(Code.STORAGE_UNAVAILABLE, "The S3 server refuses the credentials.") from None
    except (exceptions.BaseError, OSError, ValueError) as error:
        text = f"The S3 server cannot be used ({type(error).__name__})."
        raise Recon3dError(Code.STORAGE_UNAVAILABLE, text) from None
