#!/usr/bin/env bash
# Fetches the official code of ReconViaGen at the pinned commit into FOLDER; nothing where that is not possible.
#
#   checkout.sh FOLDER
set -euo pipefail
folder=$1
pins=$(dirname "$0")/../../../runner/recon3d_runner/engines/reconviagen/pins.py
value() { sed -n "s/^$1: Final = \"\(.*\)\"$/\1/p" "$pins"; }
[ -z "${RECON3D_TEST_RECONVIAGEN:-}" ] || exit 0
[ ! -d "$folder/trellis" ] || exit 0

rm -rf "$folder" "$folder.part"
mkdir -p "$folder.part"
git -C "$folder.part" init --quiet
if git -C "$folder.part" fetch --quiet --depth 1 "$(value CODE_REPOSITORY)" "$(value CODE_COMMIT)"; then
  git -C "$folder.part" checkout --quiet FETCH_HEAD
  mv "$folder.part" "$folder"
else
  rm -rf "$folder.part"
  echo "[reconviagen] the official code cannot be fetched here; what needs it is left out" >&2
fi
