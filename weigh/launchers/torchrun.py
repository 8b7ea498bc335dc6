"""PyTorch by itself: a script with FSDP2 to start from, the configuration of the model, and what starts it.

The script is `torchrun_script.py`, which stands here as code and is written as it is: the plan is read at run time.
"""

from __future__ import annotations

import json
from pathlib import Path

from weigh.launchers.launcher import (
    Launcher,
    Setup,
    first,
    no_selective,
    only_degrees,
    only_optimizers,
    only_precisions,
    refusal,
)
from weigh.launchers.shell import start
from weigh.types import WeighError

SCRIPT = Path(__file__).with_name("torchrun_script.py")
ID = "torchrun"
DIVIDED = frozenset({"llama", "mistral", "qwen2"})
"""Classes of transformers 5.23 whose layers the script's table of tensor parallelism cuts, with nothing left over:
the `base_model_tp_plan` of models/{llama,mistral,qwen2}/configuration_*.py has the same seven rows."""
CAUSAL = ("ForCausalLM", "LMHeadModel")
"""How classes end that `AutoModelForCausalLM` builds."""


def refuses(setup: Setup) -> WeighError | None:
    """What the script cannot do."""
    layout = setup.layout
    return first(
        _configuration(setup),
        only_degrees(setup, ID, ("tp",), "torchtitan or megatron have it; or dp=...,zero=3"),
        only_precisions(setup, ID, ("fp32", "bf16")),
        only_optimizers(setup, ID, ("adamw", "adam", "sgd", "momentum")),
        no_selective(setup, ID),
        refusal(ID, "divides gradients together with the optimizer's states", "zero=2") if layout.zero == 1 else None,
        refusal(ID, "divides no whole rows", "--no-sequence-parallel") if layout.sequence_parallel else None,
        _tensor(setup),
    )


def _configuration(setup: Setup) -> WeighError | None:
    found = setup.model.inventory.configuration
    if not found or "model_type" not in found:
        return refusal(ID, "builds a model from its configuration, and there is none", "name a folder with config.json")
    named = found.get("architectures") or ()
    if named and not str(named[0]).endswith(CAUSAL):
        return refusal(ID, f"trains causal language models, and this is {named[0]}")
    return None


def _tensor(setup: Setup) -> WeighError | None:
    if setup.layout.tp == 1:
        return None
    kind, heads = setup.model.model_type, setup.model.dimensions.get("kv_heads", 1)
    if kind not in DIVIDED:
        hint = f"it does those of {', '.join(sorted(DIVIDED))}; or tp=1,zero=3"
        return refusal(ID, f"does not divide the layers of `{kind}` (tp = {setup.layout.tp})", hint)
    if heads % setup.layout.tp:
        return refusal(ID, f"repeats no heads of keys: {heads} of them over tp = {setup.layout.tp}", "a smaller tp")
    if setup.model.dimensions["vocabulary"] % setup.layout.tp:
        return refusal(ID, f"divides the vocabulary evenly, not by tp = {setup.layout.tp}", "a tp that divides it")
    return None


DROPPED = frozenset({"auto_map", "quantization_config", "_name_or_path"})
"""Keys that name code of a repository, codecs of a stored file and a path: none of them of a model that is trained."""


def write(setup: Setup) -> dict[str, str]:
    """`train.py`, `config.json` and `run.sh`."""
    kept = {key: value for key, value in (setup.model.inventory.configuration or {}).items() if key not in DROPPED}
    return {
        "train.py": SCRIPT.read_text(encoding="utf-8"),
        "config.json": json.dumps(kept, indent=2, sort_keys=True) + "\n",
        "run.sh": start(setup, 'torchrun {places} "$here/train.py" "$@"'),
    }


def notes(setup: Setup) -> tuple[str, ...]:
    """In what the script differs from what is estimated."""
    found = [
        "tokens are random until `--data FILE` names some (flat 16 or 32-bit numbers)",
        "`--lr` is 3e-4 unless given, and stays so after `--warmup`",
    ]
    if setup.precision.id == "bf16":
        found.append(
            "gradients are summed in float32 and bfloat16 copies exist only while a group computes: states of 16 bytes "
            "a parameter, as estimated, held as 4 + 4 + 8"
        )
    if setup.layout.zero == 0:
        found.append("zero=0: parameters and gradients are held in float32 by every process")
    return tuple(found)


TORCHRUN = Launcher(
    id=ID,
    name="torchrun with FSDP2",
    version="torch 2.13, transformers 5.23",
    refuses=refuses,
    write=write,
    notes=notes,
    source="torch 2.13.0 (package: torch/distributed/run.py, fsdp/_fully_shard, tensor/parallel, checkpoint); "
    "transformers 5.23.0 (package: modeling_utils.py, models/llama)",
)
