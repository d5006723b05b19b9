"""A training step of the published network in PyTorch: forward, mean squared error, backward, Adam.

The network is that of `smae_jax.models.sedcnn` with the same parameters, written as functions of them.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from smae_jax.models.sedcnn import DECODER, ENCODER, SEDCNN4


def torch_parameters(channels: int) -> Any:
    """Return drawn parameters as the Flax module has them, in PyTorch's order of axes."""
    import torch

    network, example = SEDCNN4(), jnp.zeros((1, 16, 16, channels))
    drawn = network.init(jax.random.key(0), example)["params"]

    def converted(path: Any, leaf: Any) -> Any:
        turned = (2, 3, 0, 1) if "upsample" in jax.tree_util.keystr(path) else (3, 2, 0, 1)
        array = np.array(leaf.transpose(turned) if leaf.ndim == 4 else leaf)
        return torch.nn.Parameter(torch.from_numpy(np.ascontiguousarray(array)))

    return drawn, jax.tree_util.tree_map_with_path(converted, drawn)


def forward(parameters: Any, x: Any) -> Any:
    """Do what `SEDCNN4` does, on (batch, channel, height, width) whose sides are multiples of 16."""
    import torch
    from torch.nn import functional

    def conv(p: Any, x: Any, stride: int = 1) -> Any:
        size = p["kernel"].shape[-1]
        return functional.conv2d(x, p["kernel"], p["bias"], stride=stride, padding=size // 2)

    def residual(p: Any, x: Any) -> Any:
        return (x + conv(p["conv1"], conv(p["conv0"], x).relu())).relu()

    def down(p: Any, x: Any) -> Any:
        halves = [(conv(p[f"conv{k}_1"], x, 2).relu(), p[f"conv{k}_2"]) for k in (3, 5)]
        return torch.cat([conv(own, half) for half, own in halves], 1)

    x, skips = conv(parameters["conv0"], x).relu(), []
    for stage, (_, blocks) in enumerate(ENCODER, start=1):
        skips.append(x)
        x = down(parameters[f"enc{stage}_0"], x)
        for block in range(1, blocks + 1):
            x = residual(parameters[f"enc{stage}_{block}"], x)
    x = conv(parameters["encdec"], x).relu()
    for stage in range(1, len(DECODER) + 1):
        own = parameters[f"dec{stage}"]
        up, x = own["upsample"], residual(own["residual_conv"], x)
        x = functional.conv_transpose2d(x, up["kernel"], up["bias"], stride=2)
        x = torch.cat([x, conv(own["proj_conv"], skips.pop())], 1)
    return conv(parameters["out1"], residual(parameters["out0"], x)).relu()


def seconds_of_a_step(batch: int, patch: int, seconds: float) -> float:
    """Return the seconds of a training step on `batch` patches, on the GPU where there is one."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _, tree = torch_parameters(2)
    parameters = jax.tree.map(lambda p: torch.nn.Parameter(p.detach().to(device)), tree)
    optimizer = torch.optim.Adam(jax.tree.leaves(parameters), lr=1e-4)
    source = torch.rand(batch, 2, patch, patch, device=device)
    times: list[float] = []
    while len(times) < 4 or sum(times[1:]) < seconds:
        start = time.perf_counter()
        optimizer.zero_grad()
        torch.mean((forward(parameters, source) - source[:, :1]) ** 2).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
