"""Packaging: `vlm`, with the top-level tasks/, mixtures/ and gin/ shipped inside it.

`vlm.gin_files` is a folder of data, not of Python: gin/ has no `__init__.py`, because a package
named gin at the root of a checkout would shadow gin-config's own `gin`.
"""

from pathlib import Path

from setuptools import find_packages, setup

# Package -> the folder of the checkout that it is made of.
PACKAGE_DIR = {
    'vlm': 'vlm',
    'vlm.tasks': 'tasks',
    'vlm.mixtures': 'mixtures',
    'vlm.gin_files': 'gin',
}

# Lower bounds are what the tests ran on, upper bounds stop before the next release that may break.
# tensorflow is what seqio's tensorflow-text asks for: tensorflow-cpu beside it is a second copy.
CORE = [
    'absl-py>=2.5,<3',
    # Has no wheels for Linux on ARM, where Pillow does its work (vlm/data/resizing.py).
    'cykooz-resizer>=4.0.1,<5; platform_system != "Linux" or platform_machine == "x86_64"',
    'flax>=0.12.8,<0.13',
    'gin-config>=0.5.0,<0.6',
    'jax>=0.10.2,<0.11',
    'jaxtyping>=0.3.11,<0.4',
    'numpy>=2.0,<3',
    'optax>=0.2.8,<0.3',
    'orbax-checkpoint>=0.12.8,<0.13',
    'pillow>=13.0,<14',
    'rapidfuzz>=3.14,<4',
    'rich>=15.0,<16',
    'safetensors>=0.8,<0.9',
    'sentencepiece>=0.2.3,<0.3',
    'seqio>=0.0.20,<0.1',
    'simplejpeg>=1.9,<2',
    'tensorflow>=2.21,<2.22',
]
DEMO = [
    'easy-vqa>=1.0,<2',
    'scikit-learn>=1.9,<2',
]
SCORERS = [
    'faster-coco-eval>=1.8,<1.9',
    'sacrebleu>=2.6,<3',
]
# METEOR and SPICE: 104 MB of Java programs, so the tests do without them.
METRICS = [
    *SCORERS,
    'pycocoevalcap>=1.2,<2',
]
HUB = ['huggingface-hub>=1.0,<3']
# The reference implementations that imported weights are compared with; gigabytes for many users.
PARITY = [
    'torch==2.13.0',
    'transformers>=5.23,<6',
]
VIDEO = [
    'av>=18.1,<19',
]
TEST = [
    *DEMO,
    *SCORERS,
    *VIDEO,
    'beartype>=0.23,<0.24',
    'hypothesis>=6.170,<7',
    'import-linter>=2.16,<3',
    'pytest>=9.0,<10',
    'pytest-xdist>=3.8,<4',
    'ruff>=0.17.6,<0.18',
]


def packages() -> list[str]:
    """Returns every package: each mapped folder and the packages found below it."""
    found = []
    for package, folder in PACKAGE_DIR.items():
        found += [package, *(f'{package}.{sub}' for sub in find_packages(folder))]
    return found


setup(
    name='vlm',
    version='0.1.0',
    description='Vision-language models: every job is image(s) + prompt -> text.',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.11',
    package_dir=PACKAGE_DIR,
    packages=packages(),
    package_data={'vlm.gin_files': ['**/*.gin'], 'vlm.data': ['demo_vocab.model']},
    install_requires=CORE,
    extras_require={
        'demo': DEMO,
        'hub': HUB,
        'metrics': METRICS,
        'parity': PARITY,
        'test': TEST,
        'video': VIDEO,
    },
    entry_points={'console_scripts': ['vlm = vlm.cli:console_script']},
    zip_safe=False,
)
