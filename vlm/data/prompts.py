"""Prompt templates of tasks and how gin replaces them.

--gin.PROMPTS="{'easy_vqa': 'Q: {question} A:'}"
"""

from collections.abc import Iterable, Mapping

import gin

from vlm.errors import unknown_name


@gin.configurable(module='vlm.data.prompts')
def prompt_overrides(templates: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Templates by task name that replace the declared ones; bound by gin."""
    return templates or {}


def template(task: str, default: str) -> str:
    """The prompt template of `task`: gin's, or the declared one."""
    return prompt_overrides().get(task, default)


def check_overrides(known: Iterable[str]) -> None:
    """Raises `UserError` if gin gives a prompt for a task that is not in `known`."""
    known = list(known)
    for task in prompt_overrides():
        if task not in known:
            raise unknown_name('task', task, known, 'PROMPTS')
