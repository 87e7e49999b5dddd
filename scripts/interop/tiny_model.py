"""A model folder that real engines can serve without a download: a tokenizer of generated words and a two-layer Llama config
for random weights.

Every token that a benchmark may draw at random is a whole word with its blank, so text and token counts agree exactly in
both directions.
"""

import json
import pathlib

WORDS = 50_000
SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>"]
# KV bytes per token: key and value x layers x heads x dimensions x bytes of bfloat16.
KV_BYTES_PER_TOKEN = 2 * 2 * 4 * 64 * 2
TOKENS_PER_GB = 2**30 // KV_BYTES_PER_TOKEN

CHAT_TEMPLATE = (
    "{% for m in messages %}<|bos|>{{m['role']}}\n{{m['content']}}<|eos|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|bos|>assistant\n{% endif %}"
)


def byte_alphabet() -> list[str]:
    """The characters that stand for the 256 bytes in byte-level BPE, by byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in shown else next(hidden)) for byte in range(256)]


def words() -> list[str]:
    """Words that grow letter by letter, so that each is one merge of a shorter one and a letter. The benchmark's filler
    words are among them, as they are in the vocabulary of every real model."""
    consonants, vowels = "bcdfghjklmnpqrstvwxyz", "aeiou"
    found, longest = [], ["\u0120"]
    while len(found) < WORDS:
        letters = consonants if len(longest[0]) % 2 == 1 else vowels
        longest = [word + letter for word in longest for letter in letters]
        found += longest
    return [*found[: WORDS - 2], "\u0120help", "\u0120tell"]


def tokenizer() -> dict:
    tokens = [*byte_alphabet(), *words()]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    special = {token: len(tokens) + number for number, token in enumerate(SPECIAL)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": token, **flags} for token, number in special.items()],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {**vocabulary, **special},
            "merges": [[word[:-1], word[-1]] for word in words()],
        },
    }


def write(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)
    made = tokenizer()
    size = len(made["model"]["vocab"])
    # vLLM wants the special tokens in one place only.
    for token in SPECIAL:
        del made["model"]["vocab"][token]
    (folder / "tokenizer.json").write_text(json.dumps(made, ensure_ascii=False))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|eos|>",
        "pad_token": "<|pad|>",
        "model_max_length": 1_000_000,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": size,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "max_position_embeddings": 32768,
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": size - 2,
        "eos_token_id": size - 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
