#!/usr/bin/env bash
# Makes a Python environment from a hash-pinned requirements file; does nothing when it is up to date.
#
#   requirements/env.sh ENV_DIR REQUIREMENTS [--project] [--python X.Y]
#
# --project   also installs this project into it, editable, without touching its dependencies
# --python    exactly this version (Blender's wheel exists for one only); else any of 3.11 to 3.14
#
# uv does the work: its cache lets a second environment share the files of the first one and stand in
# seconds. It is taken from PATH, else installed into ~/.cache/recon3d/uv; without it, pip does the same
# more slowly. PYTHON=/path/to/python chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

env_dir=$1 requirements=$2
shift 2
project="" wanted=""
while [ $# -gt 0 ]; do
  case $1 in
    --project) project=yes ;;
    --python) wanted=$2; shift ;;
    *) echo "env.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
cache=${XDG_CACHE_HOME:-$HOME/.cache}/recon3d

say() { echo "[env] $*"; }
fail() { echo "[env] error: $*" >&2; exit 1; }

stamp_of() { # what the environment depends on: the pins, the project's metadata, its place
  { cat "$requirements"; [ -z "$project" ] || cat pyproject.toml; echo "$PWD $wanted"; } | sha256sum | cut -d' ' -f1
}
stamp=$(stamp_of)
if [ -x "$env_dir/bin/python" ] && [ "$(cat "$env_dir/.recon3d-stamp" 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi

usable() { # a Python of the wanted version that really starts (a version manager's shim may not)
  "$1" - "$wanted" <<'PY' 2>/dev/null
import sys
wanted, has = sys.argv[1], sys.version_info[:2]
sys.exit(not ("%d.%d" % has == wanted if wanted else (3, 11) <= has <= (3, 14)))
PY
}

find_python() {
  local name
  if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" || fail "PYTHON=$PYTHON is not a Python ${wanted:-3.11 to 3.14}"
    command -v "$PYTHON"
    return
  fi
  # pyenv's shim starts only what was chosen for the folder; its interpreters themselves always start.
  for name in ${wanted:+"python$wanted" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$wanted".*/bin/python} \
    python3 python3.13 python3.12 python3.11 python3.14 python; do
    if command -v "$name" >/dev/null && usable "$name"; then command -v "$name"; return; fi
  done
  local found
  found=$(python3 --version 2>/dev/null || echo "no Python at all")
  if [ -n "$wanted" ]; then
    fail "Python $wanted is needed, found $found. Debian/Ubuntu: apt-get install python$wanted python$wanted-venv, or set PYTHON"
  fi
  fail "Python 3.11 to 3.14 is needed, found $found. Debian/Ubuntu: apt-get install python3 python3-venv (Debian 12, Ubuntu 24.04 or newer), or set PYTHON"
}

need_venv() { # Debian ships the venv module without ensurepip until python3-venv is installed
  "$python" -c 'import ensurepip, venv' 2>/dev/null && return
  local package
  package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $package"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package"; } >&2 ||
      fail "could not install $package"
  else
    fail "the Python module venv is incomplete. Debian/Ubuntu: sudo apt-get install $package"
  fi
}

find_uv() { # prints the program's path; fails quietly when it cannot be had
  local candidate
  for candidate in "${UV:-uv}" "$cache/uv/bin/uv"; do
    if command -v "$candidate" >/dev/null && "$candidate" --version >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
  need_venv >&2
  say "installing uv into $cache/uv" >&2
  "$python" -m venv --clear "$cache/uv" &&
    "$cache/uv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt >&2 &&
    echo "$cache/uv/bin/uv"
}

python=$(find_python)
# An environment that stands and has the right version is brought up to date in place.
if [ -e "$env_dir" ] && ! usable "$env_dir/bin/python"; then
  say "removing $env_dir, which has no usable Python"
  rm -rf "$env_dir"
fi
started=$SECONDS
if [ -z "${RECON3D_NO_UV:-}" ] && uv=$(find_uv); then
  say "making $env_dir from $requirements with $("$uv" --version | cut -d' ' -f1,2) and $("$python" --version)"
  [ -x "$env_dir/bin/python" ] || "$uv" venv --quiet --python "$python" "$env_dir"
  export VIRTUAL_ENV=$PWD/$env_dir UV_LINK_MODE=${UV_LINK_MODE:-hardlink}
  case $env_dir in /*) VIRTUAL_ENV=$env_dir ;; esac
  install=("$uv" pip install --quiet)
else
  need_venv
  say "making $env_dir from $requirements with pip (no uv to be had; minutes) and $("$python" --version)"
  # An environment that uv made has no pip of its own.
  "$env_dir/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$env_dir"
  install=("$env_dir/bin/python" -m pip install --quiet --disable-pip-version-check)
fi
"${install[@]}" --require-hashes -r "$requirements"
# The build tools are pinned in the requirements too, so the project's own build fetches nothing.
[ -z "$project" ] || "${install[@]}" --no-deps --no-build-isolation -e .
echo "$stamp" >"$env_dir/.recon3d-stamp"
say "$env_dir is ready ($((SECONDS - started)) s)"
