"""Load one model in llama.cpp and generate a token, in a process of its own.

Run as `python benchmarks/llama_cpp_child.py SETTINGS` with settings as JSON; llama.cpp logs to stderr, and the
last line of stdout is a JSON object of resident bytes before loading, after loading and after generating. It is a
script rather than a function because llama.cpp writes its log at C level and keeps memory until the process ends.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def resident() -> dict[str, int]:
    """Bytes of this process in memory: all, anonymous, and pages of files."""
    names = {"VmRSS": "all", "RssAnon": "anonymous", "RssFile": "files", "VmHWM": "peak"}
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in names:
            found[names[name]] = int(rest.split()[0]) * 1024
    return found


def parameters(settings: dict[str, Any]) -> Any:
    """Settings in llama.cpp's own terms; what only a server would keep beside the model is off."""
    import xllamacpp

    asked = xllamacpp.CommonParams()
    asked.model.path = settings["gguf"]
    asked.n_ctx = settings["context"] * settings["sequences"]
    asked.n_parallel = settings["sequences"]
    asked.n_batch = settings["batch"]
    asked.n_ubatch = settings["micro_batch"]
    asked.kv_unified = settings["unified"]
    types = xllamacpp.ggml_type
    asked.cache_type_k = getattr(types, "GGML_TYPE_" + settings["key_codec"].upper())
    asked.cache_type_v = getattr(types, "GGML_TYPE_" + settings["value_codec"].upper())
    flash = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}[settings["flash"]]
    asked.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, "LLAMA_FLASH_ATTN_TYPE_" + flash)
    asked.cpuparams.n_threads = settings["threads"]
    asked.cpuparams_batch.n_threads = settings["threads"]
    asked.fit_params = False
    asked.verbosity = 4
    asked.port = 0
    asked.cache_ram_mib = 0
    asked.n_ctx_checkpoints = 0
    return asked


def main() -> None:
    """Load, generate one token, print, and leave without clean-up."""
    import xllamacpp

    settings = json.loads(sys.argv[1])
    asked = parameters(settings)
    report: dict[str, Any] = {"system": xllamacpp.get_system_info(), "version": xllamacpp.__version__}
    report["before"] = resident()
    server = xllamacpp.Server(asked)
    report["loaded"] = resident()
    if settings["prompt"]:
        ids = [1 + number % 200 for number in range(settings["prompt"])]
        answer = server.handle_completions({"prompt": ids, "n_predict": 1})
        report["answered"] = "choices" in answer or "content" in answer
    report["after"] = resident()
    print(json.dumps(report), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
