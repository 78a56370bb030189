"""TensorFlow is imported before vlm is.

While the hook that checks types imports a module of vlm, no module has its bytecode file:
TensorFlow would be compiled from its source, which takes 20 s.
"""

import seqio  # noqa: F401
