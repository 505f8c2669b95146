#!/usr/bin/env python3
"""Discrete optimal transport: voxot beside POT and scipy, on the same inputs, in one run.

Inputs are made here and given to voxot's benchmark executable as .npy files. Contestants take turns, the order
reversed from round to round, so that a machine's slow minutes fall on all. Before anything is timed their values must
agree; exits non-zero where they do not. The least time counts, for what others do on the machine only adds to it.

    python3 benchmarks/compare_pot.py --exact build/release/benchmarks/bench_exact_ot
    python3 benchmarks/compare_pot.py --exact ... --sections assignment --sizes 64 256
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare_pytorch import commit, cpu_model

ROOT = Path(__file__).resolve().parent.parent
AGREEMENT = 1e-6  # of values, relative


def squared_distances(x, y):
    import numpy as np

    cost = (x * x).sum(1)[:, None] + (y * y).sum(1)[None] - 2 * x @ y.T
    return np.ascontiguousarray(np.maximum(cost, 0), dtype=np.float32)


def costs(kind: str, n: int, m: int):
    """uniform: random numbers. features: squared distances of points in 64 dimensions, half of each its cluster's, as
    features of voxels have them; both sides share the ten clusters. plane: in two dimensions, where paths are long."""
    import numpy as np

    generator = np.random.default_rng([n, m])
    if kind == "uniform":
        return generator.random((n, m), dtype=np.float32)
    if kind == "plane":
        return squared_distances(generator.random((n, 2)), generator.random((m, 2)))
    centres = generator.standard_normal((10, 64))
    x, y = (centres[generator.integers(0, 10, k)] + generator.standard_normal((k, 64)) for k in (n, m))
    return squared_distances(x, y)


# --- contestants: a function that takes the seconds it may repeat for and returns (value, seconds of each run) ---------


def repeated(work, seconds: float):
    runs, value = [], None
    while not runs or (sum(runs) < seconds and len(runs) < 100):
        begin = time.perf_counter()
        value = work()
        runs.append(time.perf_counter() - begin)
    return value, runs


def voxot_exact(args, cost, masses, folder: Path):
    import numpy as np

    names = [folder / f"{name}.npy" for name in ("cost", "a", "b")]
    for name, array in zip(names, (cost, *masses)):
        np.save(name, array)
    command = [str(args.exact), "--json", "--threads", str(args.threads), "--cost", str(names[0])]
    if masses:
        command += ["--masses", *map(str, names[1:])]

    def run(seconds: float):
        done = subprocess.run([*command, "--seconds", str(seconds)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"compare_pot: {done.stdout[-500:]}{done.stderr[-500:]}")
        row = json.loads(done.stdout.strip().splitlines()[-1])["rows"][0]
        return row["value"], [row["least_seconds"], row["median_seconds"]]

    return run


def assignment(args, kind: str, n: int, folder: Path) -> dict:
    import numpy as np
    import ot
    from scipy.optimize import linear_sum_assignment

    cost = costs(kind, n, n)
    wide = cost.astype(np.float64)  # what both libraries compute with: the conversion is not theirs to pay
    mass = np.full(n, 1 / n)

    def scipy_value():
        rows, columns = linear_sum_assignment(wide)
        return wide[rows, columns].sum()

    return {
        "voxot": voxot_exact(args, cost, (), folder),
        "scipy linear_sum_assignment": lambda s: repeated(scipy_value, s),
        "POT emd": lambda s: repeated(lambda: n * (ot.emd(mass, mass, wide, numItermax=10**9) * wide).sum(), s),
    }


def plan(args, kind: str, n: int, folder: Path) -> dict:
    import numpy as np
    import ot

    cost = costs(kind, n, n)
    wide = cost.astype(np.float64)
    generator = np.random.default_rng(n)
    a, b = (w / w.sum() for w in (generator.random(n) + 0.1, generator.random(n) + 0.1))
    return {
        "voxot": voxot_exact(args, cost, (a, b), folder),
        "POT emd": lambda s: repeated(lambda: (ot.emd(a, b, wide, numItermax=10**9) * wide).sum(), s),
    }


# A section's function takes (args, kind of costs, size, folder for files) and returns its contestants by name, voxot first.
SECTIONS = {
    "assignment": {"make": assignment, "sizes": [64, 256, 1024, 4096], "needs": "exact"},
    "plan": {"make": plan, "sizes": [64, 256, 1024], "needs": "exact"},
}


def measure(args, section: str, kind: str, n: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        contestants = SECTIONS[section]["make"](args, kind, n, Path(folder))
        seconds = {name: [] for name in contestants}
        values = {}
        for turn in range(args.rounds):
            for name in list(contestants)[:: 1 if turn % 2 == 0 else -1]:
                # What takes long is not taken again: it stands far from a tie.
                if turn > 0 and min(seconds[name]) > args.once_above:
                    continue
                values[name], runs = contestants[name](args.seconds)
                seconds[name] += runs
    reference = values["voxot"]
    record = {"section": section, "costs": kind, "size": n, "value": reference, "contestants": {}}
    for name, runs in seconds.items():
        record["contestants"][name] = {
            "least_seconds": min(runs),
            "median_seconds": statistics.median(runs),
            "over_voxot": min(runs) / min(seconds["voxot"]),
            "value_apart": abs(values[name] - reference) / max(abs(reference), 1e-300),
        }
    record["agree"] = all(c["value_apart"] <= AGREEMENT for c in record["contestants"].values())
    return record


def print_record(record: dict) -> None:
    print(f"\n{record['section']}, {record['costs']} costs, n = {record['size']}")
    for name, c in record["contestants"].items():
        print(
            f"  {name:30} least {1e3 * c['least_seconds']:11.3f} ms  median {1e3 * c['median_seconds']:11.3f} ms"
            f"  {c['over_voxot']:7.2f}x  value apart {c['value_apart']:.1e}"
        )
    if not record["agree"]:
        print("  WRONG: the values disagree")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exact", type=Path, help="voxot's bench_exact_ot; without it its sections are left out")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--costs", nargs="+", choices=["uniform", "features", "plane"], default=["uniform", "features"])
    parser.add_argument("--sizes", nargs="+", type=int, help="in place of each section's own")
    parser.add_argument("--threads", type=int, default=1, help="the exact solvers of both rivals have one")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.5, help="for which each turn repeats")
    parser.add_argument("--once-above", type=float, default=20, help="seconds above which one turn is enough")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "compare_pot.json")
    return parser.parse_args()


def main() -> int:
    args = parse()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read when numpy is first imported
    import numpy
    import ot
    import scipy

    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": cpu_model(),
        "threads": args.threads,
        "versions": {"POT": ot.__version__, "scipy": scipy.__version__, "numpy": numpy.__version__},
        "load_before": os.getloadavg(),
        "records": [],
    }
    for section in args.sections:
        if getattr(args, SECTIONS[section]["needs"]) is None:
            print(f"{section}: left out, --{SECTIONS[section]['needs']} is not given")
            continue
        for n in args.sizes or SECTIONS[section]["sizes"]:
            for kind in args.costs:
                report["records"].append(measure(args, section, kind, n))
                print_record(report["records"][-1])
    report["load_after"] = os.getloadavg()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{args.output}")
    return 0 if all(record["agree"] for record in report["records"]) else 1


if __name__ == "__main__":
    sys.exit(main())
