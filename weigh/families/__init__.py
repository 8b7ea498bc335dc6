"""Architecture families: a configuration becomes parts, and tensor names become roles.

To add one: write `families/<family>.py` with a function Config -> Architecture and a Family at its foot, and name
it in `FAMILIES` (docs/add-a-family.md). `model_type` selects the family; inside it variants are told apart by
configuration keys, never by the names of repositories or files.
"""

from __future__ import annotations

from weigh.families.bert import BERT, DISTILBERT, ROBERTA
from weigh.families.bloom import BLOOM, MPT
from weigh.families.falcon import FALCON
from weigh.families.gemma import GEMMA, GEMMA2
from weigh.families.gpt2 import GPT1, GPT2
from weigh.families.gpt_neox import GPT_NEOX, GPTJ, PHI
from weigh.families.llama import LLAMA, OLMO2, PHI3
from weigh.families.mixtral import MIXTRAL
from weigh.families.opt import OPT
from weigh.families.qwen import QWEN, QWEN_MOE
from weigh.families.resnet import RESNET
from weigh.types import Family, Model

FAMILIES: tuple[Family, ...] = (
    LLAMA,
    OLMO2,
    PHI3,
    QWEN,
    QWEN_MOE,
    MIXTRAL,
    GEMMA,
    GEMMA2,
    GPT1,
    GPT2,
    GPTJ,
    GPT_NEOX,
    PHI,
    OPT,
    BLOOM,
    MPT,
    FALCON,
    BERT,
    ROBERTA,
    DISTILBERT,
    RESNET,
)

BY_MODEL_TYPE: dict[str, Family] = {kind: family for family in FAMILIES for kind in family.model_types}


def family_of(model: Model) -> Family:
    """The record of the model's family. Errors: the model's own refusal where it has no parts."""
    if model.refusal is not None:
        raise model.refusal
    return next(family for family in FAMILIES if family.id == model.family)
