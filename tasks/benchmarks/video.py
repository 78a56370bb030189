"""Videos: captions and questions over frames (`images` of TASK_FEATURE_LENGTHS wants room)."""

from vlm.data.layouts import PublishedVideos
from vlm.data.layouts import videos as layouts
from vlm.tasks.video import add_video_captioning_task, add_video_qa_task

MSRVTT_SPLITS = {'train': 'train', 'val': 'validate', 'test': 'test'}
MSRVTT_FETCH = 'videos into msrvtt/videos'
add_video_captioning_task(
    'msrvtt_caption',
    PublishedVideos(
        layouts.msrvtt,
        {
            'train': 'msrvtt/train_val_videodatainfo.json',
            'val': 'msrvtt/train_val_videodatainfo.json',
            'test': 'msrvtt/test_videodatainfo.json',
        },
        images='msrvtt/videos/{video}',
        fetch='*_videodatainfo.json of MSR-VTT 10K (https://cove.thecvf.com/datasets/839) into '
        f'msrvtt/, {MSRVTT_FETCH}',
        keep={split: (theirs,) for split, theirs in MSRVTT_SPLITS.items()},
    ),
)
add_video_qa_task(
    'msrvtt_qa',
    PublishedVideos(
        layouts.msrvtt_qa,
        {split: f'msrvtt/{split}_qa.json' for split in ('train', 'val', 'test')},
        images='msrvtt/videos/{video}',
        fetch='MSRVTT-QA of https://github.com/xudejing/video-question-answering into msrvtt/, '
        f'{MSRVTT_FETCH}',
    ),
)

MSVD_FETCH = (
    'YouTubeClips.tar and AllVideoDescriptions.txt of '
    'https://www.cs.utexas.edu/users/ml/clamp/videoDescription into msvd/'
)
add_video_captioning_task(
    'msvd_caption',
    PublishedVideos(
        layouts.msvd,
        {
            split: ['msvd/AllVideoDescriptions.txt', f'msvd/{split}_list.txt']
            for split in ('train', 'val', 'test')
        },
        images='msvd/YouTubeClips/{video}',
        fetch=f'{MSVD_FETCH}, with {{train,val,test}}_list.txt (names of 1,200, 100 and 670 clips)',
    ),
)
add_video_qa_task(
    'msvd_qa',
    PublishedVideos(
        layouts.msvd_qa,
        {
            split: [f'msvd/{split}_qa.json', 'msvd/youtube_mapping.txt']
            for split in ('train', 'val', 'test')
        },
        images='msvd/YouTubeClips/{video}',
        fetch='MSVD-QA of https://github.com/xudejing/video-question-answering into msvd/; '
        f'{MSVD_FETCH}',
    ),
)

add_video_captioning_task(
    'vatex',
    PublishedVideos(
        layouts.vatex,
        {
            'train': 'vatex/vatex_training_v1.0.json',
            'val': 'vatex/vatex_validation_v1.0.json',
            'test': 'vatex/vatex_public_test_english_v1.1.json',
        },
        images='vatex/videos/{video}',
        fetch='the json files of https://eric-xw.github.io/vatex-website into vatex/, the clips, '
        'named by videoID, into vatex/videos',
    ),
)

ACTIVITYNET_FETCH = 'the videos (v_*.mp4) of http://activity-net.org into activitynet/videos'
add_video_captioning_task(
    'activitynet_caption',
    PublishedVideos(
        layouts.activitynet_captions,
        {
            'train': 'activitynet/train.json',
            'val_1': 'activitynet/val_1.json',
            'val_2': 'activitynet/val_2.json',
        },
        images='activitynet/videos/{video}',
        fetch='captions.zip of https://cs.stanford.edu/people/ranjaykrishna/densevid into '
        f'activitynet/; {ACTIVITYNET_FETCH}',
    ),
)
add_video_qa_task(
    'activitynet_qa',
    PublishedVideos(
        layouts.activitynet_qa,
        {
            split: [f'activitynet/{split}_q.json', f'activitynet/{split}_a.json']
            for split in ('train', 'val', 'test')
        },
        images='activitynet/videos/{video}',
        fetch='dataset/ of https://github.com/MILVLG/activitynet-qa into activitynet/; '
        f'{ACTIVITYNET_FETCH}',
    ),
)
