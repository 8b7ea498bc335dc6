"""Architecture families: a configuration becomes parts, and tensor names become roles.

To add one: write `families/<family>.py` with a function Config -> Architecture and a Family at its foot, and name
it in `FAMILIES` (docs/add-a-family.md). `model_type` selects the family; inside it variants are told apart by
configuration keys, never by the names of repositories or files.
"""

from __future__ import annotations

from weigh.families.albert import ALBERT
from weigh.families.bart import BART, WHISPER
from weigh.families.bert import BERT, DISTILBERT, ROBERTA
from weigh.families.bloom import BLOOM, MPT
from weigh.families.clip import CLIP, SIGLIP
from weigh.families.cohere import COHERE
from weigh.families.convnext import CONVNEXT
from weigh.families.ctrl import CTRL
from weigh.families.deberta import DEBERTA
from weigh.families.deepseek import DEEPSEEK, DEEPSEEK_INDEXED
from weigh.families.deepseek_v4 import DEEPSEEK_V4
from weigh.families.diffusion import DIT, UNET
from weigh.families.electra import ELECTRA
from weigh.families.exaone import EXAONE4
from weigh.families.experts import GPT_OSS, GRANITE_MOE, MINIMAX_M2, OLMOE, PHIMOE
from weigh.families.falcon import FALCON
from weigh.families.gemma import GEMMA, GEMMA2
from weigh.families.gemma3n import GEMMA3N
from weigh.families.gemma4 import GEMMA4, GEMMA4_TEXT
from weigh.families.glm import GLM, GLM4
from weigh.families.glm_moe import ERNIE_MOE, GLM4_MOE, MIMO_FLASH
from weigh.families.gpt2 import GPT1, GPT2
from weigh.families.gpt_neo import CODEGEN, GPT_NEO
from weigh.families.gpt_neox import GPT_NEOX, GPTJ, PHI
from weigh.families.granite import GRANITE, HELIUM, SEED_OSS
from weigh.families.granite_hybrid import GRANITE_HYBRID
from weigh.families.jamba import BAMBA, FALCON_H1, JAMBA
from weigh.families.kimi_k25 import KIMI_K25
from weigh.families.llama import LLAMA, OLMO2, PHI3
from weigh.families.llama4 import LLAMA4, LLAMA4_TEXT
from weigh.families.mamba import MAMBA2_FAMILY, MAMBA_FAMILY
from weigh.families.mimo import MIMO
from weigh.families.minimax import MINIMAX
from weigh.families.mixtral import MIXTRAL
from weigh.families.modernbert import MODERNBERT
from weigh.families.nemotron_h import NEMOTRON_H
from weigh.families.nemotron_nas import NEMOTRON_NAS
from weigh.families.opt import OPT
from weigh.families.qwen import QWEN, QWEN_MOE
from weigh.families.qwen_next import QWEN35, QWEN35_TEXT, QWEN_NEXT
from weigh.families.qwen_vl import QWEN_VL, QWEN_VL_MOE
from weigh.families.recurrent_gemma import RECURRENT_GEMMA
from weigh.families.resnet import RESNET
from weigh.families.rwkv import RWKV
from weigh.families.stablelm import PERSIMMON, STABLELM
from weigh.families.starcoder2 import NEMOTRON, STARCODER2
from weigh.families.swin import SWIN
from weigh.families.t5 import T5
from weigh.families.vit import DINOV2, VIT
from weigh.families.wav2vec2 import WAV2VEC2
from weigh.families.xglm import BIOGPT, XGLM
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
    STARCODER2,
    NEMOTRON,
    NEMOTRON_NAS,
    STABLELM,
    PERSIMMON,
    GRANITE,
    HELIUM,
    SEED_OSS,
    COHERE,
    GLM,
    GLM4,
    EXAONE4,
    MIMO,
    GPT_NEO,
    CODEGEN,
    CTRL,
    XGLM,
    BIOGPT,
    BERT,
    ROBERTA,
    DISTILBERT,
    RESNET,
    MAMBA_FAMILY,
    MAMBA2_FAMILY,
    JAMBA,
    BAMBA,
    FALCON_H1,
    GRANITE_HYBRID,
    NEMOTRON_H,
    QWEN_NEXT,
    QWEN35_TEXT,
    QWEN35,
    MINIMAX,
    RECURRENT_GEMMA,
    RWKV,
    ALBERT,
    ELECTRA,
    DEBERTA,
    MODERNBERT,
    T5,
    BART,
    WHISPER,
    DEEPSEEK,
    DEEPSEEK_INDEXED,
    DEEPSEEK_V4,
    OLMOE,
    GRANITE_MOE,
    PHIMOE,
    MINIMAX_M2,
    GPT_OSS,
    GLM4_MOE,
    ERNIE_MOE,
    MIMO_FLASH,
    LLAMA4_TEXT,
    LLAMA4,
    KIMI_K25,
    DINOV2,
    VIT,
    CONVNEXT,
    SWIN,
    CLIP,
    SIGLIP,
    WAV2VEC2,
    GEMMA3N,
    GEMMA4,
    GEMMA4_TEXT,
    QWEN_VL,
    QWEN_VL_MOE,
    DIT,
    UNET,
)

BY_MODEL_TYPE: dict[str, Family] = {kind: family for family in FAMILIES for kind in family.model_types}


def family_of(model: Model) -> Family:
    """The record of the model's family. Errors: the model's own refusal where it has no parts."""
    if model.refusal is not None:
        raise model.refusal
    return next(family for family in FAMILIES if family.id == model.family)
