"""The network of a spec in PyTorch, channels last, in the same precision, with its batches ready in memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


def way(spec: dict[str, Any], epoch: Any, steps: int) -> Callable[[], None]:
    """In a process of its own: TensorFlow's and PyTorch's libraries do not bear each other."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    batches = [epoch[n] for n in range(len(epoch))]
    context.Process(target=_steps, args=(there, spec, batches, steps), daemon=True).start()

    def run() -> None:
        here.send("go")
        here.recv()

    return run


def _steps(orders: Any, spec: dict[str, Any], batches: list[Any], steps: int) -> None:
    import torch
    from torch import nn

    layers: list[Any] = []
    channels, side = 3, spec["px"]
    for layer in spec["layers"]:
        match layer:
            case {"kind": "conv", "kernel_px": kernel, "filters": filters, "batch_norm_momentum": momentum, "pool": pool}:
                layers += [nn.Conv2d(channels, filters, kernel, padding="same"), nn.ReLU()]
                layers += [] if momentum is None else [nn.BatchNorm2d(filters, eps=1e-3, momentum=1 - momentum)]
                layers += [nn.MaxPool2d(2)] if pool else []
                channels, side = filters, side // 2 if pool else side
            case {"kind": "shrink", "factor": factor}:
                layers, side = [*layers, nn.AvgPool2d(factor)], side // factor
            case {"kind": "mean"}:
                layers, side = [*layers, nn.AdaptiveAvgPool2d(1)], 1
            case {"kind": "dropout", "rate": rate}:
                layers.append(nn.Dropout(rate))
            case {"kind": "dense", "units": units}:
                layers += [nn.Flatten(), nn.Linear(channels * side**2, units), nn.ReLU()]
                channels, side = units, 1
    layers += [nn.Flatten(), nn.Linear(channels * side**2, 1)]
    network = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    optimizer, loss = torch.optim.Adam(network.parameters(), 1e-4), nn.BCEWithLogitsLoss()
    mean, std = (torch.tensor(spec["normalisation"][key])[:, None, None] for key in ("mean", "std"))
    ready = [(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.from_numpy(y)) for x, y in batches]
    torch.set_num_threads(int(spec["machine"]["threads"]))

    while told(orders):
        for step in range(steps):
            images, labels = ready[step % len(ready)]
            with torch.autocast("cpu", torch.bfloat16, enabled=spec["precision"] == "bfloat16"):
                x = ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)
                value = loss(network(x).float(), labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        orders.send("done")


def told(orders: Any) -> bool:
    """Wait for an order; False when none will come."""
    try:
        return bool(orders.recv())
    except EOFError:  # the measuring process has ended
        return False
