"""Imported before vlm is, has TensorFlow imported from its bytecode.

While the hook that checks types imports a module of vlm, no module has its bytecode file: what that
imports is compiled from its source, which for TensorFlow takes 20 s.
"""

import seqio  # noqa: F401
