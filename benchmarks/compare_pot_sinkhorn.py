#!/usr/bin/env python3
"""Sinkhorn beside POT on the CPU, in one run, on the same inputs, to the same stopping error.

    python3 benchmarks/compare_pot_sinkhorn.py --voxot build/release/benchmarks/bench_sinkhorn --threads 1

batch   256 problems of 64×64 from 12,288-dimensional voxels, cost ½‖x − y‖²/D included: POT's batch solver
        (torch and numpy, plain and logarithmic) and a loop over its single solver
large   one problem of 4096×4096, costs given: every method of ot.sinkhorn that reaches the error

The error is L1 over both marginals, for the worst problem. POT stops on another norm of one marginal, so for each
contestant the loosest of its tolerances is taken that meets the error; what meets it with none is listed as such.
Contestants take turns, best of --rounds counts. Writes benchmarks/results/compare_pot_sinkhorn.json.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EPSILON = 10 / 3072  # the published pairing's
LARGE_EPSILON = 0.01  # of the mean cost
LOOP_SAMPLE = 32  # problems of the loop that are timed; the rest is proportional
GOAL = {"batch": 5, "loop": 20, "large": 2}


def worst_error(plans, a, b) -> float:
    """L1 over both marginals, of the worst of plans [..., n, m]."""
    rows, columns = abs(plans.sum(-1) - a).sum(-1), abs(plans.sum(-2) - b).sum(-1)
    return float((rows + columns).max())


class Batch:
    """POT's batch solver, costs included; float32, as voxot."""

    def __init__(self, folder: Path, settings: dict):
        import numpy as np

        self.library, self.method = settings["library"], settings["method"]
        pools = [np.load(folder / f"{side}.npy") for side in ("source", "target")]
        count, points = settings["problems"], settings["points"]
        index = (np.arange(count)[:, None] * 37 + np.arange(points)[None, :]) % len(pools[0])
        self.x, self.y = (pool[index] for pool in pools)
        if self.library == "torch":
            import torch

            self.x, self.y = torch.from_numpy(self.x), torch.from_numpy(self.y)
            self.a = torch.full((count, points), 1 / points)
        else:
            self.a = np.full((count, points), 1 / points, dtype=np.float32)
        self.problems = count

    def solve(self, tolerance: float):
        from ot.batch import dist_batch, solve_batch

        costs = dist_batch(self.x, self.y, metric="sqeuclidean") / (2 * self.x.shape[-1])
        found = solve_batch(
            costs, EPSILON, self.a, self.a, max_iter=5000, tol=tolerance, method=self.method, grad="detach"
        )
        return found.plan

    def error(self, plan) -> float:
        return worst_error(plan, self.a, self.a)


class Loop(Batch):
    """One ot.sinkhorn after another, of the first LOOP_SAMPLE problems; costs by ot.dist."""

    def solve(self, tolerance: float):
        import ot

        plans = []
        for x, y, a in zip(self.x[:LOOP_SAMPLE], self.y[:LOOP_SAMPLE], self.a, strict=False):
            cost = ot.dist(x, y) / (2 * x.shape[-1])
            plans.append(ot.sinkhorn(a, a, cost, EPSILON, self.method, numItermax=5000, stopThr=tolerance))
        return plans

    def error(self, plan) -> float:
        return max(worst_error(p, self.a[0], self.a[0]) for p in plan)

    @property
    def scale(self) -> float:
        return self.problems / min(LOOP_SAMPLE, self.problems)


class Large:
    """One problem, costs given."""

    def __init__(self, folder: Path, settings: dict):
        import numpy as np
        import ot

        self.method = settings["method"]
        dtype = np.dtype(settings["dtype"])
        x, y = (np.load(folder / f"large_{side}.npy").astype(np.float64) for side in "xy")
        cost = ot.dist(x, y)
        self.epsilon = LARGE_EPSILON * cost.mean()
        self.cost = cost.astype(dtype)
        self.a = np.full(len(x), 1 / len(x), dtype=dtype)
        if settings["library"] == "torch":
            import torch

            self.cost, self.a = torch.from_numpy(self.cost), torch.from_numpy(self.a)

    def solve(self, tolerance: float):
        import ot

        return ot.sinkhorn(self.a, self.a, self.cost, self.epsilon, self.method, numItermax=5000, stopThr=tolerance)

    def error(self, plan) -> float:
        return worst_error(plan, self.a, self.a)


CONTESTANTS = {
    "batch": (Batch, [{"library": lib, "method": m} for lib in ("torch", "numpy") for m in ("sinkhorn", "log_sinkhorn")]),
    "loop": (Loop, [{"library": lib, "method": "sinkhorn"} for lib in ("numpy", "torch")]),
    "large": (
        Large,
        [
            {"library": "numpy", "dtype": "float32", "method": "sinkhorn"},
            {"library": "torch", "dtype": "float32", "method": "sinkhorn"},
            {"library": "numpy", "dtype": "float64", "method": "sinkhorn"},
            {"library": "numpy", "dtype": "float64", "method": "sinkhorn_stabilized"},
        ],
    ),
}


def worker(job: dict) -> dict:
    """Times one contestant; without a tolerance looks for the loosest that meets the error first."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(job["threads"])
    torch.set_grad_enabled(False)
    make, _ = CONTESTANTS[job["case"]]
    contestant = make(Path(job["folder"]), job)
    candidates = [job["tolerance"]] if job.get("tolerance") else [job["error"] * s for s in (1, 0.3, 0.1, 0.03, 0.01)]
    scale = getattr(contestant, "scale", 1)
    for tolerance in candidates:
        clock = time.process_time if job["processor_time"] else time.perf_counter
        start = clock()
        plan = contestant.solve(tolerance)
        seconds = clock() - start
        error = contestant.error(plan)
        if error <= job["error"]:
            return {"seconds": seconds * scale, "tolerance": tolerance, "error": error}
    return {"failed": f"error {error:.1e} with its tightest tolerance"}


def run(command: list[str], threads: int, timeout: float) -> dict:
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
    env.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"failed": f"no result within {timeout:.0f} s"}
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return {"failed": lines[-1] if lines else f"exit {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_voxot(args, case: str, omega: float, folder: Path, write: bool) -> dict:
    command = [args.voxot, "--case", case, "--json", "--runs", "3", "--tolerance", str(args.error)]
    command += ["--problems", str(args.problems), "--points", str(args.points), "--large", str(args.large)]
    command += ["--over-relaxation", str(omega), "--threads", str(args.threads)]
    command += ["--processor-time"] if args.processor_time else []
    command += ["--output", str(folder / "voxot.json")] + (["--write", str(folder)] if write else [])
    report = run(command, args.threads, args.timeout)
    if "failed" in report:
        return report
    row = next(r for r in report["rows"] if r.get("over_relaxation", omega) == omega)
    return {"seconds": row["least_seconds"], "error": row["marginal_error"], "iterations": row["mean_iterations"]}


def compare(args, case: str, folder: Path) -> dict:
    ours = {f"voxot, over-relaxation {omega}": omega for omega in (1.0, 1.5)}
    theirs = {f"POT {case}: " + ", ".join(c.values()): c for c in CONTESTANTS[case][1]}
    records: dict[str, dict] = {}
    voxot_case = "large" if case == "large" else "batch"
    for round_ in range(args.rounds):
        turns = [*ours, *theirs]
        for name in turns if round_ % 2 == 0 else reversed(turns):
            before = records.get(name, {})
            if "failed" in before:
                continue
            if name in ours:
                now = run_voxot(args, voxot_case, ours[name], folder, write=False)
            else:
                job = {**theirs[name], "case": case, "folder": str(folder), "threads": args.threads, "error": args.error}
                job |= {"problems": args.problems, "points": args.points, "tolerance": before.get("tolerance")}
                job["processor_time"] = args.processor_time
                now = run([args.python, __file__, "--worker", json.dumps(job)], args.threads, args.timeout)
            if "failed" not in now and before:
                now["seconds"] = min(now["seconds"], before["seconds"])
            records[name] = now
    return records


def report(case: str, records: dict) -> dict:
    print(f"\n{case}")
    for name, r in records.items():
        line = f"failed: {r['failed']}" if "failed" in r else f"{r['seconds']:10.4f} s   error {r['error']:.1e}"
        print(f"  {name:44} {line}")
    good = {n: r["seconds"] for n, r in records.items() if "failed" not in r}
    theirs = [s for n, s in good.items() if n.startswith("POT")]
    ratios = {n: min(theirs) / s for n, s in good.items() if n.startswith("voxot")} if theirs else {}
    for name, ratio in ratios.items():
        print(f"  {name:44} {ratio:10.2f} times POT's fastest (goal: {GOAL[case]})")
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxot", help="bench_sinkhorn")
    parser.add_argument("--python", default=sys.executable, help="one that has POT and torch")
    parser.add_argument("--cases", nargs="+", default=["batch", "loop", "large"], choices=list(CONTESTANTS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processor-time", action="store_true", help="of all threads together, on a busy machine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--error", type=float, default=1e-3, help="L1 marginal error, as a share of the mass")
    parser.add_argument("--problems", type=int, default=256)
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--large", type=int, default=4096)
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--output", default=str(ROOT / "benchmarks/results/compare_pot_sinkhorn.json"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(worker(json.loads(args.worker))))
        return
    if not args.voxot:
        parser.error("--voxot is needed")
    results = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "cpu": platform.processor()}
    results |= {"threads": args.threads, "error": args.error, "processor_time": args.processor_time, "load_before": os.getloadavg(), "cases": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in sorted({"large" if c == "large" else "batch" for c in args.cases}):
            made = run_voxot(args, case, 1.0, folder, write=True)
            if "failed" in made:
                raise SystemExit(f"voxot: {made['failed']}")
        for case in args.cases:
            records = compare(args, case, folder)
            results["cases"][case] = {"records": records, "times_as_fast": report(case, records)}
    results["load_after"] = os.getloadavg()
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    Path(args.output).write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{args.output}")


if __name__ == "__main__":
    main()
