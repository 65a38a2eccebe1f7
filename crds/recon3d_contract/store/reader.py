"""From an input reference to a local folder or ZIP, not yet checked: that is recon3d_contract.inputs' work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.store.https import HttpsFetcher, HttpsPolicy
from recon3d_contract.store.reference import Reference, Scheme, parse_reference

Fetch = Callable[[Reference, Path], Path]
"""(reference, scratch folder) -> where the input now is."""


class InputReader:
    """Reads each kind of reference that this process can read."""

    def __init__(
        self,
        *,
        https: HttpsPolicy | HttpsFetcher | None = None,
        builtin: Mapping[str, Path] | None = None,
        others: Mapping[Scheme, Fetch] | None = None,
    ) -> None:
        """`builtin` maps names to folders of the image; `others` adds back ends such as s3."""
        self._https = HttpsFetcher(https or HttpsPolicy()) if not isinstance(https, HttpsFetcher) else https
        self._builtin = dict(builtin or {})
        self._others = dict(others or {})

    def read(self, reference: Reference | str, scratch: Path) -> Path:
        """Return a folder or file with the input; what has to be fetched is put into `scratch`, which exists.

        Raises INVALID_REQUEST, INPUT_NOT_FOUND, INPUT_NOT_ALLOWED, and what a fetch raises.
        """
        ref = parse_reference(reference) if isinstance(reference, str) else reference
        if ref.scheme in self._others:
            return self._others[ref.scheme](ref, scratch)
        if ref.scheme == "https":
            target = scratch / "input.zip"
            self._https.fetch(ref, target)
            return target
        if ref.scheme == "builtin":
            return self._builtin_folder(ref.value)
        if ref.scheme == "s3":
            from recon3d_contract.store.s3.inputs import fetch_input

            return fetch_input(ref, scratch)
        path = Path(ref.value)
        if not path.exists():
            raise Recon3dError(Code.INPUT_NOT_FOUND, f"The input {path.name} does not exist.")
        return path

    def _builtin_folder(self, name: str) -> Path:
        path = self._builtin.get(name)
        if path is None or not path.is_dir():
            known = ", ".join(sorted(self._builtin)) or "none"
            text = f"There is no builtin input {name} here (there is: {known})."
            raise Recon3dError(Code.INPUT_NOT_FOUND, text)
        return path
