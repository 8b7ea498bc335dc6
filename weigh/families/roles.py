"""Roles and layers by the names of tensors: what is left where no family knows the architecture."""

from __future__ import annotations

import re
from functools import lru_cache

from weigh.types import Role

_LAYER = re.compile(r"(?:^|[._/])(?:layers?|h|blocks?|blk|resblocks|stages?|encoder|decoder)[._/](\d+)(?=[._/]|$)")

_PATTERNS: tuple[tuple[Role, str], ...] = (
    ("buffer", r"inv_freq|position_ids|(^|[./])(attn|attention)\.(masked_)?bias$|num_batches|running_(mean|var)"),
    ("buffer", r"moving_(mean|variance)|seed_generator_state"),
    ("buffer", r"rope_f(reqs|actors)|attn\.causal_mask$"),
    ("router", r"moe_statics"),
    ("buffer", r"slope_rate|(query|key|diagonal)_decay|e_score_correction_bias|exp_probs_b|tid2eid|ffn\.gate\.bias"),
    ("buffer", r"^final_logits_bias|layer_scalar$|layer_output_scale|relative_position_index"),
    ("buffer", r"vision_tower\.std_(bias|scale)|_proj\.(in|out)put_(min|max)$"),
    ("buffer", r"act_fn\.(beta|eps)$|feed_forward\.expert_bias$|\.moe\.router_bias$"),
    ("expert", r"layers\.\d+\.moe\.(gate|up|down)_proj"),
    ("shared_expert", r"\.share_expert\."),
    ("attention_q", r"self_attn\.g_proj"),
    ("vision", r"^(model\.)?vision_tower\.|^(model\.)?connector\.|^vit_large_projector"),
    ("ssm", r"\.\d+\.conv\.(in_proj|conv|out_proj)\.|[if]gate_preact"),
    ("attention_q", r"mlstm_layer\.(q\.|ogate_preact)"),
    ("attention_k", r"mlstm_layer\.k\."),
    ("attention_v", r"mlstm_layer\.v\."),
    ("mlp_gate", r"\.ffn\.proj_up_gate\."),
    ("mlp_up", r"\.ffn\.proj_up\."),
    ("mlp_down", r"\.ffn\.proj_down\."),
    ("other", r"self_attn\.lambda_[qk]|act_fn\.alpha_|_adapter_list\.|layers\.\d+\.linear\."),
    ("other", r"cross_attn_(attn|mlp)_gate"),
    ("norm", r"mamba_decoder\.input_layernorm"),
    ("ssm", r"self_attn\.([fg]_[ab]_proj|b_proj|[qkv]_conv1d)\."),
    ("conv", r"^(\w+\.)?embeddings\.patch_embeddings|pos_conv_embed"),
    ("conv", r"^pos_embed\.proj\.|_block(s\.\d+)?\.attentions\.\d+\.proj_(in|out)\."),
    ("buffer", r"^pos_embed\.pos_embed$"),
    ("attention_q", r"(attn\d?|attentions\.\d+)\.(to_q|add_q_proj)\."),
    ("attention_k", r"(attn\d?|attentions\.\d+)\.(to_k|add_k_proj)\."),
    ("attention_v", r"(attn\d?|attentions\.\d+)\.(to_v|add_v_proj)\."),
    ("attention_o", r"(attn\d?|attentions\.\d+)\.(to_out|to_add_out)\."),
    ("mlp_up", r"\.ff(_context)?\.net\.\d+\.proj\.|\.proj_mlp\."),
    ("mlp_down", r"\.ff(_context)?\.net\.\d+\.(weight|bias)|single_transformer_blocks\.\d+\.proj_out\."),
    ("other", r"(timestep|text|guidance|resolution|aspect_ratio)_embedder\.|^(context|x)_embedder\."),
    ("other", r"scale_shift_table|^adaln_single\.|^caption_projection\.|^encoder_hid_proj\.|^(add|class)_embedding\."),
    ("conv", r"^efficientnet\.embeddings\.convolution|^controlnet_(cond_embedding|down_blocks|mid_block)\."),
    ("head", r"^proj_out_\d"),
    ("other", r"^time_embedding\.|time_emb_proj|norm\w*\.(emb|linear)\."),
    ("mlp_up", r"\.pwconv1|albert_layers\.\d+\.ffn\.|DenseReluDense\.wi\.|intermediate_dense"),
    ("mlp_down", r"\.pwconv2|\.ffn_output\.|DenseReluDense\.wo\.|\.mlp\.(Wo|weights_out)\.|feed_forward\.output_dense"),
    ("attention_q", r"(Self|EncDec)Attention\.q\."),
    ("attention_k", r"(Self|EncDec)Attention\.k\."),
    ("attention_v", r"(Self|EncDec)Attention\.v\."),
    ("attention_o", r"(Self|EncDec)Attention\.o\.|\.attn\.Wo\."),
    ("position", r"relative_attention_bias|relative_position_bias_table|encoder\.rel_embeddings"),
    ("embedding", r"^(model\.)?shared\."),
    ("head", r"^proj_out\.|^predictions\.(bias|decoder)|^decoder\.(weight|bias)$|_predictions\.dense_prediction"),
    ("other", r"^((discriminator|generator)_)?predictions\.dense\.|embedding_hidden_mapping_in|embeddings_project"),
    ("other", r"embeddings\.(embed_proj|cls_token|mask_token)|^head\.dense\.|layer_scale|downsample\.reduction"),
    ("other", r"^cls\.(weight|bias)$|^logit_(scale|bias)$|^text_projection|^text_model\.head"),
    ("other", r"masked_spec_embed|feature_projection\.projection"),
    ("other", r"^projector\.|^layer_weights$|per_layer_(model_projection|input_gate|projection)\.|laurel\.linear"),
    ("other", r"altup(_projections|_unembe?d_proj|_proj\.|[._](correct|predict|modality|router\.))"),
    ("other", r"\.laurel_[lr]\.|\.inp_gate\.|blk\.\d+\.proj\.|per_layer_model_proj\."),
    ("embedding", r"per_layer_token_embd"),
    ("router", r"ffn_down_exps\.scale"),
    ("mtp", r"(^|[._])mtp([._]|$)|nextn|eh_proj"),
    ("vision", r"vision|visual|image_|^v\.|patch_embed|multi_modal_projector|^mm_projector"),
    ("audio", r"(?<!^data2vec_)audio(?!_spectrogram)|(?<!^uni)speech"),
    ("ssm", r"(^|[._])mixer\.(?!([qkvo]|up|down)_proj|gate\.|experts|shared_expert|fc[12]_latent)"),
    ("ssm", r"(^|[._])(ssm|mamba|A_log|dt_proj|dt_bias|x_proj|time_(mix|decay|first)|linear_attn)"),
    ("ssm", r"temporal_block\.(linear|conv|rg_lru)"),
    ("mlp_up", r"blocks\.\d+\.feed_forward\.key"),
    ("mlp_gate", r"blocks\.\d+\.feed_forward\.receptance"),
    ("mlp_down", r"blocks\.\d+\.feed_forward\.value"),
    ("expert", r"latent_proj|ffn_latent"),
    ("norm", r"[Nn]orm|(^|[._])ln(_|\d|[._]|$)"),
    ("position", r"compressor\.ape$|(wpe|positions?|pos)_?embd?|position_embeddings|embed_positions|(^|[._])wpe"),
    ("buffer", r"codebook\.(inited|cluster_size|embed(_avg)?)$"),
    ("other", r"distillation_token|register_tokens|\.lambda_\d$|snake\d\.alpha$|quantizers\.\d+\.codebook\."),
    ("other", r"gru_rel_pos"),
    ("position", r"rel_attn_embed"),
    ("ssm", r"\.lstm\."),
    ("norm", r"\.grn\.|_bn\.|batchnorm"),
    ("conv", r"parametrizations\.weight\.original|squeeze_excite\.|^(encoder|decoder)\.conv\d\.|\.conv(_t)?\d\."),
    ("conv", r"quantizers\.\d+\.(in|out)_proj\."),
    ("attention_q", r"query_global|attn\.q\."),
    ("attention_k", r"key_global|attn\.k\."),
    ("attention_v", r"value_global|attn\.v\."),
    ("attention_o", r"attention\.attn\.o\."),
    ("other", r"^contact_head\.|^esm\.contact_head\.|classification_head\.dense|(^|\.)classifier\.dense"),
    ("head", r"classification_head\.out_proj|classifier\.out_proj"),
    ("other", r"token_type|pooler|(lm_head|classifier|transform)\.dense|pre_classifier|vocab_transform"),
    ("other", r"project_(in|out)|attn_sinks?([._]|$)|self_attn\.sinks|sink_bias|hc_(attn|ffn|head)_"),
    ("shared_expert", r"shared_?expert|shared_mlp|shexp"),
    ("router", r"router|ffn_gate_inp|(mlp|moe|feed_forward|ffn|mixer)\.gate\."),
    ("expert", r"experts?[._]|_exps|block_sparse_moe\.(in|out)put_linear"),
    ("embedding", r"embed_tokens|tokens?_embd?|tok_embeddings|word_embeddings|(^|[._])wte|embed_in"),
    ("embedding", r"(^|[._])embed(dings?)?\.|^transformer\.w\.|/embeddings(:0)?$"),
    ("head", r"lm_head|embed_out|^output\.|^head\.|score\.|classifier|qa_outputs|^cls\.|vocab_projector"),
    ("head", r"output_projection"),
    ("attention_q", r"q_proj|attn_q|query(?!_key|_decay)|q_lin|output_gate|attention\.receptance|(^|[._])[wW]q"),
    ("attention_q", r"q_a_proj|q_b_proj|indexer\.weights_proj"),
    ("attention_k", r"k_proj|kv_a_proj|compressor\.wgate|attn_k|[._/]key[._/]|k_lin|(^|[._])[wW]k"),
    ("attention_v", r"v_proj|attn_v|[._/]value[._/]|v_lin|(^|[._])[wW]v"),
    ("attention_o", r"o_proj|out_proj|attn_output|(attn|attention)\.dense|attention\.output|out_lin|(^|[._])wo"),
    ("attention_o", r"attn\.c_proj|/attention_output/"),
    ("mlp_gate", r"gate_proj|ffn_gate|(^|[._])w1"),
    ("mlp_up", r"up_proj|ffn_up|c_fc|fc1|fc_in|dense_h_to_4h|intermediate|lin1|(^|[._])w3"),
    ("mlp_down", r"down_proj|ffn_down|mlp\.c_proj|fc2|fc_out|dense_4h_to_h|output\.dense|lin2|(^|[._])w2"),
    ("conv", r"conv|(depth|point)wise_kernel"),
)  # fmt: skip
_ANY = re.compile("|".join(f"(?P<r{i}>{pattern})" for i, (_, pattern) in enumerate(_PATTERNS)))
_SEARCHES = tuple((role, re.compile(pattern)) for role, pattern in _PATTERNS)
_NUMBERS = re.compile(r"(?<![^._/])\d+(?![^._/])")
"""A number between two separators: that of a layer or an expert, unlike those of `fc1` and `w2`."""
_DIGITS = re.compile(r"\d+")


def role_of(name: str) -> Role:
    """Role by the first pattern, in the order above, that occurs in the name; `unknown` where none does."""
    return role_and_layer(name)[0]


def role_and_layer(name: str) -> tuple[Role, int | None]:
    """Both at once: a header may hold a million names, and those of one kind differ in the layer's number alone."""
    found = _LAYER.search(name)
    if found is None:
        return _role(name, ""), None
    begin, end = found.span(1)
    layer = int(name[begin:end]) if end - begin < 10 else None
    return _role(name[:begin], name[end:]), layer


@lru_cache(maxsize=65536)
def _role(before: str, behind: str) -> Role:
    """Role by the parts of the name on both sides of the layer's number."""
    name = _NUMBERS.sub("0", f"{before}0{behind}" if behind else before)
    if not _tells(_DIGITS.sub("#", name)) or _ANY.search(name) is None:
        return "unknown"
    return next(role for role, pattern in _SEARCHES if pattern.search(name))


@lru_cache(maxsize=65536)
def _tells(skeleton: str) -> bool:
    """Whether a name could match with some digit for each number: names that only count up are looked at once."""
    return any(_ANY.search(skeleton.replace("#", digit)) for digit in "0123456789")
