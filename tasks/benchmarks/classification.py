"""Classification as text: `classify` -> the name of the class."""

import functools

from vlm.data.examples import Record
from vlm.data.layouts import Published
from vlm.data.layouts import classes as layouts
from vlm.data.sources import Tfds
from vlm.data.tasks import amend
from vlm.tasks.classification import add_classification_task
from vlm.tasks.language_captioning import COCO_35L

SYNSETS = 'imagenet/LOC_synset_mapping.txt'
SOLUTION = 'imagenet/LOC_val_solution.csv'
PICTURES = 'imagenet/ILSVRC/Data/CLS-LOC'
IMAGENET_FETCH = (
    'https://www.kaggle.com/c/imagenet-object-localization-challenge/data, unpacked in imagenet/'
)

add_classification_task(
    'imagenet',
    Published(
        {'train': layouts.imagenet_train, 'val': layouts.imagenet_val},
        {'train': [SYNSETS, f'{PICTURES}/train'], 'val': [SYNSETS, SOLUTION]},
        images={split: f'{PICTURES}/{split}/{{name}}' for split in ('train', 'val')},
        fetch=IMAGENET_FETCH,
    ),
)

# Which languages there are says the file; scores of different ones are of different classes.
for language in COCO_35L:
    BABEL = add_classification_task(
        f'babel_imagenet_{language}',
        Published(
            functools.partial(layouts.babel_imagenet, language=language),
            {'val': ['babel_imagenet/babel_imagenet.json', SYNSETS, SOLUTION]},
            images=f'{PICTURES}/val/{{name}}',
            fetch='babel_imagenet.json of https://github.com/gregor-ge/Babel-ImageNet into '
            f'babel_imagenet/; {IMAGENET_FETCH}',
        ),
        prompt=f'classify {language}',
    )
    amend(BABEL, family='babel_imagenet')

add_classification_task(
    'food101',
    Published(
        layouts.food101,
        {split: f'food-101/meta/{split}.json' for split in ('train', 'test')},
        images='food-101/images/{name}',
        fetch='food-101.tar.gz of https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101',
    ),
)

add_classification_task(
    'oxford_pets',
    Published(
        layouts.pets,
        {
            'train': 'oxford_pets/annotations/trainval.txt',
            'test': 'oxford_pets/annotations/test.txt',
        },
        images='oxford_pets/images/{name}',
        fetch='images.tar.gz and annotations.tar.gz of https://www.robots.ox.ac.uk/~vgg/data/pets '
        'into oxford_pets/',
    ),
)

# The first of ten official partitions, 50 pictures a class each.
add_classification_task(
    'sun397',
    Published(
        layouts.sun397,
        {'train': 'SUN397/Training_01.txt', 'test': 'SUN397/Testing_01.txt'},
        images='SUN397/{name}',
        fetch='SUN397.tar.gz and, into SUN397/, Partitions.zip of '
        'https://vision.princeton.edu/projects/2010/SUN',
    ),
)


def spaced(record: Record) -> Record:
    """Labels as words: 'pickup_truck' -> 'pickup truck'."""
    return {**record, 'label': record['label'].replace('_', ' ')}


def _tfds(name: str, splits: dict[str, str]) -> Tfds:
    return Tfds(name, splits, transform=spaced)


# These three as TFDS prepares them: their own files are pickles and an archive for Windows.
add_classification_task('cifar10', _tfds('cifar10', {'train': 'train', 'test': 'test'}))
add_classification_task('cifar100', _tfds('cifar100', {'train': 'train', 'test': 'test'}))
# RESISC45 has no official split; these are the shares that VTAB (1910.04867) made usual.
add_classification_task(
    'resisc45',
    _tfds('resisc45', {'train': 'train[:60%]', 'val': 'train[60%:80%]', 'test': 'train[80%:]'}),
)
