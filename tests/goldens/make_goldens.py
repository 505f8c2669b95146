#!/usr/bin/env python3
"""Writes the golden safetensors of this folder: PyTorch's answers, computed in double, stored in fp32.

    python3 tests/goldens/make_goldens.py

Inputs and weights are rounded to fp32 before anything is computed, so a reader starts from the very same
numbers. Every network is computed a second time in fp32 and the distance to the double result is printed: that
distance is what fp32 costs in PyTorch itself, and the tests' tolerances are chosen beside it (README.md).
"""

import copy
from pathlib import Path

import torch
from reference import ResNet3D, UNet3D
from safetensors.torch import save_file
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent


def randn(*shape, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def stored(tensors: dict) -> dict:
    """fp32 for every floating tensor, integers as they are, names in order."""
    return {
        name: (value.detach().float() if value.is_floating_point() else value.detach()).contiguous().clone()
        for name, value in sorted(tensors.items())
    }


def save(name: str, tensors: dict, about: str) -> None:
    path = HERE / f"{name}.safetensors"
    save_file(stored(tensors), path, metadata={"format": "pt", "about": about})
    path.chmod(0o644)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


def distance(a: dict, b: dict, names=None) -> float:
    """The largest relative L2 distance over the named tensors."""
    worst = 0.0
    for name in names or b:
        if b[name].is_floating_point() and b[name].norm() > 0:
            worst = max(worst, ((a[name].double() - b[name]).norm() / b[name].norm()).item())
    return worst


# --- networks ------------------------------------------------------------------------------------------------------


def network_case(model: torch.nn.Module, prefix: str, inputs: list, target: torch.Tensor | None) -> dict:
    """Forward in training mode, mean squared error, backward; buffers as they are afterwards.

    Without a target the error is against the (detached) input, as in the transport cost.
    """
    model = copy.deepcopy(model).train()
    inputs = [x.clone().requires_grad_(True) for x in inputs]
    output = model(*inputs)
    loss = F.mse_loss(output, inputs[0].detach() if target is None else target)
    loss.backward()
    result = {f"{prefix}output": output, f"{prefix}loss": loss.reshape(1)}
    for name, x in zip(["input", "noise"], inputs):
        result[f"{prefix}{name}"] = x
        result[f"{prefix}grad_{name}"] = x.grad
    if target is not None:
        result[f"{prefix}target"] = target
    for name, parameter in model.named_parameters():
        result[f"{prefix}grad.{name}"] = parameter.grad
    for name, buffer in model.named_buffers():
        result[f"{prefix}buffer_after.{name}"] = buffer
    if any(True for _ in model.buffers()):
        model.eval()
        with torch.no_grad():
            result[f"{prefix}output_eval"] = model(*[x.detach() for x in inputs])
    return result


def vanishing(name: str, norm: str | None) -> bool:
    """A convolution's bias has gradient 0 but for rounding where a normalisation of single channels follows."""
    return norm in ("batch", "group", "instance") and name.endswith(("double_conv.0.bias", "double_conv.3.bias"))


def network_golden(name: str, model, cases: dict, about: str, norm: str | None = None) -> None:
    model = model.float()
    tensors = {f"weight.{key}": value for key, value in model.state_dict().items()}
    for prefix, (inputs, target) in cases.items():
        exact = network_case(copy.deepcopy(model).double(), prefix, inputs, target)
        single = network_case(model, prefix, [x.float() for x in inputs], None if target is None else target.float())
        gradients = [key for key in exact if ".grad." in f".{key}" and not vanishing(key, norm)]
        print(
            f"  {name} {prefix or '-'} fp32 against double: output {distance(single, exact, [prefix + 'output']):.1e},"
            f" loss {distance(single, exact, [prefix + 'loss']):.1e},"
            f" worst gradient {distance(single, exact, gradients):.1e},"
            f" input gradient {distance(single, exact, [prefix + 'grad_input']):.1e}"
        )
        tensors |= {key: value.float() if value.is_floating_point() else value for key, value in exact.items()}
    save(name, tensors, about)


def margin(model: torch.nn.Module, inputs: list) -> float:
    """How near the network comes to a switch: the least distance of a rectifier's input from 0 and of a maximum from
    the runner-up, over the standard deviation of the tensor."""
    found = []

    def rectified(x):
        found.append((x.abs().min() / x.std()).item())

    def pooled(x):
        windows = x.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).flatten(5)
        top = windows.topk(2, dim=-1).values
        gap = (top[..., 0] - top[..., 1])[top[..., 0] != top[..., 1]]  # equals are rectified zeros: no gradient
        found.append((gap.min() / x.std()).item())

    hooks = []
    for module in model.modules():
        look = {torch.nn.ReLU: rectified, torch.nn.MaxPool3d: pooled}.get(type(module))
        if look is not None:
            hooks.append(module.register_forward_pre_hook(lambda _, x, look=look: look(x[0])))
    leaky, F.leaky_relu = F.leaky_relu, lambda x, slope: (rectified(x), leaky(x, slope))[1]
    with torch.no_grad():
        model(*inputs)
    F.leaky_relu = leaky
    for hook in hooks:
        hook.remove()
    return min(found)


def calm(model: torch.nn.Module, *shapes, seed: int) -> list:
    """Of 40 inputs the one at which fp32 rounding (about 1e-6) is least likely to switch a rectifier or a maximum: one
    switched element changes gradients by 1e-2, and says nothing about a kernel."""
    model = copy.deepcopy(model).double().train()
    draws = [[randn(*shape, seed=seed + 1000 * k + i) for i, shape in enumerate(shapes)] for k in range(40)]
    margins = [margin(model, inputs) for inputs in draws]
    print(f"  margin {max(margins):.1e}")
    return draws[margins.index(max(margins))]


def spread(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Moves normalisation's weights and biases off 1 and 0, where a missing one would not show."""
    for i, (name, p) in enumerate(model.named_parameters()):
        if p.dim() == 1 and not name.endswith(("0.bias", "3.bias", "conv.bias", "fc.bias", "img.bias")):
            p.data += 0.1 * randn(*p.shape, seed=seed + i).float()
    return model


def make_networks() -> None:
    torch.manual_seed(1)
    model = spread(UNet3D(3, 3, 4), 100)
    network_golden(
        "unet3d",
        model,
        {
            "cubic.": (calm(model, (2, 3, 16, 16, 16), seed=2), None),
            "noncubic.": (calm(model, (1, 3, 8, 16, 24), seed=4), None),
        },
        "UNet3D(inputs 3, outputs 3, base 4)",
        "batch",
    )
    torch.manual_seed(6)
    model = spread(UNet3D(3, 3, 2, noise_channels=1, residual=True, norm="group", upsampling="transposed"), 200)
    inputs = calm(model, (1, 3, 16, 16, 8), (1, 1, 16, 16, 8), seed=7)
    network_golden(
        "unet3d_group_transposed",
        model,
        {"": (inputs, randn(1, 3, 16, 16, 8, seed=9))},
        "UNet3D(3, 3, base 2, noise_channels 1, residual, group normalisation in min(8, channels) groups, transposed up-sampling)",
        "group",
    )
    torch.manual_seed(10)
    model = spread(UNet3D(3, 3, 2, norm="instance"), 300)
    network_golden(
        "unet3d_instance",
        model,
        {"": (calm(model, (1, 3, 16, 16, 8), seed=11), None)},
        "UNet3D(3, 3, base 2, instance normalisation with affine parameters)",
        "instance",
    )
    torch.manual_seed(13)
    model = ResNet3D(16, 3, 8, 16)
    network_golden(
        "resnet3d",
        model,
        {"": (calm(model, (2, 3, 16, 16, 16), seed=14), randn(2, 1, seed=15))},
        "ResNet3D(size 16, nc 3, nf 8, nf_max 16)",
    )


def spectral_golden() -> None:
    """ResNet3D with spectral normalisation: the state, the output from it, then one training step in which two
    forwards share one power iteration (torch.nn.utils.parametrize.cached). Names are those of the older
    torch.nn.utils.spectral_norm, which loads the state and must give the same output."""
    torch.manual_seed(16)
    plain = ResNet3D(16, 3, 4, 8)
    layers = [name for name, module in plain.named_modules() if isinstance(module, (torch.nn.Conv3d, torch.nn.Linear))]
    model = copy.deepcopy(plain)
    for name in layers:
        torch.nn.utils.parametrizations.spectral_norm(model.get_submodule(name))

    def published(tensors: dict) -> dict:
        for new, old in ((".original", "_orig"), (".0._u", "_u"), (".0._v", "_v")):
            tensors = {key.replace(f"parametrizations.weight{new}", f"weight{old}"): v for key, v in tensors.items()}
        return tensors

    state = {key: value.float() for key, value in published(model.state_dict()).items()}
    model.load_state_dict({key: value for key, value in zip(model.state_dict(), state.values())})
    model = model.double()
    # As in calm(), of inputs after one iteration.
    draws = [randn(2, 3, 16, 16, 16, seed=17 + k) for k in range(40)]
    draws.sort(key=lambda draw: margin(copy.deepcopy(model).train(), [draw]))
    other, x = draws[-2:]
    tensors = {f"weight.{key}": value for key, value in state.items()}
    tensors |= {"input": x, "other": other}
    model.eval()
    tensors["output_before"] = model(x)
    older = copy.deepcopy(plain)
    for name in layers:
        torch.nn.utils.spectral_norm(older.get_submodule(name))
    older.load_state_dict(state, strict=True)
    assert torch.allclose(older.double().eval()(x), tensors["output_before"], rtol=1e-12)
    model.train()
    with torch.nn.utils.parametrize.cached():
        tensors["output"], tensors["output_other"] = model(x), model(other)
    (tensors["output"].mean() - tensors["output_other"].mean() / 2).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    tensors |= {f"grad.{key}": value for key, value in published(gradients).items()}
    buffers = published(dict(model.named_buffers()))
    tensors |= {f"buffer_after.{key}": value for key, value in buffers.items()}
    save("resnet3d_spectral", tensors, "ResNet3D(size 16, nc 3, nf 4, nf_max 8), every weight spectrally normalised")


# --- the strong NOT loop -------------------------------------------------------------------------------------------

OUTER, INNER, BATCH = 10, 2, 4


def not_loop(transport, potential, pool, source_index, target_index, lr: float) -> dict:
    settings = {"lr": lr, "betas": (0.9, 0.999), "weight_decay": 1e-10}
    transport_adam = torch.optim.Adam(transport.parameters(), **settings)
    potential_adam = torch.optim.Adam(potential.parameters(), **settings)
    losses_t, losses_f = [], []
    for outer in range(OUTER):
        transport.train()
        potential.requires_grad_(False)
        for inner in range(INNER):
            x = pool[source_index[outer, inner]]
            tx = transport(x)
            loss = F.mse_loss(tx, x) - potential(tx).mean()
            transport_adam.zero_grad()
            loss.backward()
            transport_adam.step()
            losses_t.append(loss.detach())
        potential.requires_grad_(True)
        transport.eval()
        with torch.no_grad():
            tx = transport(pool[source_index[outer, INNER]])
        loss = potential(tx).mean() - potential(pool[target_index[outer]]).mean()
        potential_adam.zero_grad()
        loss.backward()
        potential_adam.step()
        losses_f.append(loss.detach())
    result = {"loss_transport": torch.stack(losses_t).reshape(OUTER, INNER), "loss_potential": torch.stack(losses_f)}
    result |= {f"final_transport.{k}": v for k, v in transport.state_dict().items()}
    result |= {f"final_potential.{k}": v for k, v in potential.state_dict().items()}
    return result


def fp32_runs(transport, potential, arguments, lr: float) -> list[dict]:
    """The same loop in fp32 four times, each with another order of rounding."""

    def run(layout=torch.contiguous_format, nudge=0.0):
        t, f = copy.deepcopy(transport), copy.deepcopy(potential)
        for i, p in enumerate(t.parameters()):
            p.data *= 1 + nudge * randn(*p.shape, seed=500 + i).float()
        pool, *indices = arguments
        t, f, pool = (v.to(memory_format=layout) for v in (t, f, pool.float()))
        return not_loop(t, f, pool, *indices, lr)

    runs = [run(), run(torch.channels_last_3d), run(nudge=1e-7)]
    torch.backends.mkldnn.enabled = False
    runs.append(run())
    torch.backends.mkldnn.enabled = True
    return runs


def make_not_trace() -> None:
    torch.manual_seed(28)
    transport, potential = spread(UNet3D(3, 3, 4), 400), ResNet3D(16, 3, 4, 8)
    generator = torch.Generator().manual_seed(21)
    pool = randn(12, 3, 8, 8, 8, seed=22).tanh().float().double()
    volumes = pool.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    source_index = torch.randint(0, 6, (OUTER, INNER + 1, BATCH), generator=generator)
    target_index = torch.randint(6, 12, (OUTER, BATCH), generator=generator)
    arguments = (volumes, source_index, target_index)
    tensors = {"pool": pool, "source_index": source_index, "target_index": target_index}
    tensors |= {f"initial_transport.{k}": v for k, v in transport.state_dict().items()}
    tensors |= {f"initial_potential.{k}": v for k, v in potential.state_dict().items()}
    for case, lr in (("lr1e-3", 1e-3), ("lr1e-4", 1e-4)):
        exact = not_loop(copy.deepcopy(transport).double(), copy.deepcopy(potential).double(), *arguments, lr)
        runs = fp32_runs(transport, potential, arguments, lr)
        for what in ("loss_transport", "loss_potential"):
            spreads = torch.stack([(r[what].double() - exact[what]).abs() for r in runs]).amax(0)
            tensors[f"{case}.{what}"], tensors[f"{case}.{what}_fp32_spread"] = exact[what], spreads
            listed = " ".join(f"{v:.0e}" for v in spreads.reshape(OUTER, -1).amax(1))
            print(f"  not_trace {case} {what}: largest fp32 error by outer step {listed}")
        if case == "lr1e-3":
            tensors |= {f"{case}.{k}": v for k, v in exact.items() if k.startswith("final_")}
    save(
        "not_trace",
        tensors,
        "strong NOT, 10 outer steps: UNet3D(3, 3, base 4), ResNet3D(size 16, nc 3, nf 4, nf_max 8), K_T 2, batch 4, "
        "Adam betas 0.9 0.999, weight decay 1e-10",
    )


# --- single operations ---------------------------------------------------------------------------------------------


def ints(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


def op_case(ops: dict, name: str, function, inputs: dict, seed: int, **settings) -> None:
    """output = function(*inputs); a random grad_output is pulled back to every input. Settings are stored beside."""
    inputs = {key: value.clone().requires_grad_(True) for key, value in inputs.items()}
    output = function(*inputs.values())
    grad_output = randn(*output.shape, seed=seed)
    gradients = torch.autograd.grad(output, list(inputs.values()), grad_output)
    for (key, value), gradient in zip(inputs.items(), gradients):
        ops[f"{name}.{key}"] = value
        ops[f"{name}.grad_{key}"] = gradient
    ops[f"{name}.output"], ops[f"{name}.grad_output"] = output, grad_output
    for key, value in settings.items():
        ops[f"{name}.{key}"] = value


def convolutions(ops: dict) -> None:
    cases = {  # name: (batch, in, out, extent, kernel, stride, padding, dilation)
        "conv3d_same": (2, 3, 5, (5, 6, 7), (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
        "conv3d_pointwise": (2, 4, 3, (3, 4, 5), (1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1)),
        "conv3d_stride2": (2, 3, 4, (7, 8, 5), (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1)),
        "conv3d_dilation2": (1, 2, 3, (7, 6, 8), (3, 3, 3), (1, 1, 1), (2, 2, 2), (2, 2, 2)),
        "conv3d_mixed": (2, 3, 2, (6, 7, 9), (1, 3, 2), (1, 2, 3), (0, 2, 1), (1, 2, 1)),
        "conv3d_flat": (2, 3, 4, (1, 8, 7), (1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1)),
    }
    for i, (name, (n, c, o, extent, kernel, stride, padding, dilation)) in enumerate(cases.items()):
        inputs = {
            "input": randn(n, c, *extent, seed=1000 + i),
            "weight": randn(o, c, *kernel, seed=1100 + i) * 0.2,
            "bias": randn(o, seed=1200 + i),
        }
        inputs = {key: value.float().double() for key, value in inputs.items()}
        op_case(
            ops,
            name,
            lambda x, w, b: F.conv3d(x, w, b, stride, padding, dilation),
            inputs,
            1300 + i,
            stride=ints(*stride),
            padding=ints(*padding),
            dilation=ints(*dilation),
        )
    cases = {  # name: (batch, in, out, extent, kernel, stride, padding, output_padding)
        "conv_transpose3d_stride2": (2, 4, 3, (3, 4, 2), (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1)),
        "conv_transpose3d_double": (2, 3, 3, (2, 3, 4), (2, 2, 2), (2, 2, 2), (0, 0, 0), (0, 0, 0)),
    }
    for i, (name, (n, c, o, extent, kernel, stride, padding, extra)) in enumerate(cases.items()):
        inputs = {
            "input": randn(n, c, *extent, seed=1400 + i),
            "weight": (randn(c, o, *kernel, seed=1500 + i) * 0.2).float().double(),
            "bias": randn(o, seed=1600 + i),
        }
        op_case(
            ops,
            name,
            lambda x, w, b: F.conv_transpose3d(x, w, b, stride, padding, extra),
            inputs,
            1700 + i,
            stride=ints(*stride),
            padding=ints(*padding),
            output_padding=ints(*extra),
        )


def normalisations(ops: dict) -> None:
    def inputs(seed):
        return {
            "input": (randn(3, 4, 2, 3, 4, seed=seed) * 2 + 0.5).float().double(),
            "weight": randn(4, seed=seed + 1),
            "bias": randn(4, seed=seed + 2),
        }

    mean, variance = randn(4, seed=2000), randn(4, seed=2001).abs().float().double() + 0.5
    after_mean, after_variance = mean.clone(), variance.clone()

    def train(x, w, b):
        return F.batch_norm(x, after_mean, after_variance, w, b, training=True, momentum=0.1, eps=1e-5)

    op_case(ops, "batch_norm_train", train, inputs(2010), 2013)
    ops["batch_norm_train.running_mean"], ops["batch_norm_train.running_var"] = mean, variance
    ops["batch_norm_train.running_mean_after"] = after_mean
    ops["batch_norm_train.running_var_after"] = after_variance
    evaluate = lambda x, w, b: F.batch_norm(x, mean, variance, w, b, training=False, eps=1e-5)  # noqa: E731
    op_case(ops, "batch_norm_eval", evaluate, inputs(2020), 2023, running_mean=mean, running_var=variance)
    group = lambda x, w, b: F.group_norm(x, 2, w, b, eps=1e-5)  # noqa: E731
    op_case(ops, "group_norm", group, inputs(2030), 2033, groups=ints(2))
    instance = lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=1e-5)  # noqa: E731
    op_case(ops, "instance_norm", instance, inputs(2040), 2043)


def pooling_and_resampling(ops: dict) -> None:
    volume = {"input": randn(2, 3, 5, 6, 7, seed=3000)}
    window = {"kernel": ints(3, 3, 3), "stride": ints(2, 2, 2), "padding": ints(1, 1, 1)}
    for name, counted in (("avg_pool3d_padding_counted", True), ("avg_pool3d_padding_not_counted", False)):
        op_case(ops, name, lambda x, c=counted: F.avg_pool3d(x, 3, 2, 1, count_include_pad=c), volume, 3001, **window)
    op_case(ops, "max_pool3d_overlapping", lambda x: F.max_pool3d(x, 3, 2, 1), volume, 3002, **window)
    even = {"kernel": ints(2, 2, 2), "stride": ints(2, 2, 2), "padding": ints(0, 0, 0)}
    op_case(ops, "max_pool3d", lambda x: F.max_pool3d(x, 2), {"input": randn(2, 3, 4, 6, 2, seed=3003)}, 3004, **even)
    small = {"input": randn(2, 3, 2, 3, 4, seed=3005)}
    for name, mode in (("upsample_trilinear", "trilinear"), ("upsample_nearest", "nearest")):
        flags = {"align_corners": False} if mode == "trilinear" else {}
        up = lambda x: F.interpolate(x, scale_factor=2, mode=mode, **flags)  # noqa: E731
        op_case(ops, name, up, small, 3006, factor=ints(2, 2, 2))


def pointwise_and_losses(ops: dict) -> None:
    x = randn(2, 3, 2, 3, 4, seed=4000) * 3
    volume = {"input": x.float().double()}
    activations = {
        "relu": F.relu,
        "leaky_relu": lambda v: F.leaky_relu(v, 0.2),
        "silu": F.silu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softplus": F.softplus,
    }
    for i, (name, function) in enumerate(activations.items()):
        op_case(ops, name, function, volume, 4001 + i)
    op_case(ops, "prelu", F.prelu, volume | {"weight": randn(3, seed=4010).abs()}, 4011)
    labels = torch.randint(0, 7, (6,), generator=torch.Generator().manual_seed(4020))
    logits = {"input": (randn(6, 7, seed=4021) * 4).float().double()}
    op_case(ops, "cross_entropy", lambda v: F.cross_entropy(v, labels).reshape(1), logits, 4022, labels=labels)
    pair = {"input": randn(4, 5, seed=4030), "target": randn(4, 5, seed=4031)}
    op_case(ops, "mse_loss", lambda a, b: F.mse_loss(a, b).reshape(1), pair, 4032)
    matrix = {"input": randn(4, 6, seed=4040), "weight": randn(3, 6, seed=4041), "bias": randn(3, seed=4042)}
    op_case(ops, "linear", F.linear, matrix, 4043)
    draws = {"input": randn(2, 5, 3, 4, seed=4050)}
    op_case(ops, "var_unbiased", lambda v: v.var(dim=1, unbiased=True), draws, 4051, axis=ints(1))
    op_case(ops, "mean", lambda v: v.mean().reshape(1), draws, 4052)


def spectral_norms(ops: dict) -> None:
    """Two power iterations from u and v, then weight/sigma and its gradient."""
    for i, shape in enumerate([(5, 7), (4, 3, 1, 2, 3)]):
        name = "spectral_norm_linear" if len(shape) == 2 else "spectral_norm_conv3d"
        layer = torch.nn.Linear(7, 5) if len(shape) == 2 else torch.nn.Conv3d(3, 4, shape[2:])
        layer = layer.double()
        layer.weight.data = randn(*shape, seed=6000 + i)
        torch.nn.utils.parametrizations.spectral_norm(layer)
        norm = layer.parametrizations.weight[0]
        norm._u.copy_(F.normalize(randn(shape[0], seed=6010 + i), dim=0).float())
        norm._v.copy_(F.normalize(randn(layer.weight[0].numel(), seed=6020 + i), dim=0).float())
        start = {"u": norm._u.clone(), "v": norm._v.clone()}
        layer.train()
        layer.weight
        output = layer.weight
        grad_output = randn(*shape, seed=6030 + i)
        (gradient,) = torch.autograd.grad(output, layer.parametrizations.weight.original, grad_output)
        ops[f"{name}.weight"] = layer.parametrizations.weight.original
        ops[f"{name}.u"], ops[f"{name}.v"] = start["u"], start["v"]
        ops[f"{name}.u_after"], ops[f"{name}.v_after"] = norm._u, norm._v
        ops[f"{name}.output"], ops[f"{name}.grad_output"], ops[f"{name}.grad_weight"] = output, grad_output, gradient


def optimizers(ops: dict) -> None:
    """Five steps: parameter [20], gradients [5, 20], the parameters after each step [5, 20]; settings in double."""
    cases = {
        "sgd_momentum": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
        "adam": (torch.optim.Adam, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
        "adamw": (torch.optim.AdamW, {"lr": 0.01, "betas": (0.5, 0.99), "eps": 1e-8, "weight_decay": 0.1}),
        "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.01}),
        "rmsprop_momentum": (
            torch.optim.RMSprop,
            {"lr": 0.01, "alpha": 0.9, "eps": 1e-8, "weight_decay": 0.01, "momentum": 0.8},
        ),
    }
    for i, (name, (kind, settings)) in enumerate(cases.items()):
        parameter = randn(20, seed=5000 + i)
        gradients = randn(5, 20, seed=5100 + i)
        ops[f"optimizer.{name}.parameter"], ops[f"optimizer.{name}.gradients"] = parameter, gradients
        for key, value in settings.items():
            for suffix, number in zip(("1", "2"), value) if isinstance(value, tuple) else [("", value)]:
                ops[f"optimizer.{name}.{key.rstrip('s') if suffix else key}{suffix}"] = torch.tensor([number])
        moving = parameter.clone().requires_grad_(True)
        optimizer = kind([moving], **settings)
        after = []
        for gradient in gradients:
            moving.grad = gradient.clone()
            optimizer.step()
            after.append(moving.detach().clone())
        ops[f"optimizer.{name}.parameters_after"] = torch.stack(after)


def make_ops() -> None:
    ops = {}
    convolutions(ops)
    normalisations(ops)
    pooling_and_resampling(ops)
    pointwise_and_losses(ops)
    spectral_norms(ops)
    optimizers(ops)
    save("ops", ops, "single operations with a random grad_output pulled back; optimizers over five steps")


def main() -> None:
    torch.set_num_threads(1)  # one order of summation
    torch.use_deterministic_algorithms(True)
    make_networks()
    spectral_golden()
    make_not_trace()
    make_ops()


if __name__ == "__main__":
    main()
