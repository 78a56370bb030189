"""Prompt templates of tasks and how gin replaces them.

--gin.PROMPTS="{'easy_vqa': 'Q: {question} A:', 'vqav2': '@llava/vqa'}"

What begins with '@' is the name of a published template. `prompt_form` says with which tokens
rows begin and prompts end (gin/models/paligemma_prompts.gin).
"""

from collections.abc import Iterable, Mapping

import gin

from vlm.data.rows import PromptForm
from vlm.data.vocabularies import task_vocabulary
from vlm.errors import unknown_name
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
      end: the piece that ends a prompt (a line break); None for EOS.

    Raises `UserError` for a piece that the vocabulary does not have.
    """
    tokenizer = task_vocabulary().tokenizer
    return PromptForm(
        PAD_ID if bos is None else tokenizer.id_of(bos),
        EOS_ID if end is None else tokenizer.id_of(end),
    )


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


def check_overrides(known: Iterable[str]) -> None:
    """Raises `UserError` if gin gives a prompt for a task that is not in `known`."""
    known = list(known)
    for task in prompt_overrides():
        if task not in known:
            raise unknown_name('task', task, known, 'PROMPTS')
        template(task, '')
