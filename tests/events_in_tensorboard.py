#!/usr/bin/env python3
"""A run that was stopped and resumed, as TensorBoard itself reads it: every step once, in order.

    tests/events_in_tensorboard.py VOXOT        VOXOT: the command; this Python or $VOXOT_PYTHON must have tensorboard

Exits 77, "skipped" to ctest, where there is no tensorboard.
"""
import os
import subprocess
import sys
import tempfile

CONFIG = """
[solver]
steps = 6
inner_steps = 1
batch_size = 4
[transport]
model = "mlp"
hidden = [8]
[potential]
model = "mlp"
hidden = [8]
[source]
dataset = "gaussian"
[target]
dataset = "gaussian"
[log]
every = 1
validate_every = 2
validate_samples = 8
samples_every = 0
checkpoint_every = 1
keep_checkpoints = 9
"""


def main():
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        other = os.environ.pop("VOXOT_PYTHON", None)
        if other is not None:
            os.execvp(other, [other, *sys.argv])
        print(f"skipped: {sys.executable} has no tensorboard ({error})")
        return 77
    voxot = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "run.toml"), "w") as config:
            config.write(CONFIG)

        def train(*more):
            command = [voxot, "train", "run.toml", "--out", "run", *more]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        # As after kills: each goes on from before where the last one had come to.
        train()
        train("--resume-from", "4")
        train("--resume-from", "2")
        files = [f for f in os.listdir(os.path.join(folder, "run")) if f.startswith("events.")]
        events = EventAccumulator(os.path.join(folder, "run"), purge_orphaned_data=True).Reload()
        seen = {tag: [e.step for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    expected = {"train/cost": [1, 2, 3, 4, 5, 6], "validate/transport_cost": [2, 4, 6]}
    for tag, steps in expected.items():
        if seen.get(tag) != steps:
            print(f"{tag}: TensorBoard shows steps {seen.get(tag)}, expected {steps}, from {len(files)} files")
            return 1
    print(f"TensorBoard reads {len(files)} files as one history of steps 1 to 6")
    return 0


if __name__ == "__main__":
    sys.exit(main())
