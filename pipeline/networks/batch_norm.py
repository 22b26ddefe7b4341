"""BatchNorm while a network is trained on a processor: one of TensorFlow's operations in place of Keras' dozen.

The same layer with the same variables, so its weights belong into the network of `model.build`, which has Keras' own; results
differ by rounding. A step of the published networks takes a quarter less time (docs/speed.md).
"""

from __future__ import annotations

from typing import Any

from pipeline.machine.device import Device

# isort: split
import keras  # after device, which keeps TensorFlow's greetings off the terminal


def layer(machine: Device) -> Any:
    """The class to build a network with that will be trained on `machine`."""
    fused = machine.backend == "tensorflow" and machine.kind == "cpu"  # on a GPU, XLA fuses what Keras does
    return BatchNormalization if fused else keras.layers.BatchNormalization


class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # keras has no types
    """Over the last axis; Keras' name, because variables are named for it."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise with the batch's own statistics and follow them, or else as Keras does."""
        if not training:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        normalised, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, tf.cast(self.gamma, tf.float32), tf.cast(self.beta, tf.float32), epsilon=self.epsilon
        )
        count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
        for moving, own in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):  # as Keras: / n
            moving.assign(moving * self.momentum + own * (1 - self.momentum))
        return normalised
