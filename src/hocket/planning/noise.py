"""The constants of the learning problem, estimated from a few gradients at the first model.

At w, ``clients`` clients each compute ``batches`` mini-batch gradients g_ib (jobs of one local step). With a bar for
means, B batches and C clients,

    sigma^2 = mean_i sum_b |g_ib - g_i|^2 / (B - 1)              gradient noise
    G^2     = mean_i |g_i|^2 - sigma^2 / B                       size of a client's gradient
    |f'|^2  = |g|^2 - (M^2 + sigma^2 / B) / C                    size of the mean gradient
    M^2     = sum_i |g_i - g|^2 / (C - 1) - sigma^2 / B          how much clients differ
    L       = |g(w - h g) - g(w)| / (h |g|),  h = the task's learning rate, same batches
    Delta   = mean training loss at w (a loss is 0 or more)
    epsilon = ``share`` of |f'|^2

Each correction takes out what the noise of the mean adds. The papers bound M and G over all clients and do not say how
they estimate them; a mean is used here because the bound adds up over clients. Only B/epsilon and C/epsilon move p and
m; Delta and L scale the objective.
"""

import numpy as np
from msgspec.structs import replace

from hocket.errors import InvalidInput
from hocket.keyed import key, mix
from hocket.learning.learner import Job
from hocket.learning.task import Task
from hocket.queueing import Learning


def learning(task: Task, clients: int = 20, batches: int = 4, share: float = 0.1, seed: int = 0) -> Learning:
    """Estimate sigma, M, G, L, Delta from ``clients`` x ``batches`` gradients (twice that many are computed).

    Raises:
        InvalidInput: the task has no learner, or fewer than two clients or batches.

    >>> import hocket as hk
    >>> found = learning(hk.reference_tasks.gaussian(clients=20, samples=40))
    >>> 0 < found.noise < found.gradient < 10
    True
    """
    if task.learner is None:
        raise InvalidInput(f"task {task.name!r} is size-only; it has no gradients to estimate constants from")
    if clients < 2 or batches < 2 or not share > 0:
        raise InvalidInput(
            f"noise: clients = {clients}, batches = {batches}, share = {share}; give 2 or more of each, a share above 0"
        )
    chosen = np.argsort([key(seed, "noise", c) for c in range(task.clients)], kind="stable")[:clients].tolist()
    x = task.learner.initial(key(seed, "initial", task.name))
    local = replace(task.local, steps=1, epochs=None, momentum=0.0, weight_decay=0.0, proximal=0.0, decay=1.0)

    def gradients(at: np.ndarray) -> tuple[np.ndarray, float]:
        jobs = [
            Job(i, c, at, local, mix(key(seed, "noise", c, b)), 0)
            for i, (c, b) in enumerate((c, b) for c in chosen for b in range(batches))
        ]
        assert task.learner is not None, "checked"
        done = task.learner.train(jobs)
        stack = np.stack([d.delta for d in done]).astype(np.float64) / -local.lr
        return stack.reshape(len(chosen), batches, -1), float(np.mean([d.metrics["loss"] for d in done]))

    g, loss = gradients(x)
    own, mean = g.mean(1), g.mean((0, 1))
    noise = float(((g - own[:, None]) ** 2).sum() / (len(chosen) * (batches - 1)))
    size = max(float((own**2).sum(1).mean()) - noise / batches, 0.0)
    apart = max(float(((own - mean) ** 2).sum()) / (len(chosen) - 1) - noise / batches, 0.0)
    norm = float((mean**2).sum())
    true = max(norm - (apart + noise / batches) / len(chosen), 0.05 * norm)
    if not norm:
        raise InvalidInput(f"task {task.name!r}: its gradients are 0 at the first model; nothing to estimate from")
    moved = (x - local.lr * mean).astype(np.float32)
    curvature = float(np.linalg.norm(gradients(moved)[0].mean((0, 1)) - mean)) / (local.lr * norm**0.5)
    return Learning(max(loss, 1e-12), max(curvature, 1e-12), noise**0.5, apart**0.5, size**0.5, share * true)
