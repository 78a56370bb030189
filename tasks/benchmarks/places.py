"""What several benchmarks share: places of COCO's and Rico's pictures, words on how to get them."""

COCO_2014 = 'coco/{year}/COCO_{year}_{{image_id:012d}}.jpg'
COCO_FETCH = 'train2014, val2014 and test2015 of https://cocodataset.org/#download into coco/'
COCO_2017_FETCH = 'train2017, val2017 and test2017 of https://cocodataset.org/#download into coco/'
KARPATHY_FETCH = (
    'caption_datasets.zip of https://cs.stanford.edu/people/karpathy/deepimagesent into coco/'
)
GQA_FETCH = (
    'questions1.2.zip and images.zip of https://cs.stanford.edu/people/dorarad/gqa into gqa/'
)
RICO_FETCH = (
    'unique_uis.tar.gz (folder combined/) of http://www.interactionmining.org/rico into rico/'
)
VG_FETCH = 'images.zip and images2.zip of https://homes.cs.washington.edu/~ranjay/visualgenome'


def coco_2014(year: str) -> str:
    """The pictures of 'train2014', 'val2014' or 'test2015' by their `image_id`."""
    return COCO_2014.format(year=year)
