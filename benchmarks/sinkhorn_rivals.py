"""What compare_pot_sinkhorn.py times beside POT, each behind one form: the problem's features in, potentials out.

A rival is made of (x, y, epsilon, device) with x, y of B×n×D or n×D fp32 and the cost ‖x − y‖²; solve(tolerance) returns its
potentials f, g for the plan exp((f + g − C)/ε)/(n·m) as arrays or tensors; `tolerances(error)` are what it is asked for, the
loosest first. A module that is not installed raises ImportError, which leaves the rival out by name.
"""

import math


class GeomLoss:
    """Its schedule ends by the number of its steps, not by an error: finer schedules stand for smaller tolerances."""

    def __init__(self, x, y, epsilon: float, device: str):
        import torch
        from geomloss import SamplesLoss

        # Its cost is ½‖x − y‖², its ε the square of its blur.
        self.x, self.y = (torch.as_tensor(t, device=device) * math.sqrt(2) for t in (x, y))
        backend = "tensorized" if self.x.ndim == 3 else "online"
        if backend == "online":
            import pykeops  # noqa: F401, what its online form is made of
        self.loss = lambda scaling: SamplesLoss(
            "sinkhorn", p=2, blur=math.sqrt(epsilon), scaling=scaling, debias=False, potentials=True, backend=backend
        )

    @staticmethod
    def tolerances(error: float):
        return (0.5, 0.7, 0.9, 0.97, 0.99, 0.997)

    def solve(self, scaling: float):
        return self.loss(scaling)(self.x, self.y)


class Ott:
    """OTT-JAX in the log domain, compiled; a batch by vmap."""

    def __init__(self, x, y, epsilon: float, device: str):
        import jax
        import jax.numpy as jnp
        import numpy as np
        from ott.geometry import pointcloud
        from ott.problems.linear import linear_problem
        from ott.solvers.linear import sinkhorn

        where = jax.devices("gpu" if device == "cuda" else "cpu")[0]
        self.x, self.y = (jax.device_put(jnp.asarray(np.asarray(t)), where) for t in (x, y))
        self.jax, self.made = jax, {}
        block = min(1024, len(x)) if x.ndim == 2 else None  # rows at a time, in place of the whole cost matrix
        # Its potentials hold ε·log of the weights.
        shifts = [epsilon * math.log(t.shape[-2]) for t in (x, y)]

        def one(tolerance):
            solver = sinkhorn.Sinkhorn(threshold=tolerance, max_iterations=5000)

            def run(p, q):
                geometry = pointcloud.PointCloud(p, q, epsilon=epsilon, batch_size=block)
                out = solver(linear_problem.LinearProblem(geometry))
                return out.f + shifts[0], out.g + shifts[1]

            return jax.jit(jax.vmap(run) if x.ndim == 3 else run)

        self.one = one

    @staticmethod
    def tolerances(error: float):
        return [error * s for s in (1, 0.3, 0.1, 0.03, 0.01)]

    def solve(self, tolerance: float):
        run = self.made.setdefault(tolerance, self.one(tolerance))
        return self.jax.block_until_ready(run(self.x, self.y))


class FlashSinkhorn:
    """Streamed in Triton, alternating, with its own stopping threshold."""

    def __init__(self, x, y, epsilon: float, device: str):
        import torch
        from flash_sinkhorn import SamplesLoss

        self.x, self.y = (torch.as_tensor(t, device=device) for t in (x, y))
        self.loss = lambda tolerance: SamplesLoss(
            "sinkhorn", backend="alternating", use_epsilon_scaling=False, eps=epsilon, n_iters=5000, threshold=tolerance,
            potentials=True, allow_tf32=False,
        )  # fmt: skip

    tolerances = staticmethod(Ott.tolerances)

    def solve(self, tolerance: float):
        return self.loss(tolerance)(self.x, self.y)


RIVALS = {"geomloss": GeomLoss, "ott-jax": Ott, "flash-sinkhorn": FlashSinkhorn}
