"""The files that public benchmarks are published as: annotations to rows, pictures by path."""

from vlm.data.layouts.published import Published
from vlm.data.layouts.videos import PublishedVideos

__all__ = ['Published', 'PublishedVideos']
