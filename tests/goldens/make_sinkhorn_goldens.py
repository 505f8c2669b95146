#!/usr/bin/env python3
"""Writes sinkhorn.safetensors: POT's answers, computed in double from inputs rounded to fp32, stored in fp32.

    python3 tests/goldens/make_sinkhorn_goldens.py        # needs POT, torch, scipy; a minute

Weights are stored before normalisation: divide by their sum in double. Every solution's marginal error is
printed: it bounds how far POT itself is from the answer. At 1e-4 of the mean cost POT starts from its answers for
a falling ε, and its problems are small.
"""

import json
import platform
import warnings
from pathlib import Path

import numpy as np
import ot
import scipy
import torch
from scipy.spatial.distance import cdist

HERE = Path(__file__).resolve().parent
random = np.random.default_rng(20240611)
tensors: dict[str, np.ndarray] = {}


def rounded(values) -> np.ndarray:
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def put(case: str, **arrays) -> None:
    for name, value in arrays.items():
        tensors[f"{case}.{name}"] = np.atleast_1d(np.asarray(value, dtype=np.float64))


def save(path: Path, about: str) -> None:
    """Safetensors: the header's length, the header as JSON, the data."""
    header, data = {"__metadata__": {"format": "np", "about": about}}, b""
    for name, value in sorted(tensors.items()):
        piece = value.astype("<f4").tobytes()
        offsets = [len(data), len(data) + len(piece)]
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": offsets}
        data += piece
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def weights(count: int, zeros=()) -> np.ndarray:
    w = rounded(random.uniform(0.2, 1.0, count))
    w[list(zeros)] = 0
    return w


def objective(cost, plan, a, b, epsilon) -> float:
    kept = plan > 0
    ratio = np.zeros_like(plan)
    ratio[kept] = plan[kept] * np.log(plan[kept] / np.outer(a, b)[kept])
    return float((plan * cost).sum() + epsilon * (ratio.sum() - plan.sum() + a.sum() * b.sum()))


def sinkhorn_log(a, b, cost, epsilon: float, **settings) -> tuple:
    with np.errstate(over="ignore"):  # POT returns the scalings beside their logarithms
        return ot.bregman.sinkhorn_log(a, b, cost, epsilon, log=True, **settings)


def falling_epsilon(a, b, cost, epsilon: float) -> tuple:
    """Where POT begins at a small ε: its log-scalings for twice that ε, made so in turn from the mean cost on."""
    f, g = np.zeros_like(a), np.zeros_like(b)
    for step in range(int(np.log2(cost.mean() / epsilon)), 0, -1):
        larger = epsilon * 2**step
        start = (f / larger + np.log(a), g / larger + np.log(b))
        log = sinkhorn_log(a, b, cost, larger, numItermax=20000, stopThr=1e-9, warn=False, warmstart=start)[1]
        f, g = larger * (log["log_u"] - np.log(a)), larger * (log["log_v"] - np.log(b))
    return f / epsilon + np.log(a), g / epsilon + np.log(b)


def balanced(case: str, cost, a_raw, b_raw, epsilon: float, fall: bool = False) -> None:
    """Points without weight are left out of POT's problem and have plan 0; their potentials are not stored."""
    epsilon = float(np.float32(epsilon))
    a, b = a_raw / a_raw.sum(), b_raw / b_raw.sum()
    rows, columns = a > 0, b > 0
    part = np.ix_(rows, columns)
    plan = np.zeros_like(cost)
    start = falling_epsilon(a[rows], b[columns], cost[part], epsilon) if fall else None
    # Exponents of 1e4 are rounded to 1e-12.
    limit = {"numItermax": 2000000, "stopThr": 1e-11 if fall else 1e-13}
    log = sinkhorn_log(a[rows], b[columns], cost[part], epsilon, warmstart=start, **limit)
    plan[part] = log[0]
    # POT's potentials belong to exp((f + g − C)/ε) without a⊗b.
    f = epsilon * (log[1]["log_u"] - np.log(a[rows]))
    g = epsilon * (log[1]["log_v"] - np.log(b[columns]))
    shift = a[rows] @ f - b[columns] @ g
    error = np.abs(plan.sum(1) - a).sum() + np.abs(plan.sum(0) - b).sum()
    print(f"{case}: {cost.shape}, marginal error {error:.1e}, {log[1]['niter']} iterations")
    put(case, cost=cost, a=a_raw, b=b_raw, epsilon=epsilon, plan=plan, transport_cost=(plan * cost).sum())
    put(case, value=objective(cost, plan, a, b, epsilon), f=f - shift / 2, g=g + shift / 2)


def unbalanced(case: str, cost, a, b, epsilon: float, rho: tuple) -> None:
    plan = ot.unbalanced.sinkhorn_unbalanced(
        a, b, cost, epsilon, rho, reg_type="kl", stopThr=1e-13, numItermax=5000
    )
    kl = lambda p, q: float((p * np.log(p / q) - p + q).sum())
    value = objective(cost, plan, a, b, epsilon)
    value += rho[0] * kl(plan.sum(1), a) + rho[1] * kl(plan.sum(0), b)
    print(f"{case}: mass {plan.sum():.4f} of {a.sum():.4f} and {b.sum():.4f}")
    put(case, cost=cost, a=a, b=b, epsilon=epsilon, rho=rho, plan=plan, value=value)


def divergence(case: str, x, y, a_raw, b_raw, epsilon: float) -> None:
    x_, y_, a_, b_ = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, y, a_raw, b_raw))
    a, b = a_ / a_.sum(), b_ / b_.sum()

    def value(p, q, u, v):
        cost = ((p[:, None, :] - q[None, :, :]) ** 2).sum(-1)
        return ot.solve(cost, u, v, reg=epsilon, reg_type="KL", tol=1e-10, max_iter=4000).value

    loss = value(x_, y_, a, b) - value(x_, x_, a, a) / 2 - value(y_, y_, b, b) / 2
    loss.backward()
    print(f"{case}: {loss.item():.6f}")
    put(case, x=x, y=y, a=a_raw, b=b_raw, epsilon=epsilon, value=loss.item())
    put(case, grad_x=x_.grad.numpy(), grad_y=y_.grad.numpy(), grad_a=a_.grad.numpy(), grad_b=b_.grad.numpy())


def main() -> None:
    warnings.simplefilter("error")
    x, y = rounded(random.normal(size=(24, 6))), rounded(random.normal(size=(31, 6)) + 0.5)
    cost = rounded(ot.dist(x, y))
    put("costs", x=x, y=y, squared=ot.dist(x, y), half=ot.dist(x, y) / 12, cosine=cdist(x, y, "cosine"))
    balanced("plain", cost, weights(24), weights(31), 0.1 * cost.mean())
    balanced("small", cost, weights(24), weights(31), 0.01 * cost.mean())
    balanced("zeros", cost, weights(24, (0, 7, 23)), weights(31, (5, 6)), 0.05 * cost.mean())
    balanced("one_row", cost[:1], weights(1), weights(31), 0.5)
    unbalanced("unbalanced", rounded(cost / cost.mean()), weights(24) / 16, weights(31) / 12, 0.0625, (0.5, 1.5))
    divergence("divergence", x[:12, :3], y[:9, :3], weights(12), weights(9), 1.0)
    balanced("tiny_epsilon", cost[:16, :16], weights(16), weights(16), 1e-4 * cost[:16, :16].mean(), fall=True)
    balanced("tiny_epsilon_wide", cost[:12, :31], weights(12), weights(31), 1e-4 * cost[:12].mean(), fall=True)

    path = HERE / "sinkhorn.safetensors"
    versions = f"POT {ot.__version__}, torch {torch.__version__}, numpy {np.__version__}, scipy {scipy.__version__}"
    save(path, f"Sinkhorn by {versions}")
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes; {versions}, python {platform.python_version()}")


if __name__ == "__main__":
    main()
