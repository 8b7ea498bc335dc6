"""The reference: the class of transformers without memory, and the cache that it fills. Prints what `Told` holds."""

import json
import sys
import warnings

import torch
import transformers
from transformers import AutoConfig

warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
folder, tokens = sys.argv[1], int(sys.argv[2])
config = AutoConfig.from_pretrained(folder)
with torch.device("meta"):
    model = getattr(transformers, config.architectures[0])._from_config(config, dtype=torch.bfloat16).eval()
parameters = sum(held.numel() for held in model.parameters())
state = None
try:
    with torch.no_grad(), torch.device("meta"):
        cache = model(torch.zeros((1, tokens), dtype=torch.long), use_cache=True, logits_to_keep=1).past_key_values
    state = 0
    for layer in cache.layers:
        for name in ("keys", "values", "conv_states", "recurrent_states", "ssm_states"):
            held = getattr(layer, name, None)
            if isinstance(held, torch.Tensor):
                state += held.numel() * held.element_size()
except (NotImplementedError, RuntimeError, TypeError, AttributeError, ValueError) as refused:
    print(f"no cache: {type(refused).__name__}: {str(refused)[:120]}", file=sys.stderr)
print(json.dumps({"parameters": parameters, "weights": 2 * parameters, "state": state}))
