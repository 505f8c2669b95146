#!/usr/bin/env python3
"""Sinkhorn beside POT and others, in one run, on the same inputs, to the same stopping error.

    python3 benchmarks/compare_pot_sinkhorn.py --voxot build/release/benchmarks/bench_sinkhorn --threads 1
    python3 benchmarks/compare_pot_sinkhorn.py --voxot build/release/benchmarks/bench_sinkhorn --device cuda

batch   256 problems of 64×64 from 12,288-dimensional voxels, cost ½‖x − y‖²/D included: POT's batch solver
        (torch and numpy, plain and logarithmic) and a loop over its single solver
large   one problem of 4096×4096, costs given: every method of ot.sinkhorn that reaches the error
streamed  one problem of 20,000×20,000 points in 64 dimensions whose costs nobody holds: no contestant of POT

On cuda (batch and streamed) GeomLoss, OTT-JAX and flash-sinkhorn take part where they are installed; --rivals names others.
What is not installed is listed as left out. The error is L1 over both marginals, for the worst problem. POT stops on another norm of one marginal, so for each
contestant the loosest of its tolerances is taken that meets the error; what meets it with none is listed as such.
Contestants take turns, best of --rounds counts. Values are compared too: the objective ⟨C, P⟩ + ε·KL(P | a⊗b) of each
contestant's plan with that of voxot's first. Exits 1 where values disagree or voxot failed. Writes benchmarks/results/compare_pot_sinkhorn.json.
"""

import argparse
import datetime
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from compare_pytorch import commit, cpu_model
from sinkhorn_rivals import RIVALS

ROOT = Path(__file__).resolve().parent.parent
EPSILON = 10 / 3072  # the published pairing's
LARGE_EPSILON = 0.01  # of the mean cost
LOOP_SAMPLE = 32  # problems of the loop that are timed; the rest is proportional
STREAMED_EPSILON = 10.0
GOAL = {"batch": 5, "loop": 20, "large": 2}
CUDA_CASES = ["batch", "streamed"]


def worst_error(plans, a, b) -> float:
    """L1 over both marginals, of the worst of plans [..., n, m]."""
    rows, columns = abs(plans.sum(-1) - a).sum(-1), abs(plans.sum(-2) - b).sum(-1)
    return float((rows + columns).max())


def objective(plan, cost, a, b, epsilon: float) -> list[float]:
    """⟨C, P⟩ + ε·KL(P | a⊗b) of plans [..., n, m], in double."""
    import numpy as np

    p, c, a, b = (np.asarray(t.cpu() if hasattr(t, "cpu") else t, dtype=np.float64) for t in (plan, cost, a, b))
    product = a[..., :, None] * b[..., None, :]
    terms = p * np.log(np.maximum(p, 1e-300) / product) - p + product
    return np.atleast_1d((p * c + epsilon * terms).sum((-2, -1))).tolist()


def allowed_apart(error: float, largest_cost: float, epsilon: float, points: int) -> float:
    """How far apart the values of two plans of one problem may lie that have this marginal error.

    A plan of potentials is the best for its own marginals, and with the marginals the best value changes by the potentials,
    which range over no more than the costs and the logarithms of the weights: error times that. A plan rounded to its
    marginals, which is voxot's, moves at most twice the error of its mass.
    """
    return 3 * error * (largest_cost + epsilon * math.log(points))


def volume_problems(folder: Path, settings: dict):
    import numpy as np

    pools = [np.load(folder / f"{side}.npy") for side in ("source", "target")]
    index = (np.arange(settings["problems"])[:, None] * 37 + np.arange(settings["points"])[None, :]) % len(pools[0])
    return [pool[index] for pool in pools]


class Batch:
    """POT's batch solver, costs included; float32, as voxot."""

    def __init__(self, folder: Path, settings: dict):
        import numpy as np

        import numpy as np
        import ot  # noqa: F401, so that what is not installed is left out by name

        self.library, self.method = settings["library"], settings["method"]
        self.x, self.y = volume_problems(folder, settings)
        count, points = settings["problems"], settings["points"]
        if self.library == "torch":
            import torch

            device = settings["device"]
            self.x, self.y = (torch.from_numpy(t).to(device) for t in (self.x, self.y))
            self.a = torch.full((count, points), 1 / points, device=device)
        else:
            self.a = np.full((count, points), 1 / points, dtype=np.float32)
        self.problems = count

    def solve(self, tolerance: float):
        from ot.batch import dist_batch, solve_batch

        self.costs = dist_batch(self.x, self.y, metric="sqeuclidean") / (2 * self.x.shape[-1])
        found = solve_batch(
            self.costs, EPSILON, self.a, self.a, max_iter=5000, tol=tolerance, method=self.method, grad="detach"
        )
        return found.plan

    def error(self, plan) -> float:
        return worst_error(plan, self.a, self.a)

    def values(self, plan) -> list[float]:
        return objective(plan, self.costs, self.a, self.a, EPSILON)


class Loop(Batch):
    """One ot.sinkhorn after another, of the first LOOP_SAMPLE problems; costs by ot.dist."""

    def solve(self, tolerance: float):
        import ot

        plans = []
        self.costs = []
        for x, y, a in zip(self.x[:LOOP_SAMPLE], self.y[:LOOP_SAMPLE], self.a, strict=False):
            self.costs.append(ot.dist(x, y) / (2 * x.shape[-1]))
            plans.append(ot.sinkhorn(a, a, self.costs[-1], EPSILON, self.method, numItermax=5000, stopThr=tolerance))
        return plans

    def error(self, plan) -> float:
        return max(worst_error(p, self.a[0], self.a[0]) for p in plan)

    def values(self, plan) -> list[float]:
        return [objective(p, c, self.a[0], self.a[0], EPSILON)[0] for p, c in zip(plan, self.costs, strict=True)]

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

    def values(self, plan) -> list[float]:
        return objective(plan, self.cost, self.a, self.a, self.epsilon)


class Rival:
    """One of sinkhorn_rivals.py, judged by the plan that its potentials make, some rows at a time and in double."""

    ROWS = 1000

    def __init__(self, folder: Path, settings: dict):
        import numpy as np
        import torch

        if settings["case"] == "batch":
            # ½‖x − y‖²/D as a squared distance.
            x, y = (t / np.float32(math.sqrt(2 * t.shape[-1])) for t in volume_problems(folder, settings))
            self.epsilon = EPSILON
        else:
            x, y = (np.load(folder / f"streamed_{side}.npy") for side in "xy")
            self.epsilon = STREAMED_EPSILON
        self.rival = RIVALS[settings["rival"]](x, y, self.epsilon, settings["device"])
        self.tolerances, self.solve = self.rival.tolerances, self.rival.solve
        self.device = settings["device"]
        self.x, self.y = (torch.as_tensor(t, device=self.device) for t in (x, y))

    def judge(self, potentials):
        """The worst L1 error, and each problem's objective."""
        import numpy as np
        import torch

        f, g = (torch.as_tensor(np.asarray(t.cpu() if hasattr(t, "cpu") else t)).to(self.device).double() for t in potentials)
        x, y = (t if t.ndim == 3 else t[None] for t in (self.x, self.y))
        f, g = f.reshape(len(x), -1), g.reshape(len(x), -1)
        n, m = f.shape[1], g.shape[1]
        worst, values = 0.0, []
        for k in range(len(x)):
            columns = torch.zeros(m, dtype=torch.float64, device=self.device)
            error = value = 0.0
            for i in range(0, n, self.ROWS):
                rows = slice(i, i + self.ROWS)
                cost = torch.cdist(x[k, rows].double(), y[k].double()) ** 2
                exponent = (f[k, rows, None] + g[k, None] - cost) / self.epsilon
                plan = exponent.exp() / (n * m)
                error += (plan.sum(1) - 1 / n).abs().sum().item()
                columns += plan.sum(0)
                value += (plan * cost + self.epsilon * (plan * exponent - plan + 1 / (n * m))).sum().item()
            worst = max(worst, error + (columns - 1 / m).abs().sum().item())
            values.append(value)
        return worst, values


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
    "streamed": (Rival, []),
}


def worker(job: dict) -> dict:
    """Times one contestant; without a tolerance looks for the loosest that meets the error first."""
    warnings.simplefilter("ignore")
    try:
        return timed(job)
    except ImportError as missing:
        return {"left_out": str(missing)}
    except Exception as error:  # noqa: BLE001, another's library may fail in its own way; it is listed
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}


def timed(job: dict) -> dict:
    import torch

    torch.set_num_threads(job["threads"])
    torch.set_grad_enabled(False)
    cuda = job["device"] == "cuda"
    make = Rival if "rival" in job else CONTESTANTS[job["case"]][0]
    contestant = make(Path(job["folder"]), job)
    candidates = [job["error"] * s for s in (1, 0.3, 0.1, 0.03, 0.01)]
    if hasattr(contestant, "tolerances"):
        candidates = contestant.tolerances(job["error"])
    if job.get("tolerance"):
        candidates = [job["tolerance"]]
    scale = getattr(contestant, "scale", 1)
    clock = time.process_time if job["processor_time"] else time.perf_counter

    def seconds_of(tolerance: float):
        if cuda:
            torch.cuda.synchronize()
        start = clock()
        found = contestant.solve(tolerance)
        if cuda:
            torch.cuda.synchronize()
        return clock() - start, found

    for tolerance in candidates:
        seconds, found = seconds_of(tolerance)
        error, values = contestant.judge(found) if hasattr(contestant, "judge") else (contestant.error(found), None)
        if error <= job["error"]:
            if cuda or "rival" in job:
                seconds, found = seconds_of(tolerance)  # the first one compiled
            values = values or contestant.values(found)
            return {"seconds": seconds * scale, "tolerance": tolerance, "error": error, "values": values}
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
    command = [args.voxot, "--case", case, "--device", args.device, "--json", "--runs", "3", "--tolerance", str(args.error)]
    command += ["--problems", str(args.problems), "--points", str(args.points), "--large", str(args.large)]
    command += ["--solved", str(args.solved)]
    command += ["--over-relaxation", str(omega), "--threads", str(args.threads)]
    command += ["--processor-time"] if args.processor_time else []
    command += ["--output", str(folder / "voxot.json")] + (["--write", str(folder)] if write else [])
    report = run(command, args.threads, args.timeout)
    if "failed" in report:
        return report
    row = next(r for r in report["rows"] if r.get("over_relaxation", omega) == omega)
    found = {"seconds": row["least_seconds"], "error": row["marginal_error"], "iterations": row["mean_iterations"]}
    return found | {key: row[key] for key in ("values", "largest_cost", "epsilon")}


VOXOT_CASES = {"batch": "batch", "loop": "batch", "large": "large", "streamed": "solved"}


def compare(args, case: str, folder: Path) -> dict:
    ours = {f"voxot, over-relaxation {omega}": omega for omega in (1.0, 1.5)}
    theirs = {f"POT {case}: " + ", ".join(c.values()): c for c in CONTESTANTS[case][1]}
    if args.device == "cuda":
        theirs = {name: c for name, c in theirs.items() if c["library"] == "torch"}
    if case in CUDA_CASES:
        theirs |= {f"{rival} {case}": {"rival": rival} for rival in args.rivals}
    records: dict[str, dict] = {}
    for round_ in range(args.rounds):
        turns = [*ours, *theirs]
        for name in turns if round_ % 2 == 0 else reversed(turns):
            before = records.get(name, {})
            if "failed" in before or "left_out" in before:
                continue
            if name in ours:
                now = run_voxot(args, VOXOT_CASES[case], ours[name], folder, write=False)
            else:
                job = {**theirs[name], "case": case, "folder": str(folder), "threads": args.threads, "error": args.error}
                job |= {"problems": args.problems, "points": args.points, "tolerance": before.get("tolerance")}
                job |= {"processor_time": args.processor_time, "device": args.device}
                now = run([args.python, __file__, "--worker", json.dumps(job)], args.threads, args.timeout)
            if "seconds" in now and before:
                now["seconds"] = min(now["seconds"], before["seconds"])
            records[name] = now
    return records


def compare_values(args, case: str, records: dict) -> bool:
    """Takes each contestant's values out of its record and puts their distance from voxot's in; whether all agree."""
    reference = next((r for r in records.values() if "values" in r), None)
    if reference is None or "largest_cost" not in reference:
        return False
    values = reference["values"]
    points = {"large": args.large, "streamed": args.solved}.get(case, args.points)
    allowed = allowed_apart(args.error, reference["largest_cost"], reference["epsilon"], points)
    agree = True
    for record in records.values():
        if "values" not in record:
            continue
        own = record.pop("values")
        record["value"] = sum(own) / len(own)
        # A loop solves the first problems only. Not a maximum, which a NaN may leave.
        distances = [abs(v - w) for v, w in zip(own, values)]
        record["value_apart"] = next((d for d in distances if d != d), max(distances))
        record["value_allowed_apart"] = allowed
        record["agrees"] = record["value_apart"] <= allowed
        agree = agree and record["agrees"]
    return agree


def describe(record: dict) -> str:
    if "left_out" in record:
        return f"left out: {record['left_out']}"
    if "failed" in record:
        return f"failed: {record['failed']}"
    line = f"{record['seconds']:10.4f} s   error {record['error']:.1e}"
    if "value_apart" in record:
        line += f"   value {record['value']:.6g}, {record['value_apart']:.1e} apart (at most {record['value_allowed_apart']:.1e})"
    return line if record.get("agrees") else line + "   WRONG: the values disagree"


def report(case: str, records: dict) -> dict:
    print(f"\n{case}")
    for name, record in records.items():
        print(f"  {name:44} {describe(record)}")
    good = {n: r["seconds"] for n, r in records.items() if "seconds" in r}
    theirs = [s for n, s in good.items() if not n.startswith("voxot")]
    ratios = {n: min(theirs) / s for n, s in good.items() if n.startswith("voxot")} if theirs else {}
    for name, ratio in ratios.items():
        goal = f" (goal: {GOAL[case]})" if case in GOAL else ""
        print(f"  {name:44} {ratio:10.2f} times the fastest other{goal}")
    return ratios


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxot", help="bench_sinkhorn")
    parser.add_argument("--python", default=sys.executable, help="one that has POT and torch")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--cases", nargs="+", choices=list(CONTESTANTS), help="batch, loop and large; on cuda batch and streamed")
    parser.add_argument("--rivals", nargs="*", choices=list(RIVALS), help="beside POT: none; on cuda all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processor-time", action="store_true", help="of all threads together, on a busy machine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--error", type=float, default=1e-3, help="L1 marginal error, as a share of the mass")
    parser.add_argument("--problems", type=int, default=256)
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--large", type=int, default=4096)
    parser.add_argument("--solved", type=int, default=20000, help="points of the streamed problem")
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--output", default=str(ROOT / "benchmarks/results/compare_pot_sinkhorn.json"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(worker(json.loads(args.worker))))
        return 0
    if not args.voxot:
        parser.error("--voxot is needed")
    cuda = args.device == "cuda"
    args.cases = args.cases or (CUDA_CASES if cuda else ["batch", "loop", "large"])
    args.rivals = args.rivals if args.rivals is not None else list(RIVALS) if cuda else []
    results = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "commit": commit(), "cpu": cpu_model()}
    results |= {"device": args.device, "threads": args.threads, "error": args.error, "processor_time": args.processor_time}
    results |= {"load_before": os.getloadavg(), "cases": {}}
    right = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in sorted({VOXOT_CASES[c] for c in args.cases}):
            made = run_voxot(args, case, 1.0, folder, write=True)
            if "failed" in made:
                raise SystemExit(f"voxot: {made['failed']}")
        for case in args.cases:
            records = compare(args, case, folder)
            right = compare_values(args, case, records) and right
            right = right and not any("failed" in r for n, r in records.items() if n.startswith("voxot"))
            results["cases"][case] = {"records": records, "times_as_fast": report(case, records)}
    results["load_after"] = os.getloadavg()
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    Path(args.output).write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{args.output}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
