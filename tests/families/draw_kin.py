"""Random configurations of encoders and translators that are kin to BERT, T5 and BART, for `draw.py`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.families import draw_encoders
from tests.families.draw_encoders import one_of

_TASKS = "Model ForMaskedLM ForSequenceClassification ForTokenClassification"
_ROBERTA = _TASKS + " ForCausalLM ForMultipleChoice ForQuestionAnswering"

CLASSES: dict[str, tuple[str, str]] = {
    "xlm-roberta": ("XLMRoberta", _ROBERTA),
    "camembert": ("Camembert", _ROBERTA),
    "data2vec-text": ("Data2VecText", _ROBERTA),
    "mpnet": ("MPNet", _TASKS + " ForQuestionAnswering"),
    "longformer": ("Longformer", _TASKS + " ForQuestionAnswering"),
    "layoutlm": ("LayoutLM", _TASKS + " ForQuestionAnswering"),
    "esm": ("Esm", _TASKS),
    "nomic_bert": ("NomicBert", _TASKS),
    "mt5": ("MT5", "ForConditionalGeneration Model EncoderModel"),
    "umt5": ("UMT5", "ForConditionalGeneration Model EncoderModel"),
    "mbart": ("MBart", "ForConditionalGeneration Model ForSequenceClassification"),
    "plbart": ("PLBart", "ForConditionalGeneration Model"),
    "blenderbot-small": ("BlenderbotSmall", "ForConditionalGeneration Model"),
    "blenderbot": ("Blenderbot", "ForConditionalGeneration Model"),
    "pegasus": ("Pegasus", "ForConditionalGeneration Model"),
    "marian": ("Marian", "MTModel Model"),
    "m2m_100": ("M2M100", "ForConditionalGeneration Model"),
}
"""Stem of the class names, and their endings; the first is the one taken where none is named."""

UNTIED = frozenset({"mt5", "umt5"})
"""Types whose classes tie always."""

_SEPARATE = ("mbart", "plbart", "blenderbot-small", "blenderbot", "pegasus", "marian", "m2m_100")

SIZES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    **dict.fromkeys(
        ("xlm-roberta", "camembert", "data2vec-text", "mpnet", "longformer"), draw_encoders.SIZES["electra"]
    ),
    **dict.fromkeys(("layoutlm", "esm", "nomic_bert"), draw_encoders.SIZES["electra"]),
    **dict.fromkeys(("mt5", "umt5"), draw_encoders.SIZES["t5"]),
    **dict.fromkeys(_SEPARATE, draw_encoders.SIZES["bart"]),
}
"""By model type: the sizes that no class may guess."""

SWITCHES: dict[str, Callable[[random.Random, dict[str, Any]], dict[str, Any]]] = {
    **dict.fromkeys(("xlm-roberta", "camembert", "data2vec-text"), one_of(type_vocab_size=[1, 2, 3])),
    "mpnet": one_of(relative_attention_num_buckets=[8, 32]),
    "longformer": one_of(type_vocab_size=[1, 3], attention_window=[None, 4, 8]),
    "layoutlm": one_of(type_vocab_size=[1, 3], max_2d_position_embeddings=[16, 1024]),
    "esm": one_of(position_embedding_type=["absolute", "rotary"], emb_layer_norm_before=[True, False]),
    "nomic_bert": one_of(type_vocab_size=[1, 3]),
    **dict.fromkeys(("mt5", "umt5"), draw_encoders.SWITCHES["t5"]),
    **dict.fromkeys(_SEPARATE, one_of()),
}
"""By model type: values for keys that a configuration may leave out, given its sizes."""
