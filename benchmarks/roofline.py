#!/usr/bin/env python3
"""The least time that each convolution of the two networks can take, and an outer iteration of strong NOT as a whole.

The time of a pass is at least its operations over the rate of the unit that does them, and its bytes, each tensor read
or written once, over the memory's. What the convolutions save the ops beside them is counted in bytes. Standard output
is the tables of docs/notes/roofline.md.

    python3 benchmarks/roofline.py [--batch 64] [--base 32] [--nf 64] [--inner 10]
"""

import argparse
import collections
from dataclasses import dataclass

# operations per second in bf16 and fp32, bytes per second
DEVICES = {
    # Nvidia's datasheet of the RTX A5000; bf16 dense, half of its figure with sparsity.
    "A5000": {"bf16": 111.1e12, "fp32": 27.8e12, "bytes": 768e9},
    # bf16 and bytes as measured on an H200 (a product of 8192³ on random data, a device-to-device copy); fp32 by the datasheet.
    "H200": {"bf16": 788e12, "fp32": 67e12, "bytes": 4.3e12},
}
SIZE = {"bf16": 2, "fp32": 4}


@dataclass(frozen=True)
class Layer:
    network: str
    extent: int
    inputs: int
    outputs: int
    kernel: int
    residual: bool = False

    def flop(self, batch: int) -> float:
        return 2.0 * batch * self.extent**3 * self.kernel**3 * self.inputs * self.outputs

    def bytes(self, batch: int, direction: str, size: int) -> float:
        voxels = batch * self.extent**3
        x, y = voxels * self.inputs * size, voxels * self.outputs * size
        weight = 4 * self.kernel**3 * self.inputs * self.outputs
        return x + y + weight + (y if self.residual and direction == "forward" else 0)

    def floor(self, batch: int, direction: str, device: dict, precision: str) -> float:
        by_bytes = self.bytes(batch, direction, SIZE[precision]) / device["bytes"]
        return max(self.flop(batch) / device[precision], by_bytes)


def unet(b: int, extent: int) -> list[Layer]:
    e = extent
    shapes = [(e, 3, b), (e, b, b), (e // 2, b, 2 * b), (e // 2, 2 * b, 2 * b), (e // 4, 2 * b, 4 * b)]
    shapes += [(e // 4, 4 * b, 4 * b), (e // 8, 4 * b, 4 * b), (e // 8, 4 * b, 4 * b), (e // 4, 8 * b, 4 * b)]
    shapes += [(e // 4, 4 * b, 2 * b), (e // 2, 4 * b, 2 * b), (e // 2, 2 * b, b), (e, 2 * b, b), (e, b, b)]
    return [Layer("UNet3D", *s, 3) for s in shapes] + [Layer("UNet3D", e, b, 3, 1)]


def resnet(nf: int, extent: int, most: int = 512) -> list[Layer]:
    layers = [Layer("ResNet3D", extent, 3, nf, 3)]
    width, e = nf, extent
    while e >= 4:
        wide = min(2 * width, most)
        for outputs in (width, wide):
            layers.append(Layer("ResNet3D", e, width, width, 3))
            layers.append(Layer("ResNet3D", e, width, outputs, 3, residual=True))
        if wide != width:
            layers.append(Layer("ResNet3D", e, width, wide, 1))
        width, e = wide, e // 2
    return layers


def passes(u: list[Layer], r: list[Layer], inner: int):
    """(layer, direction, times) of all that one outer iteration must compute."""
    for layers, frozen in ((u, False), (r, True)):  # transport steps: the potential has no weight gradients
        for i, layer in enumerate(layers):
            yield layer, "forward", inner
            if i > 0 or frozen:  # nobody wants the gradient of x
                yield layer, "grad_input", inner
            if not frozen:
                yield layer, "grad_weight", inner
    for layer in u:  # the potential step: T(x) without a tape, f of T(x) and of y
        yield layer, "forward", 1
    for i, layer in enumerate(r):
        yield layer, "forward", 2
        if i > 0:
            yield layer, "grad_input", 2
        yield layer, "grad_weight", 2


def unmoved(b: int, extent: int, batch: int, inner: int) -> dict[str, int]:
    """Elements that an outer iteration does not move: of statistics that a convolution takes as it writes, one reading of
    its result. And what it would not move if skip connections were written in their place: a copy forward and one of the
    gradient."""
    forward, backward = inner + 1, inner
    results = sum(batch * layer.extent**3 * layer.outputs for layer in unet(b, extent) if layer.kernel == 3)
    skips = sum(batch * (extent >> i) ** 3 * (b << i) for i in range(3))
    return {"statistics": forward * results, "skip connections": 2 * (forward + backward) * skips}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--base", type=int, default=32)
    parser.add_argument("--nf", type=int, default=64)
    parser.add_argument("--extent", type=int, default=16)
    parser.add_argument("--inner", type=int, default=10)
    args = parser.parse_args()
    u, r = unet(args.base, args.extent), resnet(args.nf, args.extent)
    columns = [(name, precision) for name in DEVICES for precision in ("bf16", "fp32")]
    print("| layer | GFLOP | MB bf16 | MB fp32 | " + " | ".join(f"{d} {p} µs" for d, p in columns) + " |")
    print("|---|" + "---|" * (3 + len(columns)))
    for layer, times in collections.Counter(u + r).items():
        name = f"{layer.network} {layer.extent}³ {layer.inputs}→{layer.outputs} {layer.kernel}³"
        name += " + residual" if layer.residual else ""
        name += f" ({times}×)" if times > 1 else ""
        cells = [f"{layer.flop(args.batch) / 1e9:.1f}"]
        cells += [f"{layer.bytes(args.batch, 'forward', SIZE[p]) / 1e6:.1f}" for p in ("bf16", "fp32")]
        for device, precision in columns:
            floor = layer.floor(args.batch, "forward", DEVICES[device], precision)
            memory = floor > layer.flop(args.batch) / DEVICES[device][precision]
            cells.append(f"{1e6 * floor:.0f}{' m' if memory else ''}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    work = list(passes(u, r, args.inner))
    total = sum(times * layer.flop(args.batch) for layer, _, times in work)
    print(f"\nOne outer iteration: {total / 1e12:.1f} TFLOP in its convolutions. Their floors together:\n")
    print("| device | bf16 ms | fp32 ms |\n|---|---|---|")
    for name, device in DEVICES.items():
        floors = [
            sum(times * layer.floor(args.batch, direction, device, p) for layer, direction, times in work)
            for p in ("bf16", "fp32")
        ]
        print(f"| {name} | {1e3 * floors[0]:.1f} | {1e3 * floors[1]:.0f} |")
    print("\nWhat UNet3D is spared by statistics that convolutions take, and would be by skip connections in place:\n")
    print("| | GB bf16 | GB fp32 | " + " | ".join(f"{d} {p} ms" for d, p in columns) + " |")
    print("|---|" + "---|" * (2 + len(columns)))
    for name, elements in unmoved(args.base, args.extent, args.batch, args.inner).items():
        cells = [f"{elements * SIZE[p] / 1e9:.2f}" for p in ("bf16", "fp32")]
        cells += [f"{1e3 * elements * SIZE[p] / DEVICES[d]['bytes']:.2f}" for d, p in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
