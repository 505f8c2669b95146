#!/usr/bin/env python3
"""Trains short runs with two builds of voxot and compares what they leave, bit by bit: identity.py OLD NEW.

On the CPU, one thread, fp32. Compared are every line of metrics.jsonl, every array of samples/last.npz, every tensor of
transport.safetensors, and of the last checkpoint the weights (`transport.`, `potential.`) by name. The rest of a
checkpoint, the state of optimizers and averages, is compared by name where the names are the same, else as the multiset
of its numbers: it may be stored under other names, cut and ordered otherwise, or padded with zeros.

Exits 0 where all is the same, 1 where something differs, 2 where a run failed. Needs Python alone.
"""
import array
import collections
import json
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Only keys that have an effect, since a later voxot refuses others. Together the three runs take every optimizer,
# normalisation and term of a loss that training on the CPU knows, or nearly.
LOG = """
[log]
every = 1
samples_every = {steps}
validate_every = {validate}
checkpoint_every = {steps}
"""
STRONG = """
[solver]
form = "strong"
inner_steps = 3
steps = 8
batch_size = 8
ema = 0.9
seed = 3
precision = "fp32"
[transport]
model = "unet3d"
base = 4
[potential]
model = "resnet3d"
nf = 8
[optimizer.transport]
learning_rate = 1.5e-3
betas = [0.5, 0.999]
schedule = "linear"
final_scale = 0.05
[optimizer.potential]
learning_rate = 1.5e-3
betas = [0.5, 0.999]
schedule = "linear"
warmup_steps = 2
[source]
dataset = "digits"
classes = [3]
rotation = "three_axes"
rotation_degrees = 30.0
[target]
dataset = "digits"
classes = [5]
[judge]
steps = 20
width = 4
required = 0.0
""" + LOG.format(steps=8, validate=4) + "validate_samples = 16\n"
WEAK = """
[solver]
form = "weak"
inner_steps = 2
steps = 8
batch_size = 4
gamma = 0.5
gamma_steps = 6
noise_samples = 3
noise_std = 0.5
noise_cells = 2
ema = 0.0
seed = 4
precision = "fp32"
[transport]
model = "unet3d"
base = 4
normalisation = "group"
upsampling = "transposed"
residual = false
init = "xavier"
[potential]
model = "resnet3d"
nf = 4
nf_max = 8
res_ratio = 0.5
spectral_normalisation = true
[optimizer.transport]
kind = "adamw"
learning_rate = 1e-3
weight_decay = 1e-2
clip_norm = 0.5
schedule = "cosine"
[optimizer.potential]
kind = "rmsprop"
learning_rate = 1e-4
momentum = 0.5
schedule = "steps"
milestones = [3, 6]
[source]
dataset = "digits"
classes = [3, 8]
colour = "uniform"
[target]
dataset = "digits"
classes = [5]
colour = "uniform"
""" + LOG.format(steps=8, validate=0)
MLP = """
[solver]
form = "strong"
inner_steps = 4
steps = 60
batch_size = 64
ema = 0.99
seed = 5
precision = "fp32"
source_noise = 0.1
gradient_penalty = 0.05
drift_penalty = 0.01
[transport]
model = "mlp"
hidden = [32, 32]
activation = "silu"
linear = true
[potential]
model = "mlp"
hidden = [32, 32]
activation = "softplus"
quadratic = true
[optimizer.transport]
learning_rate = 3e-3
betas = [0.5, 0.99]
schedule = "cosine"
[optimizer.potential]
kind = "sgd"
learning_rate = 1e-2
momentum = 0.5
schedule = "constant"
[source]
dataset = "gaussian"
dimension = 4
[target]
dataset = "gaussian"
dimension = 4
""" + LOG.format(steps=60, validate=0)
RUNS = {"strong": STRONG, "weak": WEAK, "mlp": MLP}


def train(voxot, name, folder):
    """The run's folder, or None after what the command said."""
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(RUNS[name])
    done = subprocess.run(
        [voxot, "train", "run.toml", "--out", "run", "--device", "cpu", "--threads", "1"],
        cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return folder / "run"
    print(f"identity.py: error: {voxot} train, run {name}: exit {done.returncode}\n{done.stderr}", file=sys.stderr)
    return None


def tensors(file):
    """{name: (dtype, shape, bytes)} of a .safetensors file."""
    data = file.read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], tuple(t["shape"]), data[begin + t["data_offsets"][0]:begin + t["data_offsets"][1]])
            for name, t in header.items()}


def arrays(file):
    """{name: bytes with the header of .npy} of a .npz file."""
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def compare(old, new, what):
    """Differences between two dictionaries, a line each."""
    lines = [f"{what} {name} is missing" for name in sorted(old.keys() - new.keys())]
    lines += [f"{what} {name} is new" for name in sorted(new.keys() - old.keys())]
    return lines + [f"{what} {name} differs" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]


def compare_lines(old, new):
    a, b = old.read_text().splitlines(), new.read_text().splitlines()
    lines = [f"line {i + 1}: {x} became {y}" for i, (x, y) in enumerate(zip(a, b)) if x != y]
    return lines + ([f"{len(a)} lines became {len(b)}"] if len(a) != len(b) else [])


def bits(some):
    """How often each number but zero stands in the floating-point tensors, by type and bits."""
    kinds = {"F64": "Q", "F32": "I", "BF16": "H", "F16": "H"}
    counts = collections.Counter()
    for dtype, _, data in some.values():
        if dtype not in kinds:
            continue
        words = array.array(kinds[dtype], data)
        sign = 1 << (8 * words.itemsize - 1)
        counts.update((dtype, word) for word in words if word & (sign - 1))
    return counts


def whole(some):
    """The numbers in the integer tensors: counters, whose names and number may change."""
    return {number for dtype, _, data in some.values() if dtype == "I64" for number in array.array("q", data)}


def compare_state(old, new):
    """What is not weights: by name, or as numbers where names differ."""
    if old.keys() == new.keys():
        return "by name", compare(old, new, "tensor")
    a, b = bits(old), bits(new)
    lines = [f"{sum((a - b).values())} of {sum(a.values())} numbers are gone, {sum((b - a).values())} are new"]
    lines = lines if a != b else []
    gone = whole(old) - whole(new)
    return "as numbers", lines + ([f"counters {sorted(gone)} are gone"] if gone else [])


def report(run, what, how, lines):
    print(f"{run:8} {what:26} {how:24} {'DIFFERS' if lines else 'same'}")
    for line in lines[:5]:
        print(f"         {line if len(line) < 400 else line[:400] + '...'}")
    if len(lines) > 5:
        print(f"         and {len(lines) - 5} more")
    return bool(lines)


def compare_runs(name, old, new):
    differs = report(name, "metrics.jsonl", "every line", compare_lines(old / "metrics.jsonl", new / "metrics.jsonl"))
    a, b = arrays(old / "samples/last.npz"), arrays(new / "samples/last.npz")
    differs |= report(name, "samples/last.npz", f"{len(a)} arrays", compare(a, b, "array"))
    a, b = (tensors(run / "transport.safetensors") for run in (old, new))
    differs |= report(name, "transport.safetensors", f"{len(a)} tensors", compare(a, b, "tensor"))
    last = max((old / "checkpoints").glob("step-*.safetensors")).name
    if not (new / "checkpoints" / last).exists():
        return report(name, last, "", ["is missing"])
    a, b = (tensors(run / "checkpoints" / last) for run in (old, new))
    weights = ("transport.", "potential.")
    for network in weights:
        x, y = ({n: t for n, t in all.items() if n.startswith(network)} for all in (a, b))
        differs |= report(name, "checkpoint " + network, f"{len(x)} tensors",
                          compare(x, y, "tensor") if x else ["the old checkpoint has none"])
    x, y = ({n: t for n, t in all.items() if not n.startswith(weights)} for all in (a, b))
    how, lines = compare_state(x, y)
    return differs | report(name, "checkpoint, other state", f"{len(x)} tensors, {how}", lines)


def main():
    if len(sys.argv) != 3:
        print("usage: identity.py OLD_VOXOT NEW_VOXOT", file=sys.stderr)
        return 2
    old, new = (os.path.abspath(path) for path in sys.argv[1:])
    differs = False
    with tempfile.TemporaryDirectory() as folder:
        for name in RUNS:
            runs = [train(voxot, name, Path(folder) / which / name) for which, voxot in (("old", old), ("new", new))]
            if None in runs:
                return 2
            differs |= compare_runs(name, *runs)
    print("something differs" if differs else "all is the same")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
