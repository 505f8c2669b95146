#!/usr/bin/env python3
"""State dicts in both directions between voxot and PyTorch.

    check_interchange.py load transport.safetensors --base 8 --residual --input X.npy --output Y.npy
        loads voxot's weights strictly into the reference UNet3D, runs it in evaluation mode on X (N, C, D, H, W)
        and compares with Y, which `voxot map transport.safetensors --input X.npy --output Y.npy` wrote.
    check_interchange.py write published.safetensors --base 8 --residual --input X.npy --expected Y.npy
        writes a published-form state dict with random weights and moved running statistics, a random X and the
        reference's answer on it; `voxot map published.safetensors --input X.npy --output Z.npy` must give Y.
    check_interchange.py compare Z.npy Y.npy

Exit 0: equal within --tolerance (relative L2; fp32 through 15 convolutions stays near 1e-6). Exit 1: not.
"""

import argparse
import sys

import numpy as np
import torch
from reference import UNet3D
from safetensors.torch import load_file, save_file


def network(args) -> UNet3D:
    return UNet3D(
        args.channels,
        args.channels,
        args.base,
        noise_channels=args.noise_channels,
        residual=args.residual,
        norm=args.norm,
        upsampling=args.upsampling,
    )


def agree(got: np.ndarray, expected: np.ndarray, tolerance: float) -> int:
    if got.shape != expected.shape:
        print(f"shapes differ: got {got.shape}, expected {expected.shape}", file=sys.stderr)
        return 1
    relative = float(np.linalg.norm((got - expected).ravel()) / np.linalg.norm(expected.ravel()))
    largest = float(np.abs(got - expected).max())
    good = relative <= tolerance
    print(f"{'equal' if good else 'DIFFERENT'}: relative L2 {relative:.2e} (tolerance {tolerance:.0e}), max {largest:.2e}")
    return 0 if good else 1


def apply(model: UNet3D, x: np.ndarray, noise: str | None) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        z = [] if noise is None else [torch.from_numpy(np.load(noise))]
        return model(torch.from_numpy(x), *z).numpy()


def load(args) -> int:
    model = network(args)
    state = load_file(args.file)
    strays = [k for k in state if k.endswith("num_batches_tracked")]
    expected = model.state_dict()
    if not strays:  # a counter that evaluation does not read; everything else must be there, and nothing more
        state |= {k: v for k, v in expected.items() if k.endswith("num_batches_tracked")}
    model.load_state_dict(state, strict=True)
    print(f"{args.file}: {len(state)} tensors loaded strictly")
    return agree(np.load(args.output), apply(model, np.load(args.input), args.noise), args.tolerance)


def write(args) -> int:
    torch.manual_seed(args.seed)
    model = network(args).train()
    x = torch.randn(args.batch, args.channels, *args.extent)
    z = [torch.randn(args.batch, args.noise_channels, *args.extent)] if args.noise_channels else []
    with torch.no_grad():
        for _ in range(20):  # running statistics away from 0 and 1
            model(x, *z)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, args.file)
    np.save(args.input, x.numpy())
    if z:
        np.save(args.noise or "noise.npy", z[0].numpy())
        args.noise = args.noise or "noise.npy"
    np.save(args.expected, apply(model, x.numpy(), args.noise))
    print(f"{args.file}: {len(model.state_dict())} tensors; {args.input}, {args.expected}")
    return 0


def compare(args) -> int:
    return agree(np.load(args.got), np.load(args.expected), args.tolerance)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("load", load), ("write", write)):
        sub = commands.add_parser(name)
        sub.set_defaults(run=function)
        sub.add_argument("file")
        sub.add_argument("--base", type=int, default=8)
        sub.add_argument("--channels", type=int, default=3)
        sub.add_argument("--noise-channels", type=int, default=0)
        sub.add_argument("--residual", action="store_true")
        sub.add_argument("--norm", default="batch", choices=["batch", "group", "instance", "none"])
        sub.add_argument("--upsampling", default="nearest", choices=["nearest", "transposed"])
        sub.add_argument("--input", required=True, help="X.npy (N, C, D, H, W)")
        sub.add_argument("--noise", help="Z.npy, where the map takes noise")
        sub.add_argument("--tolerance", type=float, default=1e-4)
        if name == "load":
            sub.add_argument("--output", required=True, help="what `voxot map` wrote")
        else:
            sub.add_argument("--expected", required=True, help="where the reference's answer goes")
            sub.add_argument("--extent", type=int, nargs=3, default=[16, 16, 16])
            sub.add_argument("--batch", type=int, default=3)
            sub.add_argument("--seed", type=int, default=0)
    sub = commands.add_parser("compare")
    sub.set_defaults(run=compare)
    sub.add_argument("got")
    sub.add_argument("expected")
    sub.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
