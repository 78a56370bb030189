"""What libraries say that is of no use to a person at the terminal."""

import contextlib
import logging
import re
from collections.abc import Iterator

import tensorflow as tf
from absl import logging as absl_logging

from vlm.errors import UserError


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps SeqIO's and Orbax's chatter off the terminal; a `UserError` stays one in a pipeline."""
    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger('orbax').setLevel(logging.ERROR)
    try:
        yield
    except tf.errors.OpError as error:
        # A mistake told inside the input pipeline (a missing folder, a template's unknown field)
        # comes out of TensorFlow with a traceback around it.
        told = re.search(r'UserError: (.*)', str(error))
        if told is None:
            raise
        raise UserError(told.group(1)) from None
    finally:
        absl_logging.set_verbosity(before)
