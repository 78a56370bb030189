"""TensorFlow comes before vlm."""

import tensorflow_first  # noqa: F401
