"""Imports modules, or every module of packages, and prints what it is that it imported them with.

python import_all.py [--package NAME ...] [MODULE ...]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import pkgutil
import sys


def modules(package: str) -> list[str]:
    """Names of `package` and all below it."""
    root = importlib.import_module(package)
    return [package, *(found.name for found in pkgutil.walk_packages(root.__path__, f"{package}."))]


def main() -> None:
    """Import, then print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", action="append", default=[])
    parser.add_argument("module", nargs="*")
    given = parser.parse_args()
    names = [*given.module, *(name for package in given.package for name in modules(package))]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    versions = {
        (found.metadata["Name"] or "").lower().replace("-", "_").removesuffix("_cu120"): found.version
        for found in importlib.metadata.distributions()
    }
    print(json.dumps({"python": sys.version_info[:2], "modules": len(names), "versions": versions}))


if __name__ == "__main__":
    main()
