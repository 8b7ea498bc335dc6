"""llm-analysis, given the sizes of the configuration by its own reading of them."""

import contextlib
import io
import json
import logging
import sys

logging.disable(logging.CRITICAL)
from llm_analysis.analysis import LLMAnalysis  # noqa: E402
from llm_analysis.config import (  # noqa: E402
    ParallelismConfig,
    get_dtype_config_by_name,
    get_gpu_config_by_name,
    get_model_config_from_hf,
)

with contextlib.redirect_stdout(io.StringIO()):
    model = get_model_config_from_hf(sys.argv[1])
    gpu = get_gpu_config_by_name("a100-sxm-80gb")
    gpu.mem_per_GPU_in_GB = 100_000  # the question is what it takes, not whether it fits
    asked = LLMAnalysis(model, gpu, get_dtype_config_by_name("w16a16e16"), ParallelismConfig())
    told = asked.inference(seq_len=int(sys.argv[2]) - 1, num_tokens_to_generate=1)
    parameters = asked.get_num_params_total()
weights, state = told["weight_memory_per_gpu"], told["kv_cache_memory_per_gpu"]
print(json.dumps({"parameters": parameters, "weights": weights, "state": state, "total": weights + state}))
