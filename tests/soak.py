#!/usr/bin/env python3
"""Trainings of strong NOT that are killed, run out of disk or meet the system's limits: each ends with the same bits
as one that nobody touched.

    tests/soak.py VOXOT kills [--count 100]     SIGKILL at a random step, a run for each; then --resume=auto
    tests/soak.py VOXOT disks [--count 14]      tmpfs of so many sizes; then more room
    tests/soak.py VOXOT limits [--count 5]      ulimit: so many sizes of files, of memory, numbers of open files; then none

Threads are one (--threads), which is the quickest for so small a run. Exits 1 with what differs, and 77, "skipped" to ctest, where no tmpfs can be mounted. --seed draws other moments.
"""
import argparse
import hashlib
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

STEPS = 24
CONFIG = f"""
[solver]
steps = {STEPS}
inner_steps = 2
batch_size = 2
precision = "fp32"
[transport]
base = 2
[potential]
nf = 2
[source]
dataset = "digits"
resolution = 8
classes = [3]
[target]
dataset = "digits"
resolution = 8
classes = [0, 1, 2, 4, 5, 6, 7, 8, 9]
[judge]
steps = 2
width = 2
required = 0
[log]
every = 1
validate_every = 6
validate_samples = 8
samples_every = 8
checkpoint_every = 5
keep_checkpoints = 2
"""
ENDS = ["metrics.jsonl", f"checkpoints/step-{STEPS:07}.safetensors", "transport.safetensors", "samples/last.npz",
        "judge.safetensors", "checkpoints/best.safetensors"]


class Soak:
    def __init__(self, voxot, folder, seed, threads):
        self.voxot = os.path.abspath(voxot)
        self.folder = folder
        self.random = random.Random(seed)
        self.config = os.path.join(folder, "soak.toml")
        with open(self.config, "w") as file:
            file.write(CONFIG)
        # Threads that wait for each other must not spin where others want the processor.
        self.environment = dict(os.environ, OMP_NUM_THREADS=str(threads), GOMP_SPINCOUNT="0")
        self.fresh("reference")
        status, said = self.train("reference")
        if status != 0:
            raise SystemExit(f"the untouched run failed ({status}): {said}")
        self.reference = self.end_of("reference")
        if len(self.reference) < len(ENDS):
            raise SystemExit(f"the untouched run made only {', '.join(self.reference)}")

    def fresh(self, name):
        os.makedirs(os.path.join(self.folder, name))

    def spawn(self, name, limit=None):
        # The run's name is the same in every folder, since config.toml and the checkpoints hold it.
        command = [self.voxot, "train", self.config, "--out", "run", "--resume=auto", "--quiet", "--device", "cpu"]
        return subprocess.Popen(command, cwd=os.path.join(self.folder, name), env=self.environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=limit)

    def train(self, name, limit=None):
        process = self.spawn(name, limit)
        said = process.communicate()[1]
        return process.returncode, said

    def end_of(self, name):
        end = {}
        for file in ENDS:
            path = os.path.join(self.folder, name, "run", file)
            if os.path.exists(path):
                with open(path, "rb") as content:
                    end[file] = hashlib.sha256(content.read()).hexdigest()
        return end

    def steps_of(self, name):
        try:
            with open(os.path.join(self.folder, name, "run", "metrics.jsonl")) as file:
                return sum(1 for line in file if '"train"' in line)
        except FileNotFoundError:
            return 0

    def temporaries(self, name):
        return [file for _, _, files in os.walk(os.path.join(self.folder, name)) for file in files
                if file.startswith(".voxot-")]

    def finish(self, name, what):
        """Trains to the end, undisturbed; what is wrong with that end, or nothing."""
        status, said = self.train(name)
        if status != 0:
            return f"{what}: could not go on ({status}): {said.strip().splitlines()[-1:]}"
        different = [file for file in self.reference if self.end_of(name).get(file) != self.reference[file]]
        if different or self.end_of(name).keys() != self.reference.keys():
            return f"{what}: other bits in {', '.join(different) or 'files that should not be there'}"
        if self.temporaries(name):
            return f"{what}: left {self.temporaries(name)}"
        return None

    def failure(self, name, what, status, said, expected):
        """What is wrong with how the command failed: it says so in one line and leaves no temporary file."""
        errors = re.findall(r"^voxot: error: .*$", said, re.MULTILINE)
        if status != 1 or len(errors) != 1 or not said.endswith(errors[0] + "\n"):
            return f"{what}: status {status} and not one line of an error: {said[-300:]!r}"
        if not re.search(expected, errors[0]):
            return f"{what}: expected {expected!r} in {errors[0]!r}"
        if self.temporaries(name):
            return f"{what}: left {self.temporaries(name)}"
        return None


def kills(soak, count):
    wrong = []
    landed = 0
    for number in range(count):
        name = f"kill{number}"
        soak.fresh(name)
        step = soak.random.randrange(STEPS)
        process = soak.spawn(name)
        while process.poll() is None and soak.steps_of(name) < step:
            time.sleep(0.001)
        time.sleep(soak.random.uniform(0, 0.3 if step == 0 else 0.03))  # within a step or a write, or at the start
        process.send_signal(signal.SIGKILL)
        process.communicate()
        landed += process.returncode == -signal.SIGKILL
        wrong.append(soak.finish(name, f"kill {number} at step {step}"))
    print(f"{landed} of {count} kills met a run; ", end="")
    if landed < count / 2:
        wrong.append("most runs ended before their kill")
    return wrong


def disks(soak, count):
    used = sum(os.path.getsize(os.path.join(f, n)) for f, _, names in os.walk(os.path.join(soak.folder, "reference"))
               for n in names)
    page = os.sysconf("SC_PAGE_SIZE")
    wrong = []
    full = 0
    for number in range(count):
        name = f"disk{number}"
        soak.fresh(name)
        size = 8 * page + int((used - 8 * page) * number / max(1, count - 1)) // page * page
        mount = os.path.join(soak.folder, name)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mount], check=True)
        try:
            status, said = soak.train(name)
            full += status != 0
            if status != 0:
                wrong.append(soak.failure(name, f"{size} bytes", status, said, "[Nn]o space left"))
            subprocess.run(["mount", "-o", "remount,size=64m", mount], check=True)
            wrong.append(soak.finish(name, f"{size} bytes, then more"))
        finally:
            subprocess.run(["umount", mount], check=True)
    print(f"{full} of {count} disks were full; ", end="")
    return wrong


def limits(soak, count):
    cases = [("size of files", resource.RLIMIT_FSIZE, [0, 3000, 30000, 100, 10000], "[Ff]ile too large"),
             ("memory", resource.RLIMIT_AS, [m << 20 for m in (180, 240, 200, 220, 260)], "memory|allocat"),
             ("open files", resource.RLIMIT_NOFILE, [5, 7, 9, 6, 8], "[Tt]oo many open files")]
    wrong = []
    met = {}
    crashes = 0
    for what, kind, values, expected in cases:
        for value in values[:count]:
            name = f"{what.split()[0]}{value}"
            soak.fresh(name)

            def limit(kind=kind, value=value):
                resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))

            status, said = soak.train(name, limit)
            if status == 127:
                continue  # too little for the program to be loaded at all
            met[what] = met.get(what, 0) + (status != 0)
            if what == "memory" and status == -signal.SIGSEGV:
                crashes += 1  # inside oneDNN, whose code generator does not ask whether it got its memory
            elif status != 0:
                wrong.append(soak.failure(name, f"{what}: {value}", status, said, expected))
            wrong.append(soak.finish(name, f"{what}: {value}, then none"))
    for what, *_ in cases:
        if not met.get(what):
            wrong.append(f"{what}: no limit was met")
    print(f"limits met: {met}, of memory {crashes} by a crash within oneDNN; ", end="")
    return wrong


def may_mount():
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], stderr=subprocess.DEVNULL).returncode != 0:
            return False
        return subprocess.run(["umount", folder]).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voxot")
    parser.add_argument("what", choices=["kills", "disks", "limits"])
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.what == "disks" and not may_mount():
        if "VOXOT_SOAK" not in os.environ:  # again, in a namespace where mounting is allowed
            os.environ["VOXOT_SOAK"] = "1"
            if subprocess.run(["unshare", "-rm", "true"], stderr=subprocess.DEVNULL).returncode == 0:
                os.execvp("unshare", ["unshare", "-rm", sys.executable, *sys.argv])
        print("skipped: no tmpfs can be mounted here")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(options.voxot, folder, options.seed, options.threads)
        if options.what == "kills":
            wrong = kills(soak, options.count or 100)
        elif options.what == "disks":
            wrong = disks(soak, options.count or 14)
        else:
            wrong = limits(soak, options.count or 5)
    wrong = [line for line in wrong if line]
    print("\n".join(wrong) if wrong else "all ends are the same")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
