"""An example's task and id, carried in front of its image's bytes.

SeqIO mixtures keep output features only, so a field of their own would be lost where examples are
mixed; the image is what every example has. The header is removed before decoding.
"""

import struct

MAGIC = b'VLMid\x02'
_LENGTHS = struct.Struct('>HH')


def tag_image(data: bytes, example_id: str, task: str = '') -> bytes:
    """Puts task and id in front of `data`; either is cut at 65,535 bytes."""
    names = [name.encode('utf-8', 'replace')[:0xFFFF] for name in (task, example_id)]
    return MAGIC + _LENGTHS.pack(*map(len, names)) + b''.join(names) + data


def untag_image(data: bytes) -> tuple[str, bytes]:
    """Returns (id, data) of a tagged image, ('', data) of any other bytes."""
    _, example_id, data = read_tag(data)
    return example_id, data


def read_tag(data: bytes) -> tuple[str, str, bytes]:
    """Returns (task, id, data) of a tagged image, ('', '', data) of any other bytes."""
    start = len(MAGIC) + _LENGTHS.size
    if not data.startswith(MAGIC) or len(data) < start:
        return '', '', data
    of_task, of_id = _LENGTHS.unpack_from(data, len(MAGIC))
    middle, end = start + of_task, start + of_task + of_id
    task, example_id = data[start:middle], data[middle:end]
    return task.decode('utf-8', 'replace'), example_id.decode('utf-8', 'replace'), data[end:]
