#!/usr/bin/env bash
# Makes the goldens of old_run/ with the command at 00cf619: make_old_run.sh VOXOT. tests/identity.sh 00cf619 leaves that
# command in build/identity/.
set -euo pipefail
(($# == 1)) || {
  echo "usage: tests/goldens/make_old_run.sh VOXOT" >&2
  exit 2
}
voxot=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/old_run"
rm -rf run trace.jsonl mapped.npy evaluation.json
"$voxot" train old_run.toml --out run --device cpu --threads 1 --quiet
mv run/metrics.jsonl trace.jsonl
# As a kill after the fifth step leaves it.
head -n 5 trace.jsonl >run/metrics.jsonl
rm -rf run/checkpoints/step-0000010.safetensors run/transport.safetensors run/samples run/sessions.jsonl run/events.* run/.lock
# On a copy, since it leaves a judge and scores in the run.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r run "$work/run"
(cd "$work" &&
  "$voxot" data make digits --resolution 8 --extrude 2 6 --count 2 --seed 1 --output x.npz &&
  "$voxot" map run --input x.npz --output mapped.npy --device cpu --threads 1 &&
  "$voxot" evaluate run --samples 16 --device cpu --threads 1)
mv "$work/mapped.npy" .
mv "$work/run/evaluation.json" .
