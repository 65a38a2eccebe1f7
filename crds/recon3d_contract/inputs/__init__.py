"""All checks of untrusted input, with the standard library alone, in constant memory.

    check_source(path)            a folder or ZIP: is it six views, and perhaps six depth renders?
    extract(source, dest)         the same checks, and canonical copies in dest, nowhere else
    Collector(dest)               the same checks of files that arrive one by one, for an upload
    PngChecker(kind)              one PNG as it streams in

Everything wrong is told in one Recon3dError: details.problems = [{file, view, code, problem}], its own code the
most specific one. `names` decides which file is which view, `archive` reads ZIPs, `png` reads images.
"""

from recon3d_contract.inputs.archive import ARCHIVE_LIMIT, TOTAL_LIMIT
from recon3d_contract.inputs.check import check_source, extract
from recon3d_contract.inputs.collect import Collector
from recon3d_contract.inputs.manifest import InputFile, InputManifest, InputWarning
from recon3d_contract.inputs.png import FILE_LIMIT, PngChecker, PngInfo

__all__ = [
    "ARCHIVE_LIMIT",
    "FILE_LIMIT",
    "TOTAL_LIMIT",
    "Collector",
    "InputFile",
    "InputManifest",
    "InputWarning",
    "PngChecker",
    "PngInfo",
    "check_source",
    "extract",
]
