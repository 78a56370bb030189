"""A folder per class."""

import pytest

from vlm.data.image_files import ImageError, decode_image
from vlm.data.sources import FolderPerClass
from vlm.errors import UserError


@pytest.fixture
def classes(folder, png):
    for path in ['t/dog/2.PNG', 't/dog/1.png', 't/cat/deep/3.jpg', 't/cat/.hidden', 't/.git/4.png']:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(png)
    return folder / 't'


def test_the_folder_is_the_label(classes, read, png):
    source = FolderPerClass({'train': 't'}, fields={'caption': 'a {label}', 'answers': ['label']})
    records = read(source)
    assert [r['id'] for r in records] == ['cat/deep/3.jpg', 'dog/1.png', 'dog/2.PNG']
    assert [r['label'] for r in records] == ['cat', 'dog', 'dog']
    assert records[0]['caption'] == 'a cat' and records[0]['answers'] == ['cat']
    assert all(r['images'] == [png] for r in records)


def test_what_is_no_picture_is_named_and_what_lies_elsewhere_refused(classes, folder, read, bad):
    (classes / 'dog' / 'notes.txt').write_text('x')
    (classes / 'dog' / '0.png').symlink_to(folder / 'a.png')
    records = read(FolderPerClass({'train': 't'}))
    assert len(records) == 4
    assert bad.named('unreadable_rows').keys() == {'dog/notes.txt'}
    (linked,) = (record for record in records if record['id'] == 'dog/0.png')
    with pytest.raises(ImageError, match='leaves the folder'):
        decode_image(linked['images'][0])


def test_all_rows_are_shuffled_not_the_classes_alone(folder, read, png):
    for label in 'ab':
        (folder / 't' / label).mkdir(parents=True)
        for i in range(30):
            (folder / 't' / label / f'{i}.png').write_bytes(png)
    source = FolderPerClass({'train': 't'})
    first, again = ([r['id'] for r in read(source, shuffle=True, seed=1)] for _ in range(2))
    assert first == again != sorted(first) and len(set(first)) == 60
    assert 5 < sum(name[0] == 'a' for name in first[:30]) < 25


def test_a_folder_without_folders(folder):
    with pytest.raises(UserError, match='a folder per class'):
        FolderPerClass({'train': '.'}).get_dataset('train')
