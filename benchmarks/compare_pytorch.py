#!/usr/bin/env python3
"""Outer iterations per second of the strong NOT loop: PyTorch on the CPU or a GPU, and voxot beside it.

The PyTorch loop wastes nothing: T(X) once in a transport step, no weight gradients of the frozen
potential, T(X) without a tape in the potential step, fused Adam, gradients set to None, no .item().
Every measurement runs in a process of its own, so peak resident memory is that variant's alone.
With --voxot the two programs run in turns, the order reversed from round to round, so that a machine's
slow minutes fall on both.

    python3 benchmarks/compare_pytorch.py --threads 2
    python3 benchmarks/compare_pytorch.py --threads 2 --voxot build/release/benchmarks/bench_step
    python3 benchmarks/compare_pytorch.py --device cuda --voxot build/release/benchmarks/bench_step

--isa avx2 holds both to AVX2 on a processor that has AVX-512. bf16 is left out where the processor has no products of
it, because both compute it through fp32 there, slowly.

On cuda there is also the loop as published (T(X) twice, gradients of the frozen potential's weights, T(X) with a tape in
the potential step, Adam as it comes), and lean forms compiled and recorded as one CUDA graph of the outer iteration.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"small": {"base": 8, "nf": 16, "batch": 16}, "large": {"base": 32, "nf": 64, "batch": 8}}
VARIANTS = {
    "fp32": {"precision": "fp32"},
    "fp32 channels_last": {"precision": "fp32", "channels_last": True},
    "bf16": {"precision": "bf16"},
    "bf16 channels_last": {"precision": "bf16", "channels_last": True},
    "fp32 compile": {"precision": "fp32", "compile": True},
    "fp32 channels_last compile": {"precision": "fp32", "channels_last": True, "compile": True},
    "bf16 compile": {"precision": "bf16", "compile": True},
    "bf16 channels_last compile": {"precision": "bf16", "channels_last": True, "compile": True},
}
CUDA_SIZES = {"published": {"base": 32, "nf": 64, "batch": 64, "residual": False}}
# The fastest form comes as soon as the published one is known, so that a budget that runs out takes what matters less.
CUDA_VARIANTS = {
    "published tf32": {"precision": "tf32", "published": True},
    "bf16 channels_last graph": {"precision": "bf16", "channels_last": True, "graph": True},
    "bf16 channels_last max-autotune graph": {
        "precision": "bf16",
        "channels_last": True,
        "compile": "max-autotune-no-cudagraphs",
        "graph": True,
    },
    "bf16 channels_last max-autotune": {"precision": "bf16", "channels_last": True, "compile": "max-autotune"},
    "fp32": {"precision": "fp32", "channels_last": True},
    "tf32": {"precision": "tf32", "channels_last": True},
    "bf16": {"precision": "bf16"},
    "bf16 channels_last": {"precision": "bf16", "channels_last": True},
    "tf32 channels_last graph": {"precision": "tf32", "channels_last": True, "graph": True},
    "bf16 graph": {"precision": "bf16", "graph": True},
    "bf16 channels_last compile graph": {"precision": "bf16", "channels_last": True, "compile": "default", "graph": True},
}
EXTENT = 16
POOL = 512  # volumes of each distribution held in memory


def peak_resident_bytes() -> int:
    """This process's own peak. ru_maxrss survives exec and so would carry a larger parent's figure."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class NotLoop:
    """The lean strong NOT loop with a residual map on stored random volumes."""

    def __init__(self, job: dict):
        import torch

        sys.path.insert(0, str(ROOT / "tests" / "goldens"))
        from reference import ResNet3D, UNet3D

        self.torch, self.job = torch, job
        self.device = torch.device(job.get("device", "cpu"))
        torch.manual_seed(0)
        layout = torch.channels_last_3d if job.get("channels_last") else torch.contiguous_format
        residual = job.get("residual", True)
        self.transport = UNet3D(3, 3, job["base"], residual=residual).to(self.device, memory_format=layout)
        self.potential = ResNet3D(EXTENT, 3, job["nf"]).to(self.device, memory_format=layout)
        self.transport_adam, self.potential_adam = self.adam(self.transport), self.adam(self.potential)
        shape = (POOL, 3, EXTENT, EXTENT, EXTENT)
        self.source = (torch.rand(shape) * 2 - 1).to(self.device, memory_format=layout)
        self.target = (torch.rand(shape) * 2 - 1).to(self.device, memory_format=layout)
        self.t, self.f = self.transport, self.potential
        if mode := job.get("compile"):
            options = {} if mode is True else {"mode": mode}
            self.t, self.f = torch.compile(self.transport, **options), torch.compile(self.potential, **options)

    def adam(self, network):
        settings = {"betas": (0.5, 0.999), "weight_decay": 1e-10}
        if not self.job.get("published"):
            settings["fused"] = True
            settings["capturable"] = bool(self.job.get("graph"))
        return self.torch.optim.Adam(network.parameters(), lr=3e-4, **settings)

    def draw(self, pool):
        return pool[self.torch.randint(POOL, (self.job["batch"],), device=self.device)]

    def autocast(self):
        bf16 = self.job["precision"] == "bf16"
        # A recorded iteration must cast its weights anew: a cache filled before the recording would be read for ever.
        cache = not self.job.get("graph")
        return self.torch.autocast(self.device.type, dtype=self.torch.bfloat16, enabled=bf16, cache_enabled=cache)

    def step_marker(self):
        """What compiled networks with CUDA graphs of their own need before their memory is used again."""
        if self.job.get("compile") == "max-autotune":
            self.torch.compiler.cudagraph_mark_step_begin()

    def outer(self):
        return self.published_outer() if self.job.get("published") else self.lean_outer()

    def lean_outer(self):
        torch = self.torch
        self.transport.train()
        self.potential.requires_grad_(False)
        for _ in range(self.job["inner"]):
            self.step_marker()
            x = self.draw(self.source)
            with self.autocast():
                tx = self.t(x)
                loss = torch.nn.functional.mse_loss(tx, x) - self.f(tx).mean()
            loss.backward()
            self.transport_adam.step()
            self.transport_adam.zero_grad(set_to_none=True)
        self.potential.requires_grad_(True)
        self.transport.eval()
        self.step_marker()
        x, y = self.draw(self.source), self.draw(self.target)
        with self.autocast():
            with torch.no_grad():
                tx = self.t(x)
            loss_f = self.f(tx).mean() - self.f(y).mean()
        loss_f.backward()
        self.potential_adam.step()
        self.potential_adam.zero_grad(set_to_none=True)
        return loss_f.detach()

    def published_outer(self):
        """As the voxel runs were published, with all that they waste."""
        torch = self.torch
        self.transport.train()
        for _ in range(self.job["inner"]):
            x = self.draw(self.source)
            self.transport_adam.zero_grad()
            loss = torch.nn.functional.mse_loss(self.t(x), x) - self.f(self.t(x)).mean()
            loss.backward()
            self.transport_adam.step()
        self.transport.eval()
        x, y = self.draw(self.source), self.draw(self.target)
        self.potential_adam.zero_grad()
        loss_f = self.f(self.t(x)).mean() - self.f(y).mean()
        loss_f.backward()
        self.potential_adam.step()
        return loss_f.detach()


def recorded(loop: NotLoop):
    """The outer iteration as one CUDA graph: after warm-up in a side stream, every later call only launches."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            loop.outer()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = loop.outer()

    def replay():
        graph.replay()
        return loss

    return replay


def worker(job: dict) -> dict:
    import torch

    torch.set_num_threads(job["threads"])
    cuda = job.get("device") == "cuda"
    tf32 = job["precision"] == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = cuda
    loop = NotLoop(job)
    outer = recorded(loop) if job.get("graph") else loop.outer

    def wait():
        if cuda:
            torch.cuda.synchronize()

    for _ in range(job["warmup"]):
        last = outer()
    wait()
    seconds = []
    for _ in range(job["iterations"]):
        start = time.perf_counter()
        last = outer()
        wait()
        seconds.append(time.perf_counter() - start)
    if not torch.isfinite(last):
        raise SystemExit(f"the potential's loss became {last.item()}, so the timing says nothing")
    result = {"seconds": seconds, "peak_resident_bytes": peak_resident_bytes(), "version": torch.__version__}
    if cuda:
        free, total = torch.cuda.mem_get_info()
        result["peak_device_bytes"] = total - free  # the cache gives nothing back, so that the end holds the peak
        result["peak_allocated_bytes"] = torch.cuda.max_memory_allocated()
        result["cudnn"] = torch.backends.cudnn.version()
    if job.get("profile"):
        result["profile"] = profile(loop)
    return result


def profile(loop: NotLoop) -> list[dict]:
    """Self CPU time of one outer iteration for each operator, largest first."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as prof:
        loop.outer()
    events = [e for e in prof.key_averages() if e.self_cpu_time_total > 0]
    total = sum(e.self_cpu_time_total for e in events)
    events.sort(key=lambda e: -e.self_cpu_time_total)
    return [
        {"op": e.key, "calls": e.count, "seconds": e.self_cpu_time_total / 1e6, "share": e.self_cpu_time_total / total}
        for e in events[:20]
    ]


def environment(job: dict) -> dict:
    env = dict(os.environ, OMP_NUM_THREADS=str(job["threads"]))
    if job.get("isa") == "avx2":
        env |= {"VOXOT_CPU": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    return env


def run_pytorch(job: dict, timeout: float) -> dict:
    env = environment(job)
    command = [sys.executable, __file__, "--worker", json.dumps(job)]
    return run_json(command, env, timeout)


def run_voxot(executable: Path, job: dict, timeout: float) -> dict:
    env = environment(job)
    command = [str(executable), "--json"]
    for key in ("base", "nf", "batch", "inner", "precision", "threads", "iterations"):
        command += [f"--{key}", str(job[key])]
    if job.get("device") == "cuda":
        command += ["--device", "cuda", "--graph" if job.get("graph") else "--no-graph"]
        command += ["--residual" if job["residual"] else "--no-residual"]
    return run_json(command, env, timeout)


def run_json(command: list[str], env: dict, timeout: float) -> dict:
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"failed": f"no result within {timeout:.0f} s"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return {"failed": lines[-1] if lines else f"exit {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def merge(rounds: list[dict]) -> dict:
    """One record from the same contestant's rounds."""
    for record in rounds:
        if "failed" in record:
            return {"failed": record["failed"]}
    seconds = [s for record in rounds for s in record["seconds"]]
    median = statistics.median(seconds)
    merged = {
        "iterations_per_second": 1 / median,
        "median_seconds": median,
        "fastest_seconds": min(seconds),
        "slowest_seconds": max(seconds),
        "seconds": seconds,
        "peak_resident_bytes": max(record["peak_resident_bytes"] for record in rounds),
    }
    for key in ("peak_device_bytes", "peak_allocated_bytes"):
        if key in rounds[0]:
            merged[key] = max(record[key] for record in rounds)
    profiles = [record["profile"] for record in rounds if "profile" in record]
    if profiles:
        merged["profile"] = profiles[-1]
    return merged


def memory_of(record: dict) -> int:
    """Of the device where there is one, else of the process."""
    return record.get("peak_device_bytes") or record["peak_resident_bytes"]


def print_table(size: str, records: dict, settings: dict) -> None:
    print(f"\n{size}: " + ", ".join(f"{k} {v}" for k, v in settings.items()))
    print(f"  {'':46} {'it/s':>8} {'median s':>9} {'min..max s':>16} {'peak MiB':>9}")
    for name, r in records.items():
        if "failed" in r:
            print(f"  {name:46} failed: {r['failed']}")
            continue
        spread = f"{r['fastest_seconds']:.3f}..{r['slowest_seconds']:.3f}"
        memory = memory_of(r) / 2**20
        print(f"  {name:46} {r['iterations_per_second']:8.4f} {r['median_seconds']:9.3f} {spread:>16} {memory:9.0f}")


def ratios(records: dict) -> dict:
    """voxot's rate over PyTorch's best fp32, its best of all and the loop as published; and the memory."""
    torch_runs = {n: r for n, r in records.items() if n.startswith("pytorch") and "failed" not in r}
    voxot_runs = {n: r for n, r in records.items() if n.startswith("voxot") and "failed" not in r}
    if not torch_runs or not voxot_runs:
        return {}

    def best(runs):
        return max(runs.items(), key=lambda item: item[1]["iterations_per_second"])

    published = next((r for n, r in torch_runs.items() if "published" in n), None)
    fp32_name, fp32 = best({n: r for n, r in torch_runs.items() if "fp32" in n} or torch_runs)
    any_name, overall = best(torch_runs)
    out = {}
    for name, r in voxot_runs.items():
        out[name] = {
            "pytorch_best_fp32": fp32_name,
            "over_best_fp32": r["iterations_per_second"] / fp32["iterations_per_second"],
            "pytorch_best": any_name,
            "over_best": r["iterations_per_second"] / overall["iterations_per_second"],
            "memory_over_best_fp32": memory_of(r) / memory_of(fp32),
            "memory_over_best": memory_of(r) / memory_of(overall),
        }
        if published:
            out[name]["over_published"] = r["iterations_per_second"] / published["iterations_per_second"]
    return out


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()


def instruction_set(args) -> str:
    return "avx512" if args.isa == "auto" and "avx512f" in cpu_flags() else "avx2"


def has_bf16(args) -> bool:
    return instruction_set(args) == "avx512" and bool({"avx512_bf16", "amx_bf16"} & cpu_flags())


def commit() -> str:
    if named := os.environ.get("VOXOT_COMMIT"):
        return named
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip()


def contestants(args) -> dict:
    chosen = {}
    if args.device == "cuda":
        voxot = {}
        if args.voxot:
            for precision in ("bf16", "tf32", "fp32"):
                voxot[f"voxot {precision} graph"] = {"precision": precision, "graph": True}
            voxot["voxot bf16"] = {"precision": "bf16"}
        return voxot | {f"pytorch {name}": job for name, job in CUDA_VARIANTS.items()}
    for name in args.variants:
        if VARIANTS[name].get("compile") and not args.compile:
            continue
        if VARIANTS[name]["precision"] == "bf16" and not has_bf16(args):
            continue
        chosen[f"pytorch {name}"] = VARIANTS[name]
    if args.voxot:
        for precision in args.voxot_precisions:
            if precision != "bf16" or has_bf16(args):
                chosen[f"voxot {precision}"] = {"precision": precision}
    return chosen


def measure(args, size: str, settings: dict) -> dict:
    jobs = contestants(args)
    collected = {name: [] for name in jobs}
    for turn in range(args.rounds):
        names = list(jobs) if turn % 2 == 0 else list(reversed(jobs))
        for name in names:
            if any("failed" in record for record in collected[name]):
                continue
            job = dict(jobs[name], **settings, inner=args.inner, threads=args.threads, device=args.device, isa=args.isa)
            # Compiled networks are compiled anew for each mode that they meet, over the first outer iterations.
            warmup = args.warmup + (2 if job.get("compile") else 0)
            job.update(iterations=args.iterations, warmup=warmup, profile=args.profile)
            left = args.budget - (time.monotonic() - args.begin)
            timeout = min(args.timeout, left)
            if timeout < 5:
                collected[name].append({"failed": f"not started: the budget of {args.budget:.0f} s is spent"})
            elif name.startswith("voxot"):
                collected[name].append(run_voxot(args.voxot, job, timeout))
            else:
                collected[name].append(run_pytorch(job, timeout))
            sys.stderr.write(f"{size} round {turn + 1}/{args.rounds} {name}\n")
    return {name: merge(rounds) for name, rounds in collected.items()}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--isa", choices=["auto", "avx2"], default="auto", help="what both may use of the processor")
    parser.add_argument("--inner", type=int, default=10, help="transport steps for each potential step")
    parser.add_argument("--iterations", type=int, help="timed outer iterations in each round (3; on cuda 10)")
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="2; on cuda 1")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--compile", action="store_true", help="also the torch.compile variants (slow to start)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds that one process may take")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds for everything; what is left is left out")
    parser.add_argument("--profile", action="store_true", help="also profile one outer iteration of each variant")
    parser.add_argument("--voxot", type=Path, help="voxot's benchmark executable, run in turns with PyTorch")
    parser.add_argument("--voxot-precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "compare_pytorch.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    cuda = args.device == "cuda"
    args.iterations = args.iterations or (10 if cuda else 3)
    args.rounds = args.rounds or (1 if cuda else 2)
    args.begin = time.monotonic()
    return args


def main() -> int:
    args = parse()
    if args.worker:
        print(json.dumps(worker(json.loads(args.worker))))
        return 0
    import torch

    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": cpu_model(),
        "instruction_set": instruction_set(args),
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        "threads": args.threads,
        "load_average_before": os.getloadavg()[0],
        "inner": args.inner,
        "versions": {"python": platform.python_version(), "pytorch": torch.__version__, "cuda": torch.version.cuda},
        "sizes": {},
    }
    print(f"{report['device']}, {report['cpu']}, {report['instruction_set']}, {args.threads} threads, PyTorch {torch.__version__}, {args.inner} inner steps")
    failed = False
    sizes = CUDA_SIZES if args.device == "cuda" else {name: SIZES[name] for name in args.sizes}
    for size, settings in sizes.items():
        records = measure(args, size, settings)
        print_table(size, records, settings)
        compared = ratios(records)
        for name, r in compared.items():
            print(
                f"  {name}: {r['over_best_fp32']:.2f}x {r['pytorch_best_fp32']}, {r['over_best']:.2f}x"
                f" {r['pytorch_best']}"
                + (f", {r['over_published']:.2f}x as published" if "over_published" in r else "")
                + f"; memory {r['memory_over_best_fp32']:.2f}x"
            )
        slowest_to_start = [n for n in records if "max-autotune" in n]
        if slowest_to_start and all("failed" in records[n] for n in slowest_to_start):
            print("  fastest form not measured: no max-autotune variant finished")
        for name, r in records.items():
            for row in r.get("profile", [])[:12]:
                print(f"    {name}: {row['share']:6.1%} {row['seconds']:8.3f} s {row['calls']:6d} {row['op']}")
        report["sizes"][size] = {**settings, "runs": records, "ratios": compared}
        # A PyTorch variant that fails is reported and leaves the others; ours must run, and one rival at least.
        failed = failed or any("failed" in r for n, r in records.items() if n.startswith("voxot"))
        failed = failed or all("failed" in r for r in records.values())
    report["load_average_after"] = os.getloadavg()[0]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{args.output}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
