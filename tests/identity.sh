#!/usr/bin/env bash
# Whether the work tree trains to the same bits as COMMIT: builds the command of both (preset off) and gives them to
# identity.py. COMMIT is HEAD where none is named, so that what is not committed yet is compared with what is.
# Exits 0 where all is the same, 1 where something differs, 2 where there was nothing to compare.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if (($# > 1)) || [[ "${1:-}" == -* ]]; then
  echo "usage: tests/identity.sh [COMMIT]" >&2
  exit 2
fi
commit=$(git rev-parse --verify --quiet "${1:-HEAD}^{commit}") || {
  echo "identity.sh: error: no commit ${1:-HEAD}" >&2
  exit 2
}
export CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros # as in ./dev: the two builds share objects

# build SOURCE         the command of the tree in SOURCE, in SOURCE/build/off; what the build says only where it fails
build() {
  local log
  log=$(mktemp)
  if ! (cd "$1" && export CCACHE_BASEDIR=$PWD && cmake --preset off &&
    nice cmake --build --preset off --parallel "$(nproc)" --target voxot) >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    echo "identity.sh: error: $1 does not build" >&2
    exit 2
  fi
  rm -f "$log"
}

old=build/identity/$commit/voxot # kept: a commit does not change
if [[ ! -x "$old" ]]; then
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT
  git archive "$commit" | tar -xf - -C "$tree"
  build "$tree"
  mkdir -p "${old%/*}"
  cp "$tree/build/off/apps/voxot" "$old"
fi
build .
python3 tests/identity.py "$old" build/off/apps/voxot
