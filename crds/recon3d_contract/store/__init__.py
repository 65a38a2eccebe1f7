"""Where inputs come from and results go.

parse_reference("https://...#sha256=...")   -> Reference          reference
InputReader(...).read(reference, scratch)   -> folder or ZIP      reader, https, addresses
open_store("/data")                         -> Store              port, folder
"""

from pathlib import Path

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.store.folder import FolderStore
from recon3d_contract.store.housekeeping import FolderHousekeeping, Housekeeping
from recon3d_contract.store.https import HttpsFetcher, HttpsPolicy
from recon3d_contract.store.port import Staging, Store, StoredFile
from recon3d_contract.store.reader import InputReader
from recon3d_contract.store.reference import Reference, below, parse_reference
from recon3d_contract.store.uploads import FolderUploads, Uploads

__all__ = [
    "FolderHousekeeping",
    "FolderStore",
    "FolderUploads",
    "Housekeeping",
    "HttpsFetcher",
    "HttpsPolicy",
    "InputReader",
    "Reference",
    "Staging",
    "Store",
    "StoredFile",
    "Uploads",
    "below",
    "open_housekeeping",
    "open_store",
    "open_uploads",
    "parse_reference",
]


def open_store(reference: Reference | str, scratch: Path | None = None) -> Store:
    """Return the store that `reference` names: a folder, or `s3://bucket/prefix` (extra s3).

    `scratch` holds what is on its way into a bucket. Raises INVALID_REQUEST or STORAGE_UNAVAILABLE.
    """
    ref = _place(reference)
    if ref.scheme == "path":
        return FolderStore(Path(ref.value))
    from recon3d_contract.store.s3.bucket import Bucket
    from recon3d_contract.store.s3.store import S3Store

    return S3Store(Bucket(ref), scratch)


def open_uploads(reference: Reference | str, scratch: Path | None = None) -> Uploads:
    """Return the uploads of a store. As open_store."""
    ref = _place(reference)
    if ref.scheme == "path":
        return FolderUploads(Path(ref.value))
    from recon3d_contract.store.s3.bucket import Bucket
    from recon3d_contract.store.s3.inputs import S3Uploads

    return S3Uploads(Bucket(ref), scratch)


def open_housekeeping(reference: Reference | str) -> Housekeeping:
    """Return the housekeeping of a store. Raises as open_store."""
    ref = _place(reference)
    if ref.scheme == "path":
        return FolderHousekeeping(Path(ref.value))
    from recon3d_contract.store.s3.bucket import Bucket
    from recon3d_contract.store.s3.inputs import S3Housekeeping

    return S3Housekeeping(Bucket(ref))


def _place(reference: Reference | str) -> Reference:
    if isinstance(reference, str) and reference.startswith("s3://") and "/" not in reference[5:].rstrip("/"):
        reference = Reference("s3", f"{reference[5:].rstrip('/')}/")  # a whole bucket
    ref = parse_reference(reference) if isinstance(reference, str) else reference
    if ref.scheme in ("path", "s3"):
        return ref
    raise Recon3dError(Code.INVALID_REQUEST, f"A result cannot be written to a reference of the kind {ref.scheme}.")
