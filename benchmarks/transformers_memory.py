"""Hold the predicted memory of transformers against what PyTorch's CPU allocator gave out on this machine.

    python -m benchmarks.transformers_memory [--folder NAME=FOLDER ...] [--only NAME] [--markdown]

Each model runs in a process of its own for each setting (transformers_child.py). Models in folders have their own
weights; the others, of the sizes below, have random ones: memory does not depend on values. To add a family, write its
configuration into MODELS; where a term is off, `--live` prints the sizes that were alive at the peak.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from weigh.commands.setting import locate, setting
from weigh.families.identify import identify
from weigh.types import Inventory

MIB = 2**20
VOCABULARY = 8192


def dense(model_type: str, **changes: Any) -> dict[str, Any]:
    """A small decoder of the newer kind: grouped heads, a gated feed-forward part."""
    return {
        "model_type": model_type,
        "vocab_size": VOCABULARY,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        **changes,
    }


def older(model_type: str, **changes: Any) -> dict[str, Any]:
    """A small model of the older kind: as many keys as queries, two matrices behind them."""
    return dense(model_type, **{"intermediate_size": 2048, "num_key_value_heads": 8, **changes})


LATENT = {
    "num_key_value_heads": 8,
    "moe_intermediate_size": 256,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 2,
    "topk_group": 1,
    "kv_lora_rank": 128,
    "q_lora_rank": 192,
    "qk_rope_head_dim": 32,
    "qk_nope_head_dim": 64,
    "v_head_dim": 64,
    "first_k_dense_replace": 1,
    "num_nextn_predict_layers": 0,
}
MODELS: dict[str, dict[str, Any]] = {
    "qwen2": dense("qwen2"),
    "qwen3": dense("qwen3", head_dim=128),
    "gemma": dense("gemma", head_dim=64),
    "gemma2": dense("gemma2", head_dim=64, sliding_window=128),
    "mistral": dense("mistral", sliding_window=128),
    "phi3": dense("phi3", pad_token_id=0),
    "mixtral": dense("mixtral", num_local_experts=8, num_experts_per_tok=2),
    "gpt2": {
        "model_type": "gpt2", "vocab_size": VOCABULARY, "n_embd": 512, "n_layer": 4, "n_head": 8, "n_positions": 2048,
    },
    "opt": {
        "model_type": "opt", "vocab_size": VOCABULARY, "hidden_size": 512, "ffn_dim": 2048, "num_hidden_layers": 4,
        "num_attention_heads": 8, "word_embed_proj_dim": 512, "max_position_embeddings": 2048,
    },
    "gpt_neox": older("gpt_neox"),
    "bert": older("bert"),
    "deepseek_v3": dense("deepseek_v3", **LATENT),
    "falcon_mamba": {
        "model_type": "falcon_mamba", "vocab_size": VOCABULARY, "hidden_size": 512, "num_hidden_layers": 4,
        "state_size": 16, "conv_kernel": 4, "intermediate_size": 1024, "time_step_rank": 32,
    },
    "mamba2": {
        "model_type": "mamba2", "vocab_size": VOCABULARY, "hidden_size": 512, "num_hidden_layers": 4,
        "state_size": 64, "num_heads": 16, "head_dim": 64, "n_groups": 1, "conv_kernel": 4, "expand": 2,
    },
}  # fmt: skip
ENCODERS = frozenset({"bert"})
EAGER = frozenset({"gemma2", "falcon_mamba", "mamba2"})
"""Classes that take no other attention, or have none."""

SETTINGS: tuple[dict[str, Any], ...] = (
    {"prompt": 256, "steps": 2},
    {"prompt": 500, "steps": 2, "batch": 2, "dtype": "bfloat16"},
    {"prompt": 16, "steps": 60},
)
CODECS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
TERMS = ("weights", "state", "activations", "total")


@dataclass(frozen=True)
class Row:
    """One model under one setting, in bytes by term."""

    model: str
    setting: str
    ours: dict[str, float]
    measured: dict[str, float]
    said: dict[str, Any]
    inside: bool
    """The measured total lies between our ends."""

    @property
    def off(self) -> float:
        """Of the total, as a fraction."""
        return self.ours["total"] / self.measured["total"] - 1


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Run the child and read what it says."""
    child = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("transformers_child.py")), json.dumps(order)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if child.returncode:
        raise SystemExit(f"transformers failed on {order}:\n{child.stderr[-2000:]}")
    said: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return said


def predict(configuration: dict[str, Any], asked: dict[str, Any]) -> tuple[dict[str, float], tuple[float, float]]:
    """Our terms in bytes without the process itself, and the ends of their sum."""
    codec, steps = CODECS[asked["dtype"]], asked["steps"]
    given = {name: value for name, value in configuration.items() if name != "torch_dtype"}
    model = identify(Inventory("model", "config", "hf", configuration={**given, "dtype": asked["dtype"]}))
    chosen = setting(
        model=model,
        place=locate("64GB"),
        engine="transformers",
        kv=codec,
        batch=asked["batch"],
        prompt=asked["prompt"],
        output=steps,
        context=asked["prompt"] + steps,
    )
    needed = chosen.needed()
    held = {name: getattr(needed, name) for name in TERMS[:-1]}
    ends = (sum(figure.low for figure in held.values()), sum(figure.high for figure in held.values()))
    sizes = {name: figure.value for name, figure in held.items()}
    return {**sizes, "total": sum(sizes.values())}, ends


def compare(
    name: str, configuration: dict[str, Any], source: dict[str, Any], settings: Sequence[dict[str, Any]]
) -> Iterator[Row]:
    """One row a setting. Activations are what the peak has beyond weights and cache."""
    for chosen in settings:
        asked = {"dtype": "float32", "batch": 1, "attention": "eager" if name in EAGER else "sdpa", **chosen}
        if name in ENCODERS:
            asked["steps"] = 0
        said = measure({**asked, **source})
        total = said["weights"] + said["peak"]
        theirs = {"weights": said["weights"], "state": said["state"], "total": total}
        theirs["activations"] = said["peak"] - said["state"]
        ours, (low, high) = predict(configuration, asked)
        words = f"{CODECS[asked['dtype']]}, {asked['batch']} x ({asked['prompt']} + {asked['steps']})"
        yield Row(name, words, ours, theirs, said, low <= total <= high)


def chosen_models(arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, the configuration that weigh is given, and what the child is to build."""
    for pair in arguments.folder:
        name, _, folder = pair.partition("=")
        if not arguments.only or name in arguments.only:
            yield name, json.loads((Path(folder) / "config.json").read_text()), {"folder": folder}
    for name, sizes in MODELS.items():
        if not arguments.only or name in arguments.only:
            yield name, described(sizes), {"configuration": sizes}


def described(sizes: dict[str, Any]) -> dict[str, Any]:
    """The configuration as the class completes it and a checkpoint would carry it."""
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    kind = sizes["model_type"]
    config = AutoConfig.for_model(**sizes)
    names = modeling_auto.MODEL_MAPPING_NAMES if kind in ENCODERS else modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return {**config.to_dict(), "architectures": [names[kind]]}


def render(rows: Sequence[Row]) -> str:
    """A Markdown table: ours and theirs by term, and the difference of the total."""
    head = ["model", "type, sequences x (prompt + generated)", *TERMS[:-1], "total", "measured", "difference", "inside"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row.model, row.setting]
        for name in TERMS[:-1]:
            ours, theirs = row.ours[name] / MIB, row.measured[name] / MIB
            cells.append(f"{ours:.2f} =" if f"{ours:.2f}" == f"{theirs:.2f}" else f"{ours:.2f}, not {theirs:.2f}")
        cells += [f"{row.ours['total'] / MIB:.1f}", f"{row.measured['total'] / MIB:.1f}", f"{100 * row.off:+.1f} %"]
        lines.append("| " + " | ".join([*cells, "yes" if row.inside else "no"]) + " |")
    sizes = [abs(row.off) for row in rows]
    beside = [abs(row.ours["activations"] / row.measured["activations"] - 1) for row in rows]
    lines += [
        "",
        f"Total: at most {100 * max(sizes):.1f} % off, median {100 * median(sizes):.1f} %. Activations alone: at most "
        f"{100 * max(beside):.0f} % off, median {100 * median(beside):.0f} %. Sizes in MiB.",
    ]
    return "\n".join(lines)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=FOLDER", help="a model with weights")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="no others than this")
    parser.add_argument("--markdown", action="store_true", help="print machine and versions above the table")
    parser.add_argument("--live", action="store_true", help="print what was alive at the peak: size and how many")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 where a total is off by more than 5 %."""
    arguments = parse(words)
    rows = []
    for name, configuration, source in chosen_models(arguments):
        for row in compare(name, configuration, source, SETTINGS):
            print(f"{row.model}: {row.setting} {100 * row.off:+.2f} %", file=sys.stderr)
            if arguments.live:
                print(f"  {row.said['live']}", file=sys.stderr)
            rows.append(row)
    if not rows:
        raise SystemExit(f"there is no model {', '.join(arguments.only)}: known are {', '.join(MODELS)}")
    if arguments.markdown:
        said = rows[0].said
        processes = [(row.said["running"] - row.said["imported"] - row.said["weights"]) / MIB for row in rows]
        versions = f"transformers {said['transformers']}, torch {said['torch']}"
        print(f"Measured on {date.today().isoformat()}, {versions}, {platform.platform()}.")
        imported = rows[0].said["imported"] / MIB
        print(f"The process took {imported:.0f} MiB once both were imported, and after a first short run")
        print(f"{min(processes):.0f} to {max(processes):.0f} MiB more than that and the weights.\n")
    print(render(rows))
    return 0 if all(abs(row.off) <= 0.05 for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
