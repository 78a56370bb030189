"""Pictures reach the encoder as the reference's processors make them."""

import numpy as np
import pytest
from PIL import Image

from vlm.data.images import load_image

from pictures import encoded

torch = pytest.importorskip('torch', reason='needs the extra parity')
transformers = pytest.importorskip('transformers', reason='needs the extra parity')

pytestmark = pytest.mark.parity

FAMILIES = {
    # name: (the reference's processor, our filter, by how many grey levels they may differ)
    'ViT': ('ViTImageProcessorPil', 'bilinear', 1),  # see vlm.data.resizing
    'SigLIP, PaliGemma': ('SiglipImageProcessorPil', 'bicubic', 0),
}


@pytest.mark.parametrize('size', [(50, 70), (20, 16)])
@pytest.mark.parametrize('family', FAMILIES)
def test_pixel_values(family, size):
    """Reduced and enlarged, normalised with mean and deviation 0.5."""
    kind, resampling, levels = FAMILIES[family]
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    image = Image.fromarray(pixels)
    processor = getattr(transformers, kind)(size={'height': 32, 'width': 32})
    theirs = processor(images=image, return_tensors='np')['pixel_values'][0].transpose(1, 2, 0)
    ours = load_image(encoded(image, 'PNG'), (32, 32), filter=resampling)
    assert np.std(theirs) > 0.1
    tolerance = 1e-3 + levels / 127.5
    np.testing.assert_allclose(ours.astype(np.float32) / 127.5 - 1, theirs, atol=tolerance)
