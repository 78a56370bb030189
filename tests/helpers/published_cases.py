"""A few lines of every benchmark in its published layout, and what its task makes of them.

`FILES` are written to a folder: a dict or list as JSON, a tuple as JSON lines, a text as it is,
None as a picture. `CASES`: task -> split, then what its first record asks: prompt, right answers.
"""

KARPATHY = {
    'images': [
        {
            'filepath': 'val2014',
            'filename': 'COCO_val2014_000000000009.jpg',
            'imgid': 0,
            'cocoid': 9,
            'split': split,
            'sentences': [{'raw': 'A cat.', 'imgid': 0}, {'raw': 'One cat. ', 'imgid': 0}],
        }
        for split in ('val', 'restval')
    ]
}
VQA_QUESTIONS = {'questions': [{'image_id': 9, 'question_id': 9000, 'question': 'what?'}]}
VQA_ANSWERS = {
    'annotations': [{'question_id': 9000, 'image_id': 9, 'answers': [{'answer': 'red'}] * 10}]
}
GQA = {'201': {'imageId': 'n1', 'question': 'what?', 'answer': 'red'}}
LISTED = {'data': [{'question_id': 5, 'image_id': 'im', 'question': 'what?', 'answers': ['Red']}]}
DOCUMENTS = {
    'data': [
        {
            'questionId': 6,
            'image': 'documents/d.png',
            'image_local_name': 'd.png',
            'question': 'what?',
            'answers': ['Red'],
        }
    ]
}
CHART = [{'imgname': 'c.png', 'query': 'what?', 'label': 'red'}]
TALLY = [{'image': 'VG_100K/1.jpg', 'question': 'how many?', 'question_id': 1, 'answer': 2}]
REF_INSTANCES = {
    'images': [
        {'id': 9, 'file_name': 'COCO_train2014_000000000009.jpg', 'width': 80, 'height': 40},
        {'id': 10, 'file_name': 'COCO_train2014_000000000010.jpg', 'width': 80, 'height': 40},
    ],
    'annotations': [{'id': i, 'bbox': [8, 4, 16, 12]} for i in (1, 2)],
}
INSTANCES = {
    'images': [
        {
            'id': 9,
            'file_name': 'images/v1/patch8/9.jpg',
            'coco_url': 'http://images.cocodataset.org/train2017/000000000009.jpg',
            'width': 80,
            'height': 40,
        }
    ],
    'categories': [{'id': 1, 'name': 'cat'}],
    'annotations': [{'id': 1, 'image_id': 9, 'category_id': 1, 'bbox': [8, 4, 16, 12]}],
}
COCO_INSTANCES = {**INSTANCES, 'images': [{**INSTANCES['images'][0], 'file_name': '9.jpg'}]}
LVIS_INSTANCES = {
    **INSTANCES,
    'images': [
        {
            **INSTANCES['images'][0],
            'neg_category_ids': [2],
            'not_exhaustive_category_ids': [1],
        }
    ],
    'categories': [
        {'id': 1, 'name': 'cat', 'frequency': 'f'},
        {'id': 2, 'name': 'dog', 'frequency': 'r'},
        {'id': 3, 'name': 'cow', 'frequency': 'c'},
    ],
}
RSVQA_QUESTIONS = {
    'questions': [
        {
            'id': i,
            'active': active,
            'img_id': 3,
            'type': kind,
            'question': f'{kind}?',
            'answers_ids': [i],
        }
        for i, (active, kind) in enumerate(
            [(False, 'comp'), (True, 'presence'), (True, 'comp'), (True, 'rural_urban')]
        )
    ]
}
RSVQA_ANSWERS = {
    'answers': [{'id': i, 'active': i > 0, 'question_id': i, 'answer': 'Yes'} for i in range(4)]
}
MSRVTT = {
    'videos': [{'video_id': 'video7', 'split': 'validate', 'id': 7}],
    'sentences': [{'video_id': 'video7', 'caption': 'a cat', 'sen_id': 0}],
}

FILES = {
    # captions
    'coco/dataset_coco.json': KARPATHY,
    'coco/val2014/COCO_val2014_000000000009.jpg': None,
    'flickr30k/dataset_flickr30k.json': {
        'images': [{'filename': 'f.jpg', 'imgid': 3, 'split': 'test', 'sentences': [{'raw': 'A'}]}]
    },
    'flickr30k/flickr30k-images/f.jpg': None,
    'coco35l/coco_mt_train.jsonl': (
        {
            'image_id': '9_0',
            'trg_lang': 'de',
            'caption_tokenized': 'a cat',
            'translation_tokenized': 'eine Katze',
        },
        {
            'image_id': '9_0',
            'trg_lang': 'fr',
            'caption_tokenized': 'a cat',
            'translation_tokenized': 'un chat',
        },
    ),
    'xm3600/captions.jsonl': (
        {
            'image/key': 'k',
            'image/locale': 'de',
            'de': {'caption': ['eine Katze'], 'caption/tokenized': ['eine Katze']},
        },
    ),
    'xm3600/images/k.jpg': None,
    'nocaps/nocaps_val_4500_captions.json': {
        'images': [{'id': 4, 'file_name': 'v.jpg'}],
        'annotations': [{'image_id': 4, 'caption': 'a cat', 'id': 0}],
    },
    'nocaps/validation/v.jpg': None,
    'textvqa/TextCaps_0.1_train.json': {
        'data': [
            {'image_id': 'im', 'caption_str': 'A Sign', 'image_path': 'train/im.jpg'},
            {'image_id': 'im', 'caption_str': 'STOP', 'image_path': 'train/im.jpg'},
        ]
    },
    'textvqa/train_images/im.jpg': None,
    'scicap/List-of-Files-for-Each-Experiments/First-Sentence/No-Subfig/val/file_idx.json': [
        '1-Figure2-1.png'
    ],
    'scicap/SciCap-Caption-All/val/1-Figure2-1.json': {
        '0-originally-extracted': 'Figure 2: A plot. More.',
        '1-lowercase-and-token-and-remove-figure-index': {
            'caption': 'a plot . more .',
            'sentence': ['a plot .', 'more .'],
        },
    },
    'scicap/SciCap-No-Subfig-Img/val/1-Figure2-1.png': None,
    'screen2words/split/dev_screens.txt': '12\n',
    'screen2words/screen_summaries.csv': 'screenId,summary\n12,a list\n12,"names, sorted"\n',
    'rico/combined/12.jpg': None,
    'widget_caption/split/dev.txt': '12\n',
    'widget_caption/widget_captions.csv': 'screenId,nodeId,captions\n12,0.1,go back|back\n',
    'rico/combined/12.json': {
        'activity': {
            'root': {'children': [{}, {'bounds': [0, 1280, 720, 2560]}], 'bounds': [0, 0, 1, 1]}
        }
    },
    # questions
    'vqav2/v2_OpenEnded_mscoco_val2014_questions.json': VQA_QUESTIONS,
    'vqav2/v2_mscoco_val2014_annotations.json': VQA_ANSWERS,
    'vqav2/v2_OpenEnded_mscoco_test-dev2015_questions.json': VQA_QUESTIONS,
    'coco/test2015/COCO_test2015_000000000009.jpg': None,
    'okvqa/OpenEnded_mscoco_val2014_questions.json': VQA_QUESTIONS,
    'okvqa/mscoco_val2014_annotations.json': VQA_ANSWERS,
    'gqa/testdev_balanced_questions.json': GQA,
    'gqa/images/n1.jpg': None,
    'xgqa/zero_shot/testdev_balanced_questions_de.json': GQA,
    'nlvr/dev/dev.json': (
        {'identifier': '3510-0', 'directory': '4', 'sentence': 'All red.', 'label': 'true'},
    ),
    'nlvr/dev/images/4/dev-3510-0-0.png': None,
    'nlvr2/data/dev.json': ({'identifier': 'dev-1-0-0', 'sentence': 'Two cats.', 'label': 'True'},),
    'nlvr2/images/dev/dev-1-0-img0.png': None,
    'nlvr2/images/dev/dev-1-0-img1.png': None,
    'marvl/sw/annotations/marvl-sw.jsonl': (
        {
            'concept': '1-Paka',
            'caption': 'Paka wawili.',
            'left_img': '1-1.jpg',
            'right_img': '1-2.jpg',
            'id': 'sw-0',
            'label': False,
        },
    ),
    'marvl/sw/images/1-Paka/1-1.jpg': None,
    'marvl/sw/images/1-Paka/1-2.jpg': None,
    'vizwiz/Annotations/val.json': [
        {
            'image': 'VizWiz_val_00000001.jpg',
            'question': 'what?',
            'answers': [{'answer': 'red', 'answer_confidence': 'yes'}, {'answer': ''}],
        }
    ],
    'vizwiz/val/VizWiz_val_00000001.jpg': None,
    'tallyqa/train.json': TALLY,
    'tallyqa/test.json': [{**TALLY[0], 'issimple': False, 'answer': 3}],
    'tallyqa/images/VG_100K/1.jpg': None,
    'pope/coco_pope_random.json': (
        {
            'question_id': 1,
            'image': 'COCO_val2014_000000000009.jpg',
            'text': 'Is there a dog in the image?',
            'label': 'no',
        },
    ),
    # choices
    'aokvqa/aokvqa_v1p0_val.json': [
        {
            'image_id': 9,
            'question_id': 'q',
            'question': 'what?',
            'choices': ['red', 'red'],
            'correct_choice_idx': 1,
            'direct_answers': ['red'] * 10,
        }
    ],
    'coco/val2017/000000000009.jpg': None,
    'scienceqa/problems.json': {
        '5': {
            'question': 'what?',
            'choices': ['red', 'red'],
            'answer': 0,
            'hint': '',
            'image': 'image.png',
            'split': 'test',
        },
        '6': {'image': None, 'split': 'test'},
    },
    'scienceqa/images/test/5/image.png': None,
    'ai2d/ai2d_test_ids.csv': '0\n',
    'ai2d/questions/0.png.json': {
        'imageName': '0.png',
        'questions': {
            'what?': {
                'questionId': '0.png-0',
                'answerTexts': ['red', 'red'],
                'correctAnswer': 1,
                'abcLabel': False,
            }
        },
    },
    'ai2d/images/0.png': None,
    # text
    'textvqa/TextVQA_0.5.1_train.json': LISTED,
    'stvqa/train_task_3.json': {
        'data': [{'question_id': 1, 'file_path': 'c/im.jpg', 'question': 'what?', 'answers': ['R']}]
    },
    'stvqa/train_images/c/im.jpg': None,
    'ocrvqa/dataset.json': {
        '0001': {
            'imageURL': 'http://example.org/x.jpg',
            'questions': ['who?', 'what?'],
            'answers': ['Ann', 'Red'],
            'split': 3,
        }
    },
    'ocrvqa/images/0001.jpg': None,
    'docvqa/val_v1.0_withQT.json': DOCUMENTS,
    'docvqa/documents/d.png': None,
    'infographicvqa/infographicsVQA_val_v1.0_withQT.json': DOCUMENTS,
    'infographicvqa/images/d.png': None,
    'chartqa/test/test_human.json': CHART,
    'chartqa/test/test_augmented.json': CHART,
    'chartqa/test/png/c.png': None,
    # boxes
    'refcoco/refcoco/instances.json': REF_INSTANCES,
    'refcoco/refcoco+/instances.json': REF_INSTANCES,
    'refcoco/refcocog/instances.json': REF_INSTANCES,
    'coco/train2014/COCO_train2014_000000000009.jpg': None,
    'coco/train2014/COCO_train2014_000000000010.jpg': None,
    'visual_genome/region_descriptions.json': [
        {'id': 1, 'regions': [{'x': 8, 'y': 4, 'width': 16, 'height': 12, 'phrase': 'a cat'}]}
    ],
    'visual_genome/image_data.json': [
        {'image_id': 1, 'url': 'https://x/VG_100K_2/1.jpg', 'width': 80, 'height': 40}
    ],
    'visual_genome/VG_100K_2/1.jpg': None,
    'coco/annotations/instances_train2017.json': COCO_INSTANCES,
    'coco/train2017/9.jpg': None,
    'coco/train2017/000000000009.jpg': None,
    'lvis/lvis_v1_train.json': LVIS_INSTANCES,
    'objects365/zhiyuan_objv2_train.json': {
        **INSTANCES,
        'images': [{k: v for k, v in INSTANCES['images'][0].items() if k != 'coco_url'}],
    },
    'objects365/train/patch8/9.jpg': None,
    'sroie/train/box/X1.txt': '8,4,24,4,24,16,8,16,TAN, WOON\n0,20,80,20,80,40,0,40,TOTAL:\n',
    'sroie/train/img/X1.jpg': None,
    'iiit5k/train/1.png': None,
    'rsvqa_lr/LR_split_val_questions.json': RSVQA_QUESTIONS,
    'rsvqa_lr/LR_split_val_answers.json': RSVQA_ANSWERS,
    'rsvqa_hr/USGS_split_test_phili_questions.json': RSVQA_QUESTIONS,
    'rsvqa_hr/USGS_split_test_phili_answers.json': RSVQA_ANSWERS,
    # videos; folders of frames here
    'msrvtt/train_val_videodatainfo.json': MSRVTT,
    'msrvtt/val_qa.json': [{'id': 1, 'video_id': 7, 'question': 'what?', 'answer': 'cat'}],
    'msrvtt/videos/video7/0.jpg': None,
    'msrvtt/videos/video7/1.jpg': None,
    'msvd/AllVideoDescriptions.txt': '# about\n\nyt_1_2 a cat\nyt_1_2 the cat\nyt_3_4 a dog\n',
    'msvd/test_list.txt': 'yt_1_2\n',
    'msvd/test_qa.json': [{'id': 1, 'video_id': 8, 'question': 'what?', 'answer': 'cat'}],
    'msvd/youtube_mapping.txt': 'yt_1_2 vid8\n',
    'msvd/YouTubeClips/yt_1_2/0.jpg': None,
    'vatex/vatex_validation_v1.0.json': [{'videoID': 'v1', 'enCap': ['a cat'], 'chCap': ['x']}],
    'vatex/videos/v1/0.jpg': None,
    'activitynet/val_1.json': {
        'v_a': {'duration': 9, 'timestamps': [[0, 4]], 'sentences': [' A cat. ']}
    },
    'activitynet/val_q.json': [{'question_id': 'q', 'video_name': 'a', 'question': 'what?'}],
    'activitynet/val_a.json': [{'question_id': 'q', 'answer': 'cat', 'type': 3}],
    'activitynet/videos/v_a/0.jpg': None,
    # classes
    'imagenet/LOC_synset_mapping.txt': 'n01 tench, Tinca tinca\nn02 great white shark, shark\n',
    'imagenet/LOC_val_solution.csv': 'ImageId,PredictionString\nval_1,n02 1 2 3 4 n02 5 6 7 8 \n',
    'imagenet/ILSVRC/Data/CLS-LOC/train/n01/n01_1.JPEG': None,
    'imagenet/ILSVRC/Data/CLS-LOC/train/n02/n02_1.JPEG': None,
    'imagenet/ILSVRC/Data/CLS-LOC/val/val_1.JPEG': None,
    'babel_imagenet/babel_imagenet.json': {'DE': [[1], ['Weißer Hai']]},
    'food-101/meta/train.json': {'apple_pie': ['apple_pie/7']},
    'food-101/images/apple_pie/7.jpg': None,
    'oxford_pets/annotations/trainval.txt': '#Image CLASS-ID\nBritish_Shorthair_7 1 1 1\n',
    'oxford_pets/images/British_Shorthair_7.jpg': None,
    'SUN397/Training_01.txt': '/a/apartment_building/outdoor/sun_a.jpg\n',
    'SUN397/a/apartment_building/outdoor/sun_a.jpg': None,
}

BOX = '<loc0102><loc0102><loc0409><loc0307>'  # 4..16 of 40, 8..24 of 80
RED = ('answer en what?', ['red'])
CAT = ('answer en what?', ['cat'])

CASES = {
    'coco_captions': ('train', 'caption en', ['A cat.', 'One cat.']),
    'flickr30k': ('test', 'caption en', ['A']),
    'coco35l_de': ('train', 'caption de', ['eine Katze']),
    'coco35l_en': ('train', 'caption en', ['a cat']),
    'xm3600_de': ('test', 'caption de', ['eine Katze']),
    'nocaps': ('val', 'caption en', ['a cat']),
    'textcaps': ('train', 'caption en', ['a sign', 'stop']),
    'scicap': ('val', 'caption en', ['a plot .']),
    'screen2words': ('dev', 'caption en', ['a list', 'names, sorted']),
    'widgetcap': ('dev', 'caption en', ['go back', 'back']),
    'vqav2': ('val', 'answer en what?', ['red'] * 10),
    'okvqa': ('val', 'answer en what?', ['red'] * 10),
    'gqa': ('testdev', *RED),
    'xgqa_de': ('testdev', *RED),
    'nlvr': ('dev', 'answer en All red.', ['true']),
    'nlvr2': ('dev', 'answer en Two cats.', ['true']),
    'marvl_sw': ('test', 'answer en Paka wawili.', ['false']),
    'vizwiz': ('val', *RED),
    'tallyqa': ('test_complex', 'answer en how many?', ['3']),
    'pope': ('random', 'Is there a dog in the image?', ['no']),
    'aokvqa_direct': ('val', 'answer en what?', ['red'] * 10),
    'aokvqa_choice': ('val', 'answer en  what? choose from: red \t red', ['red']),
    'scienceqa': (
        'test',
        'Question: what?\nContext: N/A\nOptions: (A) red, (B) red\nAnswer:',
        ['The answer is A.'],
    ),
    'ai2d': ('test', 'answer en what? choose from: red \t red', ['red']),
    'textvqa': ('train', 'answer en what?', ['Red']),
    'stvqa': ('train', 'answer en what?', ['r']),
    'ocrvqa': ('test', 'answer en who?', ['Ann']),
    'docvqa': ('val', 'what?', ['Red']),
    'infographicvqa': ('val', 'answer en what?', ['Red']),
    'chartqa_human': ('test', 'what?', ['red']),
    'chartqa_augmented': ('test', 'what?', ['red']),
    'refcoco': ('testA', 'left cat', [BOX]),
    'refcocoplus': ('testA', 'left cat', [BOX]),
    'refcocog': ('train', 'left cat', [BOX]),
    'refcoco_combined': ('train', 'the other cat', [BOX]),
    'visual_genome_refer': ('train', 'a cat', [BOX]),
    'visual_genome_gcap': ('train', 'GCap:', [f'{BOX} : a cat']),
    'coco_detection': ('train', 'detect', [f'{BOX} cat']),
    'lvis': ('train', 'detect', [f'{BOX} cat']),
    'objects365': ('train', 'detect', [f'{BOX} cat']),
    'sroie_ocr': ('train', 'ocr', ['TAN, WOON TOTAL:']),
    'sroie_spotting': ('train', 'spot text', None),
    'iiit5k': ('train', 'ocr', ['Word']),
    'rsvqa_lr_presence': ('val', 'answer en presence?', ['yes']),
    'rsvqa_lr_comp': ('val', 'answer en comp?', ['yes']),
    'rsvqa_lr_rural_urban': ('val', 'answer en rural_urban?', ['yes']),
    'rsvqa_hr_presence': ('test_phili', 'answer en presence?', ['yes']),
    'rsvqa_hr_comp': ('test_phili', 'answer en comp?', ['yes']),
    'msrvtt_caption': ('val', 'caption en', ['a cat']),
    'msrvtt_qa': ('val', *CAT),
    'msvd_caption': ('test', 'caption en', ['a cat', 'the cat']),
    'msvd_qa': ('test', *CAT),
    'vatex': ('val', 'caption en', ['a cat']),
    'activitynet_caption': ('val_1', 'caption en', ['A cat.']),
    'activitynet_qa': ('val', *CAT),
    'imagenet': ('val', 'classify', ['great white shark']),
    'babel_imagenet_de': ('val', 'classify de', ['Weißer Hai']),
    'food101': ('train', 'classify', ['apple pie']),
    'oxford_pets': ('train', 'classify', ['British Shorthair']),
    'sun397': ('train', 'classify', ['apartment building outdoor']),
    'cifar10': ('train', 'classify', ['pickup truck']),
    'cifar100': ('test', 'classify', ['pickup truck']),
    'resisc45': ('val', 'classify', ['pickup truck']),
}
