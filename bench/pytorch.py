"""The network of a spec in PyTorch, channels last, in the same precision, with its batches ready in the device's memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


def way(spec: dict[str, Any], epoch: Any, steps: int, compiled: bool = False) -> Callable[[], None]:
    """In a process of its own: TensorFlow's and PyTorch's libraries do not bear each other.

    On a GPU where there is one; `compiled`: by PyTorch's compiler, with CUDA's graphs.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    batches = [epoch[n] for n in range(len(epoch))]
    context.Process(target=_steps, args=(there, spec, batches, steps, compiled), daemon=True).start()
    there.close()  # so that the next line fails if the process dies

    def run() -> None:
        here.send("go")
        here.recv()

    return run


def _steps(orders: Any, spec: dict[str, Any], batches: list[Any], steps: int, compiled: bool) -> None:
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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = nn.Sequential(*layers).to(device, memory_format=torch.channels_last)
    optimizer, loss = torch.optim.Adam(network.parameters(), 1e-4, fused=device.type == "cuda"), nn.BCEWithLogitsLoss()
    mean, std = (torch.tensor(spec["normalisation"][key], device=device)[:, None, None] for key in ("mean", "std"))
    ready = [(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(device), torch.from_numpy(y).to(device)) for x, y in batches]
    torch.set_num_threads(int(spec["machine"]["threads"]))

    def of_batch(images: Any, labels: Any) -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=spec["precision"] == "bfloat16"):
            x = ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)
            return loss(network(x).float(), labels)

    value_of = torch.compile(of_batch, mode="reduce-overhead") if compiled else of_batch
    while told(orders):
        for step in range(steps):
            value = value_of(*ready[step % len(ready)])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        value.item()  # has the device finish
        orders.send("done")


def told(orders: Any) -> bool:
    """Wait for an order; False when none will come."""
    try:
        return bool(orders.recv())
    except EOFError:  # the measuring process has ended
        return False
