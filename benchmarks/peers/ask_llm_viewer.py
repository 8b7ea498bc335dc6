"""LLM-Viewer from its checkout (the working folder), with the configuration that it has for Llama-like models."""

import contextlib
import io
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))
from model_analyzer import ModelAnalyzer

with contextlib.redirect_stdout(io.StringIO()):
    told = ModelAnalyzer(sys.argv[1], "nvidia_A100", "configs/Llama.py").analyze(seqlen=int(sys.argv[2]), batchsize=1)
held = told["total_results"]["decode"]
weights = held["memory_consumption_weight"]
print(
    json.dumps(
        {
            "parameters": int(weights / 2),
            "weights": weights,
            "state": held["memory_consumption_kv_cache"],
            "total": held["memory_consumption"],
        }
    )
)
