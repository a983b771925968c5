"""Makes a model folder: `model.py FOLDER`. A Qwen2 of two small layers, a file of weights that engines told to load
dummies do not read, and a tokenizer trained on a sentence, with a chat template."""

import json
import pathlib
import sys

import numpy
from safetensors.numpy import save_file
from tokenizers import ByteLevelBPETokenizer

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 1024,
    "max_position_embeddings": 2048,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"
TOKENIZER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "model_max_length": 2048,
    "chat_template": TEMPLATE,
}

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
tokenizer = ByteLevelBPETokenizer()
tokenizer.train_from_iterator(
    ["Prefill computes the cache of a prompt and decode answers with it."],
    vocab_size=1024,
    special_tokens=["<s>", "</s>"],
)
tokenizer.save(str(folder / "tokenizer.json"))
save_file({"weight": numpy.zeros(4, numpy.float32)}, str(folder / "model.safetensors"))
(folder / "config.json").write_text(json.dumps(CONFIG))
(folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER))
