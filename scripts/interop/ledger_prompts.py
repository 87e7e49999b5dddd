"""Prompts of random words with exact numbers of tokens, and files of them for `--workload custom`."""

import json
import pathlib
import random

from interop import tiny_model

ROLE = "user"
# About 15.8 blocks of 128 and 7.9 chunks of 256.
DOCUMENT_TOKENS = 2023
WORDS = [word.removeprefix("\u0120") for word in tiny_model.words() if len(word) > 2]


def text(seed: object, tokens: int) -> str:
    """Each word has a blank before it and is one token. The same seed gives the same words, as many as are asked for."""
    draw = random.Random(f"{seed}")
    return "".join(f" {draw.choice(WORDS)}" for _ in range(tokens))


class Prompts:
    """Makes messages whose prompt, template included, has an exact length."""

    def __init__(self, template_tokens: int) -> None:
        self.template_tokens = template_tokens

    def of_length(self, seed: object, tokens: int) -> dict:
        return message(text(seed, tokens - self.template_tokens))

    def document(self, seed: object, tokens: int = DOCUMENT_TOKENS) -> dict:
        return self.of_length(seed, tokens)

    def documents(self, series: str, numbers: range) -> list[dict]:
        """Of slightly different lengths, so that their ends lie at different places of a block."""
        return [self.document((series, number), DOCUMENT_TOKENS + number % 5 - 2) for number in numbers]


def message(content: str) -> dict:
    return {"messages": [{"role": ROLE, "content": content}], "max_tokens": 1}


def with_question(prompt: dict, seed: object) -> dict:
    """The same document with 36 more words behind it."""
    return message(prompt["messages"][0]["content"] + text(seed, 36))


def answered_by(prompts: list[dict], tokens: int) -> list[dict]:
    return [{**prompt, "max_tokens": tokens} for prompt in prompts]


def paced(prompts: list[dict]) -> list[dict]:
    """One after the other with pauses, so that a second passes every few prompts."""
    return [{**prompt, "session": "paced", "delay_s": 0.25} for prompt in prompts]


def write(file: pathlib.Path, prompts: list[dict]) -> pathlib.Path:
    file.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    return file
