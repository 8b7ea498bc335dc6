"""Hold the predicted memory of ONNX Runtime against what its process held on this machine.

    python -m benchmarks.onnxruntime_memory [--file ONNX ...] [--only NAME] [--markdown]

The models of MODELS are exported by PyTorch with random weights (memory does not depend on values) and run twice in a
process of their own (onnxruntime_child.py). Of a file given with --file only what loading takes is compared: its graph
need not be of a family that weigh knows. To add a model, write its configuration into MODELS.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.transformers_memory import dense, older
from weigh.commands.setting import locate, setting
from weigh.commands.source import load
from weigh.engines.onnxruntime import PROCESS_BYTES
from weigh.families.identify import identify
from weigh.types import Inventory

MIB = 2**20


@dataclass(frozen=True)
class Exported:
    """A model to export: its configuration, and the sequences x tokens (or images) that it is run with."""

    kind: str
    configuration: dict[str, Any]
    architecture: str
    work: tuple[tuple[int, int], ...]
    """Batch and tokens; of images tokens are 1."""
    dtype: str = "float32"


GPT2 = {"model_type": "gpt2", "vocab_size": 8192, "n_embd": 512, "n_layer": 4, "n_head": 8, "n_positions": 2048}
RESNET18 = {
    "model_type": "resnet", "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2],
    "layer_type": "basic", "num_labels": 1000,
}  # fmt: skip
MINILM = {
    "model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536,
}  # fmt: skip
LARGE = {
    "model_type": "bert", "hidden_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 16,
    "intermediate_size": 4096,
}  # fmt: skip
SMALL = {
    "model_type": "vit", "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "num_labels": 1000,
}  # fmt: skip
MODELS = {
    "resnet-50": Exported(
        "image", {"model_type": "resnet", "num_labels": 1000}, "ResNetForImageClassification", ((1, 1), (8, 1), (32, 1))
    ),
    "resnet-18": Exported("image", RESNET18, "ResNetForImageClassification", ((4, 1),)),
    "vit-base": Exported(
        "image", {"model_type": "vit", "num_labels": 1000}, "ViTForImageClassification", ((1, 1), (4, 1))
    ),
    "minilm": Exported("encoder", MINILM, "BertModel", ((1, 128), (1, 512), (8, 256), (32, 32))),
    "bert-base": Exported("encoder", {"model_type": "bert"}, "BertModel", ((1, 512), (4, 128))),
    "bert-base f16": Exported("encoder", {"model_type": "bert"}, "BertModel", ((1, 64),), "float16"),
    "llama": Exported("decoder", dense("llama"), "LlamaForCausalLM", ((1, 128), (1, 512))),
    "gpt2": Exported("decoder", GPT2, "GPT2LMHeadModel", ((1, 512),)),
    # Not looked at when the factors were chosen.
    "bert, 6 of large": Exported("encoder", LARGE, "BertModel", ((2, 300),)),
    "vit-small": Exported("image", SMALL, "ViTForImageClassification", ((8, 1),)),
    "resnet-101": Exported(
        "image", {"model_type": "resnet", "num_labels": 1000, "depths": [3, 4, 23, 3]},
        "ResNetForImageClassification", ((2, 1),),
    ),
    "gpt_neox": Exported("decoder", older("gpt_neox"), "GPTNeoXForCausalLM", ((1, 300), (1, 900))),
}  # fmt: skip
CODECS = {"float32": "f32", "float16": "f16"}


@dataclass(frozen=True)
class Row:
    """One model under one setting, in bytes."""

    model: str
    setting: str
    weights: float
    arena: tuple[float, float, float]
    """Low, value and high of what two requests take."""
    total: tuple[float, float, float]
    measured: dict[str, Any]

    @property
    def measured_total(self) -> float:
        """Process, weights as the C library keeps them once told to give back, and two requests."""
        return float(self.measured["imported"] + self.measured["trimmed"] + self.measured["runs"][-1])


def child(order: dict[str, Any]) -> dict[str, Any]:
    """Run the child and read what it says."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("onnxruntime_child.py")), json.dumps(order)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(f"ONNX Runtime failed on {order}:\n{done.stderr[-2000:]}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def described(model: Exported) -> dict[str, Any]:
    """The configuration as the class completes it, which is what weigh is given."""
    from transformers import AutoConfig

    sizes = dict(model.configuration)
    config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
    return {**config.to_dict(), "architectures": [model.architecture], "dtype": model.dtype}


def compare(name: str, model: Exported, folder: str) -> Iterator[Row]:
    """Export once, then one row for each setting."""
    file = str(Path(folder) / f"{name.replace(' ', '-')}.onnx")
    child({"kind": model.kind, "configuration": model.configuration, "dtype": model.dtype, "file": file})
    known = identify(Inventory(name, "config", "hf", configuration=described(model)))
    for batch, tokens in model.work:
        shape = [batch, 3, 224, 224] if model.kind == "image" else [batch, tokens]
        said = child({"file": file, "shapes": {"given": shape}, "runs": 2})
        asked: dict[str, Any] = {"batch": batch, "prompt": tokens}
        if model.kind == "decoder":
            # The export has no cache: one token out, and the state is left out of the comparison.
            asked |= {"output": 1, "context": tokens + 1}
        needed = setting(model=known, place=locate("64GB"), engine="onnxruntime", **asked).needed()
        arena = needed.activation_buffers["arena"]
        table = needed.activation_buffers.get("packed_table")
        held = needed.weights.value + (table.value if table else 0)
        ends = (arena.low, arena.value, arena.high)
        total = tuple(end + held + process for end, process in zip(ends, PROCESS_BYTES, strict=True))
        yield Row(name, f"{batch} x {tokens}", held, ends, total, said)  # type: ignore[arg-type]
    Path(file).unlink()


def loading(files: Sequence[str]) -> list[str]:
    """Rows of a table: what loading takes of graphs of any kind, against their tensors."""
    lines = ["| file | tensors | held beside the code | difference | while loading |", "|" + "---|" * 5]
    code = 12.5 * MIB
    for file in files:
        inventory = load(file).inventory
        ours = sum(tensor.nbytes for tensor in inventory.tensors)
        said = child({"file": file, "shapes": {}, "runs": 0})
        theirs = said["trimmed"] - code
        peak = said["peak"] / MIB
        lines.append(
            f"| {Path(file).name} | {ours / MIB:.1f} | {theirs / MIB:.1f} | {(ours - theirs) / MIB:+.1f} | {peak:.1f} |"
        )
    return lines


def render(rows: Sequence[Row]) -> str:
    """A Markdown table: ours and theirs by term, in MiB."""
    head = ["model", "batch x tokens", "weights", "held by code and weights", "two requests", "measured", "total",
            "measured total", "difference", "inside", "kept by the C library"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        low, value, high = (size / MIB for size in row.arena)
        theirs, ours = row.measured_total / MIB, row.total[1] / MIB
        inside = row.total[0] / MIB <= theirs <= row.total[2] / MIB
        kept = (row.measured["loaded"] - row.measured["trimmed"]) / row.weights
        cells = [
            row.model,
            row.setting,
            f"{row.weights / MIB:.1f}",
            f"{row.measured['trimmed'] / MIB:.1f}",
            f"{value:.1f} [{low:.1f}, {high:.1f}]",
            f"{row.measured['runs'][0] / MIB:.1f}, then {row.measured['runs'][-1] / MIB:.1f}",
            f"{ours:.1f}",
            f"{theirs:.1f}",
            f"{100 * (ours / theirs - 1):+.1f} %",
            "yes" if inside else "no",
            f"{100 * kept:.0f} % of the weights",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    off = [abs(row.total[1] / row.measured_total - 1) for row in rows]
    arena = [abs(row.arena[1] / row.measured["runs"][-1] - 1) for row in rows]
    lines += [
        "",
        f"Total: at most {100 * max(off):.1f} % off, median {100 * median(off):.1f} %. Two requests alone: at most "
        f"{100 * max(arena):.0f} % off, median {100 * median(arena):.0f} %. Sizes in MiB.",
    ]
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 where a total lies outside its interval."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--file", action="append", default=[], metavar="ONNX", help="a graph to load")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="no others than this")
    parser.add_argument("--markdown", action="store_true", help="print machine and versions above the tables")
    arguments = parser.parse_args(words)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, model in MODELS.items():
            if not arguments.only or name in arguments.only:
                for row in compare(name, model, folder):
                    print(f"{name} {row.setting} {row.total[1] / row.measured_total - 1:+.3f}", file=sys.stderr)
                    rows.append(row)
    if rows and arguments.markdown:
        print(f"Measured on {date.today().isoformat()}, onnxruntime {rows[0].measured['onnxruntime']}, ", end="")
        print(f"{platform.platform()}.\n")
    if rows:
        print(render(rows))
    if arguments.file:
        print("\n" + "\n".join(loading(arguments.file)))
    return 0 if all(row.total[0] <= row.measured_total <= row.total[2] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
