"""An example's id, carried in front of its image's bytes.

SeqIO mixtures keep output features only, so an id of its own would be lost where examples are
mixed; the image is what every example has. The header is removed before decoding.
"""

import struct

MAGIC = b'VLMid\x01'
_LENGTH = struct.Struct('>H')


def tag_image(data: bytes, example_id: str) -> bytes:
    """Puts the id in front of `data`; ids over 65,535 bytes are cut."""
    name = example_id.encode('utf-8', 'replace')[:0xFFFF]
    return MAGIC + _LENGTH.pack(len(name)) + name + data


def untag_image(data: bytes) -> tuple[str, bytes]:
    """Returns (id, data) of a tagged image, ('', data) of any other bytes."""
    if not data.startswith(MAGIC):
        return '', data
    start = len(MAGIC) + _LENGTH.size
    if len(data) < start:
        return '', data
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    name = data[start : start + length]
    return name.decode('utf-8', 'replace'), data[start + length :]
