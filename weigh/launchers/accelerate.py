"""Accelerate: the configuration of `accelerate launch`, for a training script of the reader's own.

It says how processes are started and how the model is divided. What a step is (microbatch, accumulation, sequence,
optimizer) is the script's in Accelerate: `plan.json` tells it, and a note says so.
"""

from __future__ import annotations

import json
from typing import Any

from weigh.launchers.launcher import (
    Launcher,
    Setup,
    every_layer,
    first,
    no_selective,
    only_degrees,
    only_optimizers,
    only_precisions,
    refusal,
)
from weigh.launchers.shell import start
from weigh.types import WeighError

ID = "accelerate"
CONFIGURATION = "accelerate.json"
_ASK = (
    ': "${MASTER:?name the first machine: MASTER=host:29500}" "${NODE_RANK:?number this machine from 0: NODE_RANK=0}"'
)
_MANY = ' --main_process_ip "${MASTER%%:*}" --main_process_port "${MASTER##*:}" --machine_rank "$NODE_RANK"'


def refuses(setup: Setup) -> WeighError | None:
    """What its FSDP2 and its plain data parallelism cannot do."""
    layout = setup.layout
    return first(
        only_degrees(setup, ID, ("tp", "cp"), "dp=...,zero=3"),
        only_precisions(setup, ID, ("fp32", "bf16")),
        only_optimizers(setup, ID, ("adamw", "adam", "sgd", "momentum")),
        no_selective(setup, ID),
        every_layer(setup, ID),
        refusal(ID, "divides gradients together with the optimizer's states", "zero=2") if layout.zero == 1 else None,
        refusal(ID, "divides no whole rows", "--no-sequence-parallel") if layout.sequence_parallel else None,
        _undivided(setup),
    )


def _undivided(setup: Setup) -> WeighError | None:
    """Tensor and context parallelism and computing again are those of FSDP2, which needs devices to divide over."""
    layout = setup.layout
    needs = layout.tp > 1 or layout.cp > 1 or layout.recompute == "full"
    if needs and layout.zero == 0:
        return refusal(ID, "has tp, cp and --recompute full only together with FSDP2", "zero=2 or zero=3")
    if layout.zero and layout.shards == 1:
        return refusal(
            ID, f"has FSDP2 only over several devices: zero = {layout.zero} and dp x cp = 1", "dp=2, or zero=0"
        )
    return None


def write(setup: Setup) -> dict[str, str]:
    """`accelerate.json` and `run.sh`, which takes the reader's script as its first word."""
    command = f'accelerate launch --config_file "$here/{CONFIGURATION}"'
    many = setup.nodes > 1
    return {
        CONFIGURATION: json.dumps(_configuration(setup), indent=2) + "\n",
        "run.sh": start(setup, f'{command}{_MANY if many else ""} "$@"', before=_ASK if many else ""),
    }


def _configuration(setup: Setup) -> dict[str, Any]:
    layout = setup.layout
    plain = "NO" if layout.devices == 1 else "MULTI_GPU"
    found: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "FSDP" if layout.zero else plain,
        "mixed_precision": "bf16" if setup.precision.id == "bf16" else "no",
        "num_machines": setup.nodes,
        "num_processes": layout.devices,
    }
    if layout.zero:
        found["fsdp_config"] = {
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": layout.zero == 3,
            "fsdp_activation_checkpointing": layout.recompute == "full",
            "fsdp_state_dict_type": "SHARDED_STATE_DICT",
        }
        found["parallelism_config"] = {
            "parallelism_config_dp_replicate_size": 1,
            "parallelism_config_dp_shard_size": layout.dp,
            "parallelism_config_tp_size": layout.tp,
            "parallelism_config_cp_size": layout.cp,
        }
    return found


def notes(setup: Setup) -> tuple[str, ...]:
    """What Accelerate leaves to the script."""
    layout, training = setup.layout, setup.training
    found = [
        "the training script is yours: `bash run.sh train.py`",
        f"in the script: {layout.microbatch} sequences of {training.sequence:,} tokens a batch, "
        f"gradient_accumulation_steps={setup.microbatches}, optimizer {setup.optimizer.id}; plan.json has them too",
    ]
    if layout.flash_attention:
        found.append("in the script: an attn_implementation that never writes the scores")
    if layout.tp > 1:
        found.append("in the script: the model is loaded with a tp_plan over the mesh of Accelerate")
    return tuple(found)


ACCELERATE = Launcher(
    id=ID,
    name="Accelerate",
    version="accelerate 1.15",
    refuses=refuses,
    write=write,
    notes=notes,
    source="accelerate 1.15.0 (package: commands/config/config_args.py, utils/launch.py, parallelism_config.py)",
)
