"""Makes the benchmark's cases: every shape with other colours, cameras, depth encodings, light and noise.

    make cases [ARGS="--only mug gear"]

Each is one call of examples/make_input.py in a process of its own; a case that is there already is left alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

MAKER = Path(__file__).resolve().parent.parent / "examples/make_input.py"

# name: what differs from the maker's defaults
CASES = {
    "example": "--object example",
    "finbox": "--object finbox --seed 1 --fov 45 --dist 2.6 --depth black-near",
    "carton": "--object carton --seed 21 --fov 36 --dist 2.9 --depth white-near",
    "carton-wide": "--object carton --seed 22 --fov 48 --dist 2.3 --depth black-near",
    "knot": "--object knot --seed 2 --fov 40 --dist 2.0 --depth white-near",
    "pretzel": "--object pretzel --seed 3 --fov 30 --dist 2.6 --depth metric16",
    "mug": "--object mug --seed 4 --fov 50 --dist 1.9 --depth white-near",
    "steps": "--object steps --seed 5 --fov 35 --dist 2.4 --depth linear16",
    "spikes": "--object spikes --seed 6 --fov 42 --dist 2.0 --depth black-near",
    "pieces": "--object pieces --seed 7 --fov 38 --dist 2.1 --depth metric16",
    "column": "--object column --seed 8 --fov 28 --dist 3.0 --depth white-near",
    "pebble": "--object pebble --seed 9 --fov 55 --dist 1.7 --depth linear16",
    "sheet": "--object sheet --seed 10 --fov 40 --dist 2.2 --depth white-near",
    "gear": "--object gear --seed 11 --fov 33 --dist 2.4 --depth black-near",
    "mug-lit": "--object mug --seed 14 --fov 44 --dist 2.1 --depth white-near --lit",
    "knot-noise": "--object knot --seed 15 --fov 36 --dist 2.2 --depth metric16 --noise 3",
    "gear-ray": "--object gear --seed 16 --fov 48 --dist 1.9 --depth white-near --ray-depth",
    "vase": "--object vase --seed 31 --fov 40 --dist 2.2 --depth linear16",
    "dog": "--object dog --seed 32 --fov 46 --dist 2.0 --depth metric16",
    "shoe": "--object shoe --seed 33 --fov 34 --dist 2.4 --depth white-near",
    "bottle": "--object bottle --seed 34 --fov 30 --dist 2.6 --depth black-near",
    "chair": "--object chair --seed 35 --fov 42 --dist 2.1 --depth linear16",
    "pebble-nodepth": "--object pebble --seed 17 --fov 40 --dist 2.2 --depth none",
}


def main() -> int:
    """Make what is missing; 1 when a case could not be made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=sorted(CASES), default=sorted(CASES))
    parser.add_argument("--quick", action="store_true", help="two novel views and few samples: to try things")
    a = parser.parse_args()
    failed = []
    for name in a.only:
        folder = a.out / name
        if (folder / "truth/cameras.json").is_file():
            print(f"[cases] {name} is there")
            continue
        started = time.monotonic()
        options = [*CASES[name].split(), *(["--novel", "2", "--samples", "8"] if a.quick else [])]
        done = subprocess.run(
            [sys.executable, str(MAKER), *options, "--out", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            failed.append(name)
            print(done.stderr, file=sys.stderr)
        summary = [line for line in done.stdout.splitlines() if line.startswith("[case]")]
        print(f"[cases] {name}: {time.monotonic() - started:.0f} s {' '.join(summary)}", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
