"""Asks `llama-quantize` what it does to the models of `shapes.toml` and writes `llama_quantize.tsv`; no test by itself.

    python tests/recipes/record_llama_quantize.py path/to/llama-quantize "which llama.cpp it is"

Each model is written as a GGUF file that holds nothing but zeros, in a sparse file; `--dry-run` then prints the type
of every tensor. Bytes are summed with the block sizes of the gguf package, so that no number here comes from weigh.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import zlib
from collections import Counter
from math import prod
from pathlib import Path

import gguf
import numpy as np

from weigh.families.identify import identify
from weigh.recipes.llama_cpp import left_alone
from weigh.recipes.llama_cpp_rules import FILE_TYPES, NEEDS_IMPORTANCE
from weigh.recipes.tensors import Stored, tensors
from weigh.types import Inventory, Model

HERE = Path(__file__).parent
ARCHITECTURES = {"mixtral": "llama", "qwen3_moe": "qwen3moe", "qwen2_moe": "qwen2moe"}
LINE = re.compile(r"\[\s*\d+/\s*\d+\]\s+(\S+)\s+- \[(.*?)\], type =\s+(\S+), size = .*?(?:\((\w+)\))?$")
REPLACED = re.compile(r"(\d+) of \d+ tensor\(s\) required fallback")
SIZES = {kind.name.lower(): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
SIZES["q1_0"] = (128, 2 + 16)
SIZES["q2_0"] = (64, 2 + 16)
BOTH = ("Q4_0", "Q5_0", "IQ4_NL", "IQ4_XS", "IQ3_XXS")
"""File types that an importance matrix changes."""
BOTH_FOR = ("grouped_by_8", "ungrouped", "eight_experts", "falcon_7b")


def write(model: Model, path: Path) -> list[Stored]:
    """An F16 file of zeros, norms and the like in F32, as the converter of llama.cpp makes it."""
    sizes = model.dimensions
    writer = gguf.GGUFWriter(path, ARCHITECTURES.get(model.model_type, model.model_type))
    writer.add_block_count(sizes["layers"])
    writer.add_context_length(sizes["context"])
    writer.add_embedding_length(sizes["width"])
    writer.add_feed_forward_length(sizes["hidden"])
    writer.add_head_count(sizes["heads"])
    writer.add_head_count_kv(sizes["kv_heads"])
    writer.add_key_length(sizes["head_dim"])
    writer.add_value_length(sizes["head_dim"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(model.model_type != "bert")
    writer.add_sliding_window(512)
    writer.add_rope_scaling_orig_ctx_len(512)
    if "experts" in sizes:
        writer.add_expert_count(sizes["experts"])
        writer.add_expert_used_count(sizes["experts_used"])
        writer.add_expert_feed_forward_length(sizes["expert_hidden"])
    held = list(tensors(model, "ggml"))
    data = 0
    for tensor in held:
        dtype = np.dtype(np.float32 if left_alone(tensor) else np.float16)
        size = prod(tensor.shape) * dtype.itemsize
        writer.add_tensor_info(tensor.name, tensor.shape, dtype, size)
        data += -(-size // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    file = writer.fout[0]
    end = -(-file.tell() // 32) * 32
    file.truncate(end + data)
    file.close()
    return held


def write_importance(path: Path) -> None:
    """An importance matrix of a tensor that no model has: its presence is all that the types depend on."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["none"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    writer.add_tensor("none.weight.in_sum2", np.ones((1, 32), np.float32))
    writer.add_tensor("none.weight.counts", np.ones((1, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ask(tool: str, path: Path, file_type: str, importance: Path | None) -> tuple[dict[str, str], int] | None:
    """Type of each tensor and how many were replaced; None where the tool refuses."""
    options = ["--imatrix", str(importance)] if importance else []
    run = subprocess.run([tool, "--dry-run", *options, path, file_type], capture_output=True, text=True, check=False)
    if run.returncode:
        return None
    said = run.stdout + run.stderr
    found = [match for line in said.splitlines() if (match := LINE.match(line.strip()))]
    replaced = REPLACED.search(said)
    return {match[1]: (match[4] or match[3]).lower() for match in found}, int(replaced[1]) if replaced else 0


def row(held: list[Stored], answer: tuple[dict[str, str], int] | None) -> str:
    if answer is None:
        return "refused\t0\t0\t-"
    types, replaced = answer
    shapes = {tensor.name: tensor.shape for tensor in held}
    assert types.keys() == shapes.keys()
    size = sum(prod(shapes[name]) // SIZES[kind][0] * SIZES[kind][1] for name, kind in types.items())
    digest = zlib.crc32("\n".join(f"{name} {types[name]}" for name in sorted(types)).encode())
    counts = " ".join(f"{kind}:{count}" for kind, count in sorted(Counter(types.values()).items()))
    return f"{size}\t{replaced}\t{digest:08x}\t{counts}"


def main(tool: str, version: str) -> None:
    shapes = tomllib.loads((HERE / "shapes.toml").read_text())
    lines = [
        f"# What llama-quantize does ({version}); made by record_llama_quantize.py.",
        "# model, file type, importance matrix, bytes, replaced for their width, crc32 of the types by name, counts",
    ]
    with tempfile.TemporaryDirectory() as folder:
        importance = Path(folder, "imatrix.gguf")
        write_importance(importance)
        for name, configuration in shapes.items():
            path = Path(folder, "model.gguf")
            held = write(identify(Inventory(name, "config", "hf", configuration=configuration)), path)
            for file_type in FILE_TYPES:
                usual = file_type in NEEDS_IMPORTANCE
                both = file_type in BOTH and name in BOTH_FOR
                for given in (usual, not usual) if both else (usual,):
                    answer = ask(tool, path, file_type, importance if given else None)
                    lines.append(f"{name}\t{file_type}\t{'yes' if given else 'no'}\t{row(held, answer)}")
    (HERE / "llama_quantize.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
