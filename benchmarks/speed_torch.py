"""The published network in PyTorch: a training step (mean squared error, Adam) and the mean over four flips.

The network is that of `smae_jax.models.sedcnn` with the same parameters, written as functions of them.
"""

from __future__ import annotations

from collections.abc import Callable
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


def training_steps(batch: int, patch: tuple[int, int], *, count: int) -> Callable[[], None]:
    """Return the call that does some steps on patches that are there, in PyTorch's best setting."""
    import torch

    parameters, device = _prepared()
    fused = device.type == "cuda"
    optimizer = torch.optim.Adam(jax.tree.leaves(parameters), lr=1e-4, fused=fused)
    source = torch.rand(batch, 2, *patch, device=device).to(memory_format=torch.channels_last)

    def loss() -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=fused):
            predicted = forward(parameters, source)
        return torch.mean((predicted.float() - source[:, :1]) ** 2)

    compiled = _compiled(loss)

    def steps() -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            compiled().backward()
            optimizer.step()
        if fused:
            torch.cuda.synchronize()

    return steps


def flips(frames: int, shape: tuple[int, int]) -> Callable[[], None]:
    """Return the call that answers frames by the mean over four flips, in PyTorch's best setting."""
    import torch

    parameters, device = _prepared()
    source = torch.rand(frames, 2, *shape, device=device).to(memory_format=torch.channels_last)

    def answer() -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            axes = ((), (2,), (3,), (2, 3))
            answers = [forward(parameters, source.flip(a)).float().flip(a) for a in axes]
        return sum(answers) / 4

    compiled = _compiled(answer)

    def answered() -> None:
        with torch.no_grad():
            compiled()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return answered


def _prepared() -> tuple[Any, Any]:
    """Return the parameters on the GPU where there is one, kernels with channels last, and the device."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _, tree = torch_parameters(2)

    def placed(leaf: Any) -> Any:
        leaf = leaf.detach().to(device)
        if leaf.ndim == 4:
            leaf = leaf.to(memory_format=torch.channels_last)
        return torch.nn.Parameter(leaf)

    return jax.tree.map(placed, tree), device


def _compiled(function: Callable[[], Any]) -> Callable[[], Any]:
    """Return a compiled function; the function itself where there is no compiler for it."""
    import torch

    compiled = torch.compile(function, dynamic=False)
    try:
        compiled()
    except Exception as error:
        print(f"PyTorch does not compile here, and runs as it is: {type(error).__name__}")
        return function
    return compiled
