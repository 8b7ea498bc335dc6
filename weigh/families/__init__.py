"""Architecture families: a configuration becomes parts, and tensor names become roles.

To add one: write `families/<family>.py` with a function Config -> Architecture and a Family at its foot, and name
it in `FAMILIES` (docs/add-a-family.md). `model_type` selects the family; inside it variants are told apart by
configuration keys, never by the names of repositories or files.
"""

from __future__ import annotations

from weigh.families.albert import ALBERT
from weigh.families.bart import BART, WHISPER
from weigh.families.bert import BERT, DATA2VEC_TEXT, DISTILBERT, ROBERTA
from weigh.families.bloom import BLOOM, MPT
from weigh.families.clip import CLIP, CLIP_TEXT, SIGLIP, VISION_TOWER
from weigh.families.cohere import COHERE
from weigh.families.convnext import CONVNEXT, CONVNEXT2
from weigh.families.ctrl import CTRL
from weigh.families.deberta import DEBERTA
from weigh.families.deepseek import DEEPSEEK, DEEPSEEK_INDEXED, GLM4_LITE, LATENT_DENSE
from weigh.families.deepseek_v4 import DEEPSEEK_V4
from weigh.families.diffusion import DIT, PIXART
from weigh.families.efficientnet import EFFICIENTNET
from weigh.families.electra import ELECTRA
from weigh.families.encodec import DAC, ENCODEC
from weigh.families.exaone import EXAONE4
from weigh.families.expert_kin import ARIA_TEXT, DOTS1, EXAONE_MOE, FLEX_OLMO, HUNYUAN_MOE, SOLAR_OPEN
from weigh.families.experts import GPT_OSS, GRANITE_MOE, GRANITE_MOE_SHARED, MINIMAX_M2, OLMOE, PHIMOE
from weigh.families.falcon import FALCON
from weigh.families.gemma import GEMMA, GEMMA2, VAULTGEMMA
from weigh.families.gemma3n import GEMMA3N
from weigh.families.gemma4 import GEMMA4, GEMMA4_TEXT
from weigh.families.glm import GLM, GLM4
from weigh.families.glm_moe import ERNIE_MOE, GLM4_MOE, MIMO_FLASH
from weigh.families.gpt2 import GPT1, GPT2, GPT_BIGCODE
from weigh.families.gpt_neo import CODEGEN, GPT_NEO
from weigh.families.gpt_neox import GPT_NEOX, GPTJ, PHI
from weigh.families.granite import GRANITE, HELIUM, SEED_OSS
from weigh.families.granite_hybrid import GRANITE_HYBRID
from weigh.families.image_text import (
    GEMMA3,
    IDEFICS3,
    INTERNVL,
    LLAVA,
    LLAVA_NEXT,
    LLAVA_ONEVISION,
    MISTRAL3,
    PALIGEMMA,
    SMOLVLM,
)
from weigh.families.jamba import BAMBA, FALCON_H1, JAMBA
from weigh.families.kimi_k25 import KIMI_K25
from weigh.families.kimi_linear import KIMI_LINEAR
from weigh.families.lfm2 import LFM2
from weigh.families.llama import LLAMA, OLMO2, PHI3
from weigh.families.llama4 import LLAMA4, LLAMA4_TEXT
from weigh.families.llama_kin import APERTUS, HUNYUAN_DENSE, LLAMA_DEFAULTS, LLAMA_KIN, NANOCHAT
from weigh.families.mamba import MAMBA2_FAMILY, MAMBA_FAMILY
from weigh.families.masked import ESM, LAYOUTLM, LONGFORMER, MPNET, NOMIC_BERT
from weigh.families.mimo import MIMO
from weigh.families.minimax import MINIMAX
from weigh.families.minimax_m3 import MINIMAX_M3
from weigh.families.mixtral import MIXTRAL
from weigh.families.mllama import MLLAMA
from weigh.families.mmdit import FLUX, SD3
from weigh.families.modernbert import MODERNBERT
from weigh.families.nemotron_h import NEMOTRON_H
from weigh.families.nemotron_nas import NEMOTRON_NAS
from weigh.families.opt import OPT
from weigh.families.qwen import QWEN, QWEN_MOE
from weigh.families.qwen2_vl import QWEN2_VL, QWEN25_VL
from weigh.families.qwen_next import QWEN35, QWEN35_TEXT, QWEN_NEXT
from weigh.families.qwen_vl import QWEN_VL, QWEN_VL_MOE
from weigh.families.recurrent_gemma import RECURRENT_GEMMA
from weigh.families.resnet import RESNET
from weigh.families.rwkv import RWKV
from weigh.families.stablelm import PERSIMMON, STABLELM
from weigh.families.starcoder2 import NEMOTRON, STARCODER2
from weigh.families.step3 import STEP3
from weigh.families.swin import SWIN
from weigh.families.t5 import T5
from weigh.families.unet import CONTROLNET, UNET, UNET_ALONE
from weigh.families.vae import AUTOENCODER_KL, AUTOENCODER_TINY
from weigh.families.vit import DINOV2, DINOV2_REGISTERS, VIT
from weigh.families.vit_kin import AST, BEIT, DEIT, DINOV3, VIT_MSN
from weigh.families.wav2vec2 import HUBERT, UNISPEECH, UNISPEECH_SAT, WAV2VEC2, WAVLM
from weigh.families.xglm import BIOGPT, XGLM
from weigh.families.xlstm import XLSTM
from weigh.families.zamba2 import ZAMBA2
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
    DATA2VEC_TEXT,
    MPNET,
    LONGFORMER,
    LAYOUTLM,
    ESM,
    NOMIC_BERT,
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
    DINOV2_REGISTERS,
    DINOV3,
    VIT,
    DEIT,
    VIT_MSN,
    BEIT,
    AST,
    CONVNEXT,
    CONVNEXT2,
    EFFICIENTNET,
    SWIN,
    CLIP,
    SIGLIP,
    CLIP_TEXT,
    VISION_TOWER,
    WAV2VEC2,
    HUBERT,
    UNISPEECH,
    UNISPEECH_SAT,
    WAVLM,
    ENCODEC,
    DAC,
    GEMMA3N,
    GEMMA4,
    GEMMA4_TEXT,
    QWEN_VL,
    QWEN_VL_MOE,
    DIT,
    PIXART,
    SD3,
    FLUX,
    UNET,
    UNET_ALONE,
    CONTROLNET,
    AUTOENCODER_KL,
    AUTOENCODER_TINY,
    LLAMA_DEFAULTS,
    LLAMA_KIN,
    HUNYUAN_DENSE,
    APERTUS,
    NANOCHAT,
    VAULTGEMMA,
    GPT_BIGCODE,
    DOTS1,
    SOLAR_OPEN,
    EXAONE_MOE,
    HUNYUAN_MOE,
    FLEX_OLMO,
    ARIA_TEXT,
    GRANITE_MOE_SHARED,
    GLM4_LITE,
    LATENT_DENSE,
    LFM2,
    XLSTM,
    KIMI_LINEAR,
    ZAMBA2,
    MINIMAX_M3,
    LLAVA,
    LLAVA_NEXT,
    LLAVA_ONEVISION,
    PALIGEMMA,
    GEMMA3,
    MISTRAL3,
    IDEFICS3,
    SMOLVLM,
    INTERNVL,
    QWEN2_VL,
    QWEN25_VL,
    STEP3,
    MLLAMA,
)

BY_MODEL_TYPE: dict[str, Family] = {kind: family for family in FAMILIES for kind in family.model_types}


def family_of(model: Model) -> Family:
    """The record of the model's family. Errors: the model's own refusal where it has no parts."""
    if model.refusal is not None:
        raise model.refusal
    return next(family for family in FAMILIES if family.id == model.family)
