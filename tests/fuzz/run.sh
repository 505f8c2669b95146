#!/usr/bin/env bash
# run.sh TARGET SECONDS [CORPUS]: runs one fuzz target from its own seeds; prints its output only where it finds
# something. The folder CORPUS is kept and grows; without it nothing is kept but findings, which go into the current
# folder. TARGET FILE runs a finding again.
set -euo pipefail
target=$1
seconds=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/seeds" "$scratch/corpus"
corpus=${3:-$scratch/corpus}
mkdir -p "$corpus"
name=${target##*/}
# HDF5 itself loses memory where it refuses a file.
[[ "$name" == fuzz_hdf5 ]] && export ASAN_OPTIONS=detect_leaks=0
# A reader may unpack 1 GiB from any file (engine/atomic_file.h), and the checks keep what is freed for a while.
if VOXOT_FUZZ_SEEDS="$scratch/seeds" "$target" -max_total_time="$seconds" -timeout=20 -malloc_limit_mb=1200 \
    -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="$name-" "$corpus" "$scratch/seeds" \
    >"$scratch/log" 2>&1; then
  printf '%s: ' "$name"
  sed -n 's/^stat::number_of_executed_units: */inputs tried: /p' "$scratch/log"
else
  tail -n 60 "$scratch/log"
  exit 1
fi
