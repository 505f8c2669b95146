#!/usr/bin/env python3
"""What the compiler made of each CUDA kernel: registers, shared memory, spills, predicted occupancy, tensor-core use.

Reads object files, a library or a program that nvcc built, through cuobjdump and c++filt. Fails when a tensor-core
variant holds no HMMA instruction or a kernel has local memory: spills, or an array indexed at run time, which is as slow.

    python3 benchmarks/kernel_report.py build/release/kernels/libvoxot_device_code.a
    python3 benchmarks/kernel_report.py --markdown --match implicit_gemm build/release/kernels/libvoxot_device_code.a
"""

import argparse
import collections
import re
import shutil
import subprocess
import sys

RESERVED = 1024  # bytes of shared memory that a block takes beside its own
# Of a multiprocessor: warps, blocks, bytes of shared memory. All have 65,536 registers, given to warps by 256.
# Source: CUDA C++ Programming Guide, table of compute capabilities.
LIMITS = {"sm_80": (64, 32, 164 * 1024), "sm_86": (48, 16, 100 * 1024), "sm_90": (64, 32, 228 * 1024)}
# Code for sm_80 is what runs on sm_86.
RUNS_ON = {"sm_80": ["sm_80", "sm_86"], "sm_90": ["sm_90"]}
# Local memory that is never touched: cos and sin of large angles keep a table there, and Box-Muller's are below 2π.
# And that of one short thread for each sample of a batch, which reads its random words by an index.
EXCUSED = r"random_kernel<.*Normal>|draw_kernel"
STAGES = 4  # of the tensor-core kernels (kStages)
DEFAULT_THREADS = 256


def tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(f"/usr/local/cuda/bin/{name}")
    if not found:
        raise SystemExit(f"kernel_report: {name} was not found")
    return found


def lines_of(*command: str):
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        yield from process.stdout
    if process.returncode != 0:
        raise SystemExit(f"kernel_report: {' '.join(command)} failed")


def resources(path: str) -> dict:
    """(arch, mangled name) → its line of resource usage."""
    kernels, arch, name = {}, None, None
    for line in lines_of(tool("cuobjdump"), "--dump-resource-usage", path):
        if match := re.match(r"arch = (sm_\w+)", line):
            arch = match[1]
        elif match := re.search(r"Function (\S+):", line):
            name = match[1]
        elif name and "REG:" in line:
            kernels[arch, name] = {k: int(v) for k, v in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", line)}
            name = None
    return kernels


def instructions(path: str) -> collections.Counter:
    """(arch, mangled name) → how many tensor-core instructions it holds."""
    counts, arch, name = collections.Counter(), None, None
    for line in lines_of(tool("cuobjdump"), "--dump-sass", path):
        if match := re.match(r"arch = (sm_\w+)", line):
            arch = match[1]
        elif match := re.search(r"Function : (\S+)", line):
            name = match[1]
        elif re.search(r"\b(HMMA|HGMMA)\b", line):
            counts[arch, name] += 1
    return counts


def readable(names: list[str]) -> dict:
    done = subprocess.run([tool("c++filt")], input="\n".join(names), capture_output=True, text=True, check=True)
    short = {}
    for name, text in zip(names, done.stdout.splitlines()):
        text = re.sub(r"\(anonymous namespace\)::|voxot::(\w+::)*|\(int\)|\(bool\)|^void ", "", text)
        depth, end = 0, len(text)
        for i, c in enumerate(text):
            depth += (c == "<") - (c == ">")
            if c == "(" and depth == 0:
                end = i
                break
        short[name] = text[:end].replace("unsigned short", "bf16")
    return short


def geometry(name: str) -> tuple[int, int]:
    """Threads of a block and bytes of dynamic shared memory, by the rules of the kernels' own files."""
    match = re.match(r"(implicit_gemm|weight_gemm)<(\w+), (\d+), (\d+), (\d+), (\d+)", name)
    if not match:
        return DEFAULT_THREADS, 0
    rows, columns, warp_rows, warp_columns = (int(match[i]) for i in range(3, 7))
    threads = rows // warp_rows * (columns // warp_columns) * 32
    return threads, STAGES * (rows + columns) * 64


def occupancy(arch: str, registers: int, threads: int, shared: int) -> float:
    """Share of the warps that a multiprocessor could hold."""
    most_warps, most_blocks, memory = LIMITS[arch]
    warps = (threads + 31) // 32
    per_warp = (registers * 32 + 255) // 256 * 256
    by_registers = 65536 // per_warp // warps
    by_memory = memory // (shared + RESERVED)
    return min(most_warps // warps, most_blocks, by_registers, by_memory) * warps / most_warps


def report(path: str, match: str) -> tuple[list[dict], list[str]]:
    used, tensor = resources(path), instructions(path)
    names = readable(sorted({name for _, name in used}))
    rows, faults = [], []
    for (arch, mangled), use in sorted(used.items(), key=lambda item: (names[item[0][1]], item[0][0])):
        name = names[mangled]
        local = use["STACK"] + use["LOCAL"]
        hmma = tensor[arch, mangled]
        threads, dynamic = geometry(name)
        if arch == "sm_90":  # there the compiler counts what the system takes
            use["SHARED"] = max(0, use["SHARED"] - RESERVED)
        if local and not re.match(EXCUSED, name):
            faults.append(f"{name} on {arch}: {local} bytes of local memory")
        if re.match(r"(implicit_gemm|weight_gemm)<", name) and not hmma:
            faults.append(f"{name} on {arch}: no tensor-core instruction")
        if match not in name:
            continue
        for target in RUNS_ON.get(arch, []):
            share = occupancy(target, use["REG"], threads, use["SHARED"] + dynamic)
            rows.append(
                {
                    "kernel": name,
                    "on": target,
                    "threads": threads,
                    "registers": use["REG"],
                    "shared": use["SHARED"] + dynamic,
                    "local": local,
                    "occupancy": share,
                    "hmma": hmma,
                }
            )
    return rows, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--match", default="", help="only kernels whose name holds this")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    rows, faults = report(args.path, args.match)
    if not rows:
        raise SystemExit(f"kernel_report: no kernel in {args.path}")
    heads = ["kernel", "on", "threads", "registers", "shared", "local", "occupancy", "hmma"]
    if args.markdown:
        print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    else:
        print(f"{'kernel':72} {'on':6} {'thr':>4} {'reg':>4} {'shared':>7} {'local':>6} {'occ.':>5} {'HMMA':>5}")
    for r in rows:
        cells = [r["kernel"], r["on"], r["threads"], r["registers"], r["shared"], r["local"], f"{r['occupancy']:.0%}", r["hmma"]]
        if args.markdown:
            print("| " + " | ".join(str(c) for c in cells) + " |")
        else:
            print("{:72} {:6} {:>4} {:>4} {:>7} {:>6} {:>5} {:>5}".format(*cells))
    kernels = len({r["kernel"] for r in rows})
    print(f"{kernels} kernels, {len(faults)} faults", file=sys.stderr)
    for fault in faults:
        print(f"kernel_report: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
