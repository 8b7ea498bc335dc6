"""Export one model to ONNX, or load one in ONNX Runtime and say what the process then holds, in a process of its own.

Run as `python benchmarks/onnxruntime_child.py ORDER` with the order as JSON. With `kind` (decoder, encoder, image): a
transformers configuration (random weights), and the `file` to write. Without: the `file` to load, the shape of each
input by name, and how often to run. The last line of stdout is a JSON object of bytes, by /proc/self/status.
"""

from __future__ import annotations

import ctypes
import json
import sys
import warnings
from pathlib import Path
from typing import Any


def resident(name: str = "VmRSS") -> int:
    """Bytes of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def export(order: dict[str, Any]) -> dict[str, Any]:
    """Write the graph with PyTorch's exporter; batch and tokens may be of any size."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageClassification

    warnings.filterwarnings("ignore")
    classes = {"decoder": AutoModelForCausalLM, "encoder": AutoModel, "image": AutoModelForImageClassification}
    of: Any = classes[order["kind"]]
    sizes = dict(order["configuration"])
    model = of.from_config(AutoConfig.for_model(sizes.pop("model_type"), **sizes))
    model = model.to(getattr(torch, order["dtype"])).eval()

    class Plain(torch.nn.Module):
        """The first result alone, without a cache."""

        def forward(self, given: Any) -> Any:
            return model(given, use_cache=False)[0] if order["kind"] == "decoder" else model(given)[0]

    any_size = torch.export.Dim.DYNAMIC
    image = order["kind"] == "image"
    given = torch.zeros(1, 3, 224, 224) if image else torch.ones(1, 64, dtype=torch.long)
    shapes = ({0: any_size} if image else {0: any_size, 1: any_size},)
    torch.onnx.export(
        Plain(),
        (given.to(getattr(torch, order["dtype"])) if image else given,),
        order["file"],
        dynamo=True,
        dynamic_shapes=shapes,
        external_data=False,
        input_names=["given"],
    )
    return {"file": Path(order["file"]).stat().st_size}


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Load and run; `trimmed` is the process once the C library gave back what loading left."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    imported = resident()
    session = onnxruntime.InferenceSession(order["file"], options, providers=["CPUExecutionProvider"])
    loaded = resident()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    trimmed, peak = resident(), resident("VmHWM")
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}
    feeds = {
        entry.name: np.ones(order["shapes"][entry.name], types[entry.type])
        for entry in session.get_inputs()
        if entry.name in order["shapes"]
    }
    before = resident()
    after = []
    kept: list[Any] = []
    for _ in range(order["runs"] if feeds else 0):
        kept = session.run(None, feeds)
        after.append(resident() - before)
    return {
        "imported": imported,
        "loaded": loaded - imported,
        "trimmed": trimmed - imported,
        "peak": peak - imported,
        "runs": after,
        "outputs": len(kept),
        "onnxruntime": onnxruntime.__version__,
    }


def main() -> int:
    order = json.loads(sys.argv[1])
    print(json.dumps(export(order) if "kind" in order else run(order)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
