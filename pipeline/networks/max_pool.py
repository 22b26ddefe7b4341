"""The maximum of 2 x 2 pixels while XLA compiles the training: it has no deterministic gradient of TensorFlow's own.

The same layer with the same outputs and, in exact arithmetic and in any other, the same gradients: each goes to the first of
the largest pixels of its block. It has no weights, so a network that was trained with it is that of `model.build`.
"""

from __future__ import annotations

from typing import Any

from pipeline.machine.device import Device

# isort: split
import keras  # after device, which keeps TensorFlow's greetings off the terminal


def layer(machine: Device) -> Any:
    """The class to build a network with that will be trained on `machine`."""
    return MaxPooling2D if machine.backend == "tensorflow" and machine.xla else keras.layers.MaxPooling2D


class MaxPooling2D(keras.layers.MaxPooling2D):  # type: ignore[misc]  # keras has no types
    """Over blocks of 2 x 2, Keras' default; the last row or column of an odd side belongs to no block."""

    def call(self, inputs: Any) -> Any:
        """`(batch, h, w, maps)` to `(batch, h // 2, w // 2, maps)`."""
        return _maximum(inputs)


def _maximum(inputs: Any) -> Any:
    import tensorflow as tf

    _, height, width, maps = inputs.shape
    rows, columns = height // 2, width // 2

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # tensorflow has no types
    def of_blocks(images: Any) -> Any:
        blocks = tf.reshape(images[:, : 2 * rows, : 2 * columns], (-1, rows, 2, columns, 2, maps))
        corners = [blocks[:, :, row, :, column] for row in (0, 1) for column in (0, 1)]
        largest = tf.maximum(tf.maximum(corners[0], corners[1]), tf.maximum(corners[2], corners[3]))

        def gradient(upstream: Any) -> Any:
            first = tf.fill(tf.shape(largest), 3)
            for number in (2, 1, 0):
                first = tf.where(tf.equal(corners[number], largest), number, first)
            places = tf.reshape(tf.range(4), (1, 1, 2, 1, 2, 1))
            chosen = tf.equal(first[:, :, None, :, None], places)
            spread = tf.where(chosen, upstream[:, :, None, :, None], tf.zeros((), upstream.dtype))
            whole = tf.reshape(spread, (-1, 2 * rows, 2 * columns, maps))
            return tf.pad(whole, ((0, 0), (0, height - 2 * rows), (0, width - 2 * columns), (0, 0)))

        return largest, gradient

    return of_blocks(inputs)
