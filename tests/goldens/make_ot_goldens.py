#!/usr/bin/env python3
"""Writes exact_ot.safetensors: answers of scipy and POT to small transport problems.

    python3 tests/goldens/make_ot_goldens.py        # needs POT, scipy, safetensors, numpy; a second

Costs are rounded to fp32 first, so that a reader starts from the very same numbers; masses and answers are double.
Values are sums in exact arithmetic over the plan that the library returned. Both libraries answer every problem, and
the script fails where they differ by more than they promise.
"""

import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import ot
import safetensors
import scipy
from safetensors.numpy import save_file
from scipy.optimize import linear_sum_assignment

HERE = Path(__file__).resolve().parent
# Relative to Σ |cost|·plan: both assignments are of double sums; HiGHS keeps constraints to 1e-7.
ASSIGNMENT_TOLERANCE, LINEAR_PROGRAM_TOLERANCE = 1e-12, 1e-7
# Of POT's primal over its dual: it compares with 1e-15 of the largest cost, which five decades of costs make that much.
THOUSAND_TOLERANCE = 1e-7


def clouds(generator, rows: int, columns: int, dimension: int) -> np.ndarray:
    x = generator.standard_normal((rows, dimension))
    y = 0.7 * generator.standard_normal((columns, dimension)) + 0.5
    return ((x[:, None] - y[None]) ** 2).sum(-1)


def emd(a: np.ndarray, b: np.ndarray, cost: np.ndarray):
    """POT's plan and potentials. It compares with an absolute 1e-15 within, so costs are brought to size 1."""
    size = float(np.abs(cost).max()) or 1.0
    plan, log = ot.emd(a, b, cost / size, numItermax=10_000_000, log=True)
    assert log["warning"] is None, log["warning"]
    return plan, log["u"] * size, log["v"] * size


def exact_sum(cost: np.ndarray, plan: np.ndarray) -> float:
    return float(sum(Fraction(c) * Fraction(p) for c, p in zip(cost.flat, plan.flat) if p > 0))


def close(name: str, first: float, second: float, size: float, tolerance: float) -> None:
    difference = abs(first - second) / size if size > 0 else abs(first - second)
    print(f"  {name}: {first:.12g}, apart by {difference:.1e}")
    assert difference <= tolerance, (name, first, second)


def best_permutation(cost: np.ndarray) -> float:
    """Every permutation in exact arithmetic, for costs that range further than double resolves."""
    exact = [[Fraction(float(c)) for c in row] for row in cost]
    n = len(exact)
    return float(min(sum(exact[i][p[i]] for i in range(n)) for p in itertools.permutations(range(n))))


def assignment(tensors: dict, name: str, cost: np.ndarray, unique: bool = False, permutations: bool = False) -> None:
    cost = np.ascontiguousarray(cost, dtype=np.float32).astype(np.float64)
    rows, columns = linear_sum_assignment(cost)
    value = math.fsum(cost[rows, columns])
    size = math.fsum(np.abs(cost[rows, columns]))
    if permutations:
        value = best_permutation(cost)
        print(f"  assign.{name}: {value:.12g} of all permutations, scipy {math.fsum(cost[rows, columns]):.12g}")
    else:
        ones = np.ones(len(cost))
        plan, _, _ = emd(ones, ones, cost)
        close(f"assign.{name}", value, exact_sum(cost, plan), size, ASSIGNMENT_TOLERANCE)
    tensors[f"assign.{name}.cost"] = cost.astype(np.float32)
    tensors[f"assign.{name}.value"] = np.array([value])
    if unique:
        tensors[f"assign.{name}.partner"] = columns.astype(np.int64)


def transport(tensors: dict, name: str, cost: np.ndarray, a, b, unique: bool = False) -> None:
    """`unique`: random masses, no two of whose partial sums agree, so plan and potentials (up to a constant) are."""
    cost = np.ascontiguousarray(cost, dtype=np.float32).astype(np.float64)
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    a, b = a / a.sum(), b / b.sum()
    plan, u, v = emd(a, b, cost)
    value = exact_sum(cost, plan)
    result = scipy.optimize.linprog(
        cost.ravel(),
        A_eq=np.vstack([np.kron(np.eye(len(a)), np.ones(len(b))), np.kron(np.ones(len(a)), np.eye(len(b)))]),
        b_eq=np.concatenate([a, b]),
        method="highs",
    )
    size = float((np.abs(cost) * plan).sum())
    close(f"plan.{name}", value, result.fun, size, LINEAR_PROGRAM_TOLERANCE)
    prefix = f"plan.{name}."
    tensors |= {prefix + "cost": cost.astype(np.float32), prefix + "a": a, prefix + "b": b}
    tensors[prefix + "value"] = np.array([value])
    if unique:
        assert (plan > 0).sum() == len(a) + len(b) - 1, name
        tensors |= {prefix + "plan": plan, prefix + "row_potential": u, prefix + "column_potential": v}


def assignments(tensors: dict) -> None:
    g = np.random.default_rng(4)
    for n in (1, 2, 3, 5, 8, 17, 33, 64):
        assignment(tensors, f"uniform_{n}", g.random((n, n)), unique=True)
    for n, dimension in ((2, 1), (7, 2), (30, 3), (64, 16)):
        assignment(tensors, f"clouds_{n}", clouds(g, n, n, dimension), unique=dimension > 1)
    assignment(tensors, "negative_20", g.standard_normal((20, 20)), unique=True)
    assignment(tensors, "ties_24", np.abs(g.integers(0, 9, 24)[:, None] - g.integers(3, 12, 24)))
    assignment(tensors, "equal_9", np.full((9, 9), 2.5))
    assignment(tensors, "zero_6", np.zeros((6, 6)))
    x = g.standard_normal((6, 3))[np.arange(18) % 6]  # each point three times
    assignment(tensors, "duplicates_18", ((x[:, None] - x[None, ::-1]) ** 2).sum(-1))
    assignment(tensors, "tiny_16", 1e-12 * g.random((16, 16)), unique=True)
    assignment(tensors, "huge_16", 1e12 * g.random((16, 16)), unique=True)
    assignment(tensors, "shifted_16", 1e3 + g.random((16, 16)), unique=True)
    for k in range(4):
        assignment(tensors, f"range_{k}", 10.0 ** g.uniform(-12, 12, (6, 6)), permutations=True)


def transports(tensors: dict) -> None:
    g = np.random.default_rng(5)
    transport(tensors, "one", np.array([[3.0]]), [1], [1])
    transport(tensors, "one_to_many", g.random((1, 6)), [1], g.random(6) + 0.1, unique=True)
    transport(tensors, "many_to_one", g.random((6, 1)), g.random(6) + 0.1, [1], unique=True)
    for n, m in ((2, 3), (7, 4), (12, 30), (40, 25)):
        transport(tensors, f"uniform_{n}x{m}", g.random((n, m)), g.random(n) + 0.1, g.random(m) + 0.1, unique=True)
    transport(tensors, "clouds_32x40", clouds(g, 32, 40, 8), g.random(32) + 0.1, g.random(40) + 0.1, unique=True)
    transport(tensors, "equal_masses_12x8", clouds(g, 12, 8, 2), np.ones(12), np.ones(8))
    a, b = g.random(20), g.random(15)
    a[[0, 7, 19]] = 0
    b[[3, 4, 14]] = 0
    transport(tensors, "zero_masses_20x15", clouds(g, 20, 15, 3), a, b)
    transport(tensors, "zero_masses_square", g.random((12, 12)), np.arange(12) % 3 > 0, np.arange(12) % 3 < 2)
    transport(tensors, "ties_15x20", g.integers(0, 3, (15, 20)), g.integers(0, 4, 15), g.integers(1, 4, 20))
    transport(tensors, "negative_9x14", g.standard_normal((9, 14)), g.random(9), g.random(14), unique=True)
    transport(tensors, "uneven_10x10", g.random((10, 10)), 10.0 ** g.uniform(-9, 0, 10), g.random(10))


def number(*words) -> np.ndarray:
    """A 64-bit hash (SplitMix64's finaliser) of problem, stream, i and j, each of which may be an array."""
    k, stream, i, j = (np.asarray(w, dtype=np.uint64) for w in words)
    with np.errstate(over="ignore"):
        z = (((k * np.uint64(8) + stream) * np.uint64(1024) + i) * np.uint64(1024) + j + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def below(n: int, *words) -> np.ndarray:
    return (number(*words) % np.uint64(n)).astype(np.int64)


def hashed_problem(k: int):
    """Problem k of a thousand, from integers alone, so that tests/exact_thousand_test.cpp makes the very same one:
    costs (fp32) and masses (integers of equal sums)."""
    kind, size = k % 10, int(below(20, k, 0, 2, 0))
    general = k > 0 and (k % 25 in (1, 2) or int(below(2, k, 0, 3, 0)) == 1)
    most = 512 if size == 0 else 100 if size < 6 else 24
    rows = 512 if k == 0 else 1 if k % 25 == 1 else 2 + int(below(most - 1, k, 0, 0, 0))
    columns = rows if not general else 1 if k % 25 == 2 else 2 + int(below(most - 1, k, 0, 1, 0))
    i, j = np.arange(rows)[:, None], np.arange(columns)[None]
    u = (number(k, 1, i, j) >> np.uint64(40)).astype(np.float64) / 2**24
    axis = np.arange(3)[None]
    if kind == 1:
        u = u - 0.5
    elif kind == 2:
        u = below(5, k, 1, i, j)
    elif kind == 3:  # few different points, the same ones on either side
        points = below(16, k, 2, np.arange(1 + rows // 3)[:, None], axis[:, :2])
        x, y = points[np.arange(rows) % len(points)], points[np.arange(columns) % len(points)]
        u = ((x[:, None] - y[None]) ** 2).sum(-1)
    elif kind == 4:
        x, y = below(1000, k, 2, np.arange(rows)[:, None], axis), below(1000, k, 3, np.arange(columns)[:, None], axis)
        u = ((x[:, None] - y[None] - 250) ** 2).sum(-1)
    elif kind == 5:
        u = np.full((rows, columns), 2.5)
    elif kind == 6:
        u = 1e-12 * u
    elif kind == 7:
        u = 1e12 * u
    elif kind == 8:  # five decades and more in one matrix, somewhere between 1e-12 and 1e12
        power = np.array([float(f"1e{e}") for e in range(-12, 13)])
        u = (u + 1 / 2**24) * power[below(6, k, 4, i, j) + below(20, k, 5, 0, 0)]
    elif kind == 9:
        u = 1000 + u
    cost = np.asarray(u, dtype=np.float64).astype(np.float32)
    if not general:
        return cost, None, None

    def masses(stream: int, n: int) -> np.ndarray:
        index = np.arange(n)
        m = below(16, k, stream, index, 0)
        if k % 3 == 0:
            m[below(3, k, stream, index, 1) == 0] = 0
        m[0] += 1
        return m

    a, b = masses(6, rows), masses(7, columns)
    return cost, a * b.sum(), b * a.sum()


def thousand(tensors: dict) -> None:
    values, worst = [], 0.0
    for k in range(1000):
        cost, a, b = hashed_problem(k)
        exact = cost.astype(np.float64)
        a, b = (np.ones(len(cost), dtype=np.int64),) * 2 if a is None else (a, b)
        mass = int(a.sum())
        plan, u, v = emd(a / mass, b / mass, exact)
        value = math.fsum((exact * plan).ravel())
        size = math.fsum((np.abs(exact) * plan).ravel())
        # POT's own potentials say what is the least that any plan costs.
        excess = (u[:, None] + v[None] - exact).clip(min=0).max(1)
        gap = value - math.fsum(a / mass * u) - math.fsum(b / mass * v) + math.fsum(a / mass * excess)
        worst = max(worst, gap / size if size > 0 else gap)
        values.append(value)
    print(f"  thousand: POT's primal and dual values are at most {worst:.1e} apart")
    assert worst <= THOUSAND_TOLERANCE, worst
    tensors["thousand.value"] = np.array(values)


def main() -> None:
    versions = f"POT {ot.__version__}, scipy {scipy.__version__}, numpy {np.__version__}"
    print(f"{versions}, safetensors {safetensors.__version__}")
    tensors = {}
    assignments(tensors)
    transports(tensors)
    thousand(tensors)
    path = HERE / "exact_ot.safetensors"
    save_file(dict(sorted(tensors.items())), path, metadata={"about": f"exact transport: {versions}"})
    path.chmod(0o644)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
