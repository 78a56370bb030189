"""Prompt templates of tasks and how gin replaces them.

--gin.PROMPTS="{'easy_vqa': 'Q: {question} A:', 'vqav2': '@llava/vqa'}"

What begins with '@' is the name of a published template. `prompt_form` says with which tokens
rows begin and prompts end (gin/models/paligemma_prompts.gin).
"""

from collections.abc import Iterable, Mapping
from string import Formatter

import gin

from vlm.data.examples import template_fields
from vlm.data.rows import PromptForm
from vlm.data.vocabularies import task_vocabulary
from vlm.errors import UserError, unknown_name
from vlm.vocab import EOS_ID, PAD_ID

# Other papers' prompts for the tasks whose default is PaliGemma's (arXiv 2407.07726).
PUBLISHED = {
    # PaLI (2209.06794); its vocabulary has the sentinel as one piece.
    'pali/vqa': 'Answer in EN: {question} <extra_id_0>',
    # Flamingo (2204.14198)
    'flamingo/vqa': 'Question:{question} Answer:',
    'flamingo/caption': 'Output:',
    # BLIP-2 (2301.12597)
    'blip2/vqa': 'Question: {question} Short answer:',
    'blip2/caption': 'a photo of',
    # LLaVA-1.5 (2310.03744)
    'llava/vqa': '{question}\nAnswer the question using a single word or phrase.',
    'llava/caption': 'Provide a one-sentence caption for the provided image.',
    # Qwen-VL (2308.12966)
    'qwen_vl/vqa': '{question} Answer:',
    'qwen_vl/caption': 'Describe the image in English:',
    # The question alone, as PaliGemma asks DocVQA, ChartQA and POPE.
    'bare/vqa': '{question}',
}


@gin.configurable(module='vlm.data.prompts')
def prompt_overrides(templates: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Templates by task name that replace the declared ones; bound by gin."""
    return templates or {}


@gin.configurable(module='vlm.data.prompts')
def prompt_form(bos: str | None = None, end: str | None = None) -> PromptForm:
    """The form of prompts of this run, bound by gin.

    Args:
      bos: the piece of the vocabulary that rows begin with ('<bos>'); None for padding.
      end: the piece that ends a prompt (a line break); None for EOS, '' for nothing.

    Raises `UserError` for a piece that the vocabulary does not have.
    """
    tokenizer = task_vocabulary().tokenizer
    ends = {None: EOS_ID, '': None}
    return PromptForm(
        PAD_ID if bos is None else tokenizer.id_of(bos),
        ends[end] if end in ends else tokenizer.id_of(end),
    )


@gin.configurable(module='vlm.data.prompts')
def prompt_ids(text: str) -> tuple[int, ...]:
    """Ids of a prompt in the run's vocabulary as rows hold it, its end last.

    Raises `UserError` where nothing ends a prompt: longer ones then begin with the same ids.
    """
    end = prompt_form().end_id
    if end is None:
        raise UserError(
            f'prompts.prompt_ids.text = {text!r}: rows do not show where that prompt ends while '
            "prompts.prompt_form.end = ''; bind it to None or to a piece of the vocabulary."
        )
    return *task_vocabulary().tokenizer.encode(text), end


def template(task: str, default: str) -> str:
    """The prompt template of `task`: gin's, or the declared one.

    Raises UserError for an unknown name behind '@'.
    """
    chosen = prompt_overrides().get(task, default)
    if not chosen.startswith('@'):
        return chosen
    if chosen[1:] not in PUBLISHED:
        raise unknown_name('published prompt', chosen[1:], PUBLISHED, f'PROMPTS, of {task}')
    return PUBLISHED[chosen[1:]]


def check_room(prompts: Mapping[str, str], room: int, binding: str) -> None:
    """Raises `UserError` for a prompt whose own words, and its end, are more than `room` tokens.

    What its fields will hold is not known before the data are read.

    Args:
      prompts: declared templates by task.
      room: tokens that a prompt may have.
      binding: where that was set, for the message.
    """
    vocabulary = task_vocabulary()
    for task, default in prompts.items():
        prompt = template(task, default)
        template_fields(prompt)  # says what is wrong with one that cannot be read
        words = ' '.join(''.join(text for text, *_ in Formatter().parse(prompt)).split())
        count = len(vocabulary.encode(words)) + 1
        if count > room:
            raise UserError(
                f'the prompt {prompt!r} of {task} takes {count} tokens by itself, {binding} leaves '
                f'{room}: it would be cut. Bind more, or another prompt (PROMPTS).'
            )


def check_overrides(known: Iterable[str]) -> None:
    """Raises `UserError` if gin gives a prompt for a task that is not in `known`."""
    known = list(known)
    for task in prompt_overrides():
        if task not in known:
            raise unknown_name('task', task, known, 'PROMPTS')
        template(task, '')
