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
from recon3d_contract.store.reference import Reference, parse_reference
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
    "open_housekeeping",
    "open_store",
    "open_uploads",
    "parse_reference",
]


def open_store(reference: Reference | str) -> Store:
    """Return the store that `reference` names: a folder. Raises INVALID_REQUEST or STORAGE_UNAVAILABLE."""
    return FolderStore(_folder(reference))


def open_uploads(reference: Reference | str) -> Uploads:
    """Return the uploads of a store. Raises as open_store."""
    return FolderUploads(_folder(reference))


def open_housekeeping(reference: Reference | str) -> Housekeeping:
    """Return the housekeeping of a store. Raises as open_store."""
    return FolderHousekeeping(_folder(reference))


def _folder(reference: Reference | str) -> Path:
    ref = parse_reference(reference) if isinstance(reference, str) else reference
    if ref.scheme == "path":
        return Path(ref.value)
    if ref.scheme == "s3":
        raise Recon3dError(
            Code.STORAGE_UNAVAILABLE,
            "Results cannot be written to S3 here: the S3 back end is not installed or not configured.",
            suggestion="Install recon3d with the extra s3 and configure it, or use a folder.",
        )
    raise Recon3dError(Code.INVALID_REQUEST, f"A result cannot be written to a reference of the kind {ref.scheme}.")
