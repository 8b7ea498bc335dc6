"""Train the model of `config.json` as `plan.json` says: PyTorch with FSDP2 (`fully_shard`), started by torchrun.

Both files lie beside this one. `run.sh` starts it; by hand, on one machine:

    torchrun --standalone --nproc-per-node 8 train.py --steps 100 --data tokens.bin

What each choice of the plan becomes:

- `zero` 3: parameters, gradients and optimizer states are divided over dp; parameters are gathered layer by layer.
  2: gathered parameters stay from the forward to the backward pass. 0: every process holds everything, and gradients
  are summed once a step.
- `tp`: heads, hidden values and the vocabulary are divided, as DTensors.
- `microbatch`: sequences at once; a step has batch / (dp x microbatch) of them, whose gradients are summed.
- `recompute` full: of `recompute_every` layers one keeps only its input, and is computed again in the backward pass.
- `precision` bf16: layers compute in bfloat16; the parameters that the optimizer moves and gradients' sums are float32.

Tokens come from a flat file of unsigned integers (`--data`, 16 or 32 bit each as the vocabulary needs), else they are
random. Checkpoints (`--checkpoint FOLDER`) are those of torch.distributed.checkpoint: another number of processes can
read them. Needs torch 2.6 or later and transformers 5.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

STARTER = "WEIGH_STARTER"
"""Variable that names a process without which this one ends; `weigh cost --run` sets it."""
HERE = Path(__file__).resolve().parent
FLASH = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
"""Kernels of attention that never write its scores."""


# --------------------------------------------------------------------------------------------------- the plan


def arguments() -> argparse.Namespace:
    """What may differ from run to run. What the estimate depends on is in the plan."""
    parser = argparse.ArgumentParser(description="Train config.json as plan.json says.")
    parser.add_argument("--steps", type=int, help="Steps in all, those before a checkpoint included.")
    parser.add_argument("--data", type=Path, help="Flat file of token numbers; without it they are random.")
    parser.add_argument("--repeat", action="store_true", help="The first batch at every step: its loss must fall.")
    parser.add_argument("--lr", type=float, default=3e-4, help="Learning rate after warm-up.  [default: 3e-4]")
    parser.add_argument("--warmup", type=int, default=0, help="Steps over which it rises.  [default: 0]")
    parser.add_argument("--weight-decay", type=float, default=0.1, help="Of matrices; vectors have none.")
    parser.add_argument("--clip", type=float, default=1.0, help="Largest norm of all gradients.  [default: 1.0]")
    parser.add_argument("--checkpoint", type=Path, help="Folder to read the last checkpoint from and write them to.")
    parser.add_argument("--every", type=int, default=1000, help="Steps from one checkpoint to the next.")
    parser.add_argument("--seed", type=int, default=0, help="Of the first weights and of random tokens.")
    parser.add_argument("--metrics", type=Path, help="File that gets a line of JSON a step.")
    parser.add_argument("--max-seconds", type=float, default=math.inf, help="Stop after the step that passes them.")
    parser.add_argument("--timeout", type=float, default=600, help="Seconds that a process waits for the others.")
    return parser.parse_args()


def read_plan() -> dict[str, Any]:
    """What weigh planned. Ends with a message where it is unfinished or not for this script."""
    plan: dict[str, Any] = json.loads((HERE / "plan.json").read_text())
    if plan.get("launcher") != "torchrun":
        sys.exit("plan.json: it is unfinished, or was written for another launcher; write it again")
    devices = plan["layout"]["tp"] * plan["layout"]["dp"]
    started = int(os.environ.get("WORLD_SIZE", "0"))
    if started != devices:
        problem = "start this with torchrun" if not started else f"torchrun started {started} processes"
        sys.exit(f"{problem}, and the plan is for {devices} (tp x dp): see run.sh")
    return plan


# -------------------------------------------------------------------------------------------------- the model


def build(plan: dict[str, Any], mesh: DeviceMesh) -> PreTrainedModel:
    """The model without weights (on the meta device), divided as the plan says."""
    layout = plan["layout"]
    config = AutoConfig.from_pretrained(HERE)
    config.use_cache = False
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation="sdpa" if layout["flash_attention"] else "eager"
        )
    if layout["tp"] > 1:
        divide(model, mesh["tp"])
    if layout["recompute"] == "full":
        model.gradient_checkpointing_enable({"use_reentrant": False})
        for index, layer in enumerate(layers(model)):
            layer.gradient_checkpointing = index % layout["recompute_every"] == 0
    wrap(model, plan, mesh)
    model.train()
    return model


def fill(model: PreTrainedModel, mesh: DeviceMesh, device: torch.device, seed: int) -> None:
    """Give it memory and random first weights, each process its pieces: it never exists whole on one device."""
    model.to_empty(device=device)
    model.tie_weights()
    # On a GPU a DTensor takes its piece of what one seed gives. On a CPU it does not: there every piece has its own
    # seed, and the copies of one piece the same.
    own = mesh["shards"].get_local_rank() * mesh["tp"].size() + mesh["tp"].get_local_rank()
    torch.manual_seed(seed if device.type == "cuda" else seed * mesh.size() + own)
    model.initialize_weights()


def layers(model: PreTrainedModel) -> nn.ModuleList:
    """The stack of equal layers: the longest list of modules."""
    return max((module for module in model.modules() if isinstance(module, nn.ModuleList)), key=len)


def divide(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Tensor parallelism as in arXiv 1909.08053: two sums over the processes in a layer's forward pass."""
    columns, rows = ColwiseParallel, RowwiseParallel
    styles: dict[str, ParallelStyle] = {
        "self_attn.q_proj": columns(),
        "self_attn.k_proj": columns(),
        "self_attn.v_proj": columns(),
        "self_attn.o_proj": rows(),
        "mlp.gate_proj": columns(),
        "mlp.up_proj": columns(),
        "mlp.down_proj": rows(),
    }
    for layer in layers(model):
        parallelize_module(layer, mesh, styles)
    parallelize_module(
        model,
        mesh,
        {
            "model.embed_tokens": rows(input_layouts=Replicate()),
            "lm_head": columns(output_layouts=Replicate()),
        },
    )
    model.tie_weights()


def wrap(model: PreTrainedModel, plan: dict[str, Any], mesh: DeviceMesh) -> None:
    """FSDP2: each layer is a group that is gathered at once; tables, last norm and head are one more."""
    whole = plan["layout"]["zero"] == 0
    # A mesh of two axes: over the first parameters are copied, over the second divided.
    over = mesh["copies", "shards"]
    policy = MixedPrecisionPolicy()
    if plan["precision"] == "bf16":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    again = plan["layout"]["zero"] == 3
    for layer in layers(model):
        fully_shard(layer, mesh=over, mp_policy=policy, reshard_after_forward=again)
    fully_shard(model, mesh=over, mp_policy=policy, reshard_after_forward=again and not whole)


def optimizer_of(model: nn.Module, name: str, lr: float, decay: float) -> torch.optim.Optimizer:
    """The optimizer of the plan. One group a mesh and kind: arrays on different meshes cannot be moved together."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault((mesh_of(parameter), parameter.ndim > 1), []).append(parameter)
    told = [{"params": each, "weight_decay": decay if matrix else 0.0} for (_, matrix), each in groups.items()]
    if name == "adamw":
        return torch.optim.AdamW(told, lr=lr, betas=(0.9, 0.95))
    if name == "adam":
        return torch.optim.Adam(told, lr=lr, betas=(0.9, 0.95))
    return torch.optim.SGD(told, lr=lr, momentum=0.9 if name == "momentum" else 0.0)


def mesh_of(parameter: Tensor) -> str:
    """Names of the axes over which an array is spread."""
    return ",".join(parameter.device_mesh.mesh_dim_names or ()) if isinstance(parameter, DTensor) else ""


# --------------------------------------------------------------------------------------------------- the data


def batches(
    plan: dict[str, Any], given: argparse.Namespace, replica: int, first: int, device: torch.device, vocabulary: int
) -> Iterator[list[Tensor]]:
    """For each step the microbatches of this replica, each (sequences, tokens + 1). Resumed, it goes on where it was.

    Every replica takes other sequences; all processes of one replica (tp) take the same.
    """
    layout, training = plan["layout"], plan["training"]
    length, batch, at_once = training["sequence"] + 1, training["batch"], layout["microbatch"]
    own = batch // layout["dp"]
    tokens = None if given.data is None else read_tokens(given.data, vocabulary, batch * length)
    step = first
    while True:
        source = 0 if given.repeat else step
        if tokens is None:
            rng = torch.Generator().manual_seed(given.seed * 2**32 + source)
            found = torch.randint(vocabulary, (batch, length), generator=rng)[replica * own : (replica + 1) * own]
        else:
            steps = len(tokens) // (batch * length)
            start = (source % steps * batch + replica * own) * length
            found = tokens[start : start + own * length].long().view(own, length)
            if int(found.max()) >= vocabulary:
                sys.exit(f"{given.data}: token {int(found.max())} is not in a vocabulary of {vocabulary}")
        yield list(found.to(device).split(at_once))
        step += 1


def read_tokens(path: Path, vocabulary: int, least: int) -> Tensor:
    """A flat file of little-endian unsigned integers, mapped and not read: 16 bit up to 65,536 tokens, else 32."""
    kind = torch.uint16 if vocabulary <= 2**16 else torch.uint32
    size = path.stat().st_size // kind.itemsize if path.is_file() else 0
    if size < least:
        sys.exit(f"{path}: {size} tokens of {8 * kind.itemsize} bit, and a step takes {least}")
    return torch.from_file(str(path), shared=False, size=size, dtype=kind)


# --------------------------------------------------------------------------------------------------- the step


def step_of(
    model: PreTrainedModel, optimizer: torch.optim.Optimizer, parts: list[Tensor], plan: dict[str, Any], clip: float
) -> tuple[Tensor, float]:
    """One step: the loss, mean over all tokens of this replica, and the norm of the gradients before clipping."""
    layout = plan["layout"]
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=parts[0].device)
    for index, part in enumerate(parts):
        if isinstance(model, FSDPModule) and layout["zero"] == 0:
            model.set_requires_gradient_sync(index == len(parts) - 1)
        kernels = sdpa_kernel(FLASH) if layout["flash_attention"] else contextlib.nullcontext()
        with kernels:
            logits = forward(model, part[:, :-1])
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), part[:, 1:].flatten()) / len(parts)
            # Freed by the backward pass only if nobody else holds it.
            del logits
            loss.backward()
        total += loss.detach()
    norm = clip_gradients(model, clip)
    optimizer.step()
    return total, norm


def forward(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Logits, (sequences, tokens, vocabulary). Ends with a message where no kernel of `FLASH` takes the model."""
    try:
        return model(input_ids=tokens).logits
    except RuntimeError as cause:
        if "No available kernel" not in str(cause):
            raise
        sys.exit(
            "flash attention: torch has no such kernel for this model on this device (a CPU has none with dropout); "
            "plan it with --no-flash-attention, or set the attention dropout of config.json to 0"
        )


def clip_gradients(model: nn.Module, most: float) -> float:
    """Scale all gradients so that their common norm is at most `most`; the norm before."""
    by_mesh: dict[str, list[Tensor]] = {}
    for parameter in model.parameters():
        if parameter.grad is not None:
            by_mesh.setdefault(mesh_of(parameter.grad), []).append(parameter.grad)
    squares = 0.0
    for gradients in by_mesh.values():
        norm = nn.utils.get_total_norm(gradients)
        squares += float(norm.full_tensor() if isinstance(norm, DTensor) else norm) ** 2
    whole = math.sqrt(squares)
    if not math.isfinite(whole):
        sys.exit("the gradients are not finite: lower --lr, or look at the data")
    if whole > most:
        for gradients in by_mesh.values():
            torch._foreach_mul_(gradients, most / whole)
    return whole


# -------------------------------------------------------------------------------------------------- checkpoints


def save(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write `step-N`; the file `latest` names it once it is whole."""
    weights, states = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": states}, checkpoint_id=folder / f"step-{step}")
    if dist.get_rank() == 0:
        draft = folder / "latest.tmp"
        draft.write_text(f"{step}\n")
        draft.replace(folder / "latest")
    dist.barrier()


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Read the checkpoint that `latest` names; the steps done, 0 where there is none."""
    if not (folder / "latest").exists():
        return 0
    step = int((folder / "latest").read_text())
    weights, states = get_state_dict(model, optimizer)
    dcp.load({"model": weights, "optimizer": states}, checkpoint_id=folder / f"step-{step}")
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=states)
    return step


# ------------------------------------------------------------------------------------------------------ running


def resident(peak: bool) -> int:
    """Bytes of this process in memory, now or at most; on a GPU those of torch's allocator."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    name = "VmHWM:" if peak else "VmRSS:"
    return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))


def most(value: float, device: torch.device) -> float:
    """The largest of all processes."""
    held = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(held, dist.ReduceOp.MAX)
    return float(held)


def train(plan: dict[str, Any], given: argparse.Namespace, mesh: DeviceMesh, device: torch.device) -> None:
    """All steps, each with a line to read and, with --metrics, one of JSON."""
    model = build(plan, mesh)
    # From here on, so that what libraries take is not counted.
    before = resident(peak=False)
    fill(model, mesh, device, given.seed)
    optimizer = optimizer_of(model, plan["optimizer"], given.lr, given.weight_decay)
    done = load(given.checkpoint, model, optimizer) if given.checkpoint else 0
    steps = given.steps or plan["training"]["steps"]
    first, leader = done, dist.get_rank() == 0
    replica = dist.get_rank() // plan["layout"]["tp"]
    source = batches(plan, given, replica, done, device, model.config.vocab_size)
    started = time.perf_counter()
    if leader and done:
        print(f"goes on after step {done}", flush=True)
    while done < steps and most(time.perf_counter() - started, device) < given.max_seconds:
        for group in optimizer.param_groups:
            group["lr"] = given.lr * min(1.0, (done + 1) / given.warmup) if given.warmup else given.lr
        begin = time.perf_counter()
        loss, norm = step_of(model, optimizer, next(source), plan, given.clip)
        dist.all_reduce(loss)
        mean = float(loss) / dist.get_world_size()
        seconds = time.perf_counter() - begin
        done += 1
        peak = most(resident(peak=True), device)
        if leader:
            tell(given, plan, {"step": done, "loss": mean, "norm": norm, "seconds": seconds, "peak_bytes": int(peak),
                               "before_bytes": before})  # fmt: skip
        if given.checkpoint and done > first and (done % given.every == 0 or done == steps):
            save(given.checkpoint, done, model, optimizer)


def tell(given: argparse.Namespace, plan: dict[str, Any], row: dict[str, Any]) -> None:
    """A step, for the reader and for the file."""
    tokens = plan["training"]["batch"] * plan["training"]["sequence"]
    rate = tokens / row["seconds"]
    print(
        f"step {row['step']:>6}  loss {row['loss']:.4f}  norm {row['norm']:.3f}  {row['seconds']:.3f} s  "
        f"{rate:,.0f} tokens/s  {(row['peak_bytes'] - row['before_bytes']) / 2**30:.2f} GiB",
        flush=True,
    )
    if given.metrics:
        with given.metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")


def end_with_the_starter() -> None:
    """End this process when torchrun is gone, or who started that: nobody would end it otherwise."""
    parent, starter = os.getppid(), int(os.environ.get(STARTER, "0"))

    def watch() -> None:
        while os.getppid() == parent and (not starter or alive(starter)):
            time.sleep(1)
        os._exit(1)

    if os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()


def alive(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main() -> None:
    """One process of as many as the plan has devices."""
    given = arguments()
    end_with_the_starter()
    plan = read_plan()
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    # What it warns of is met in `build`.
    warnings.filterwarnings("ignore", "DTensor random operators")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(seconds=given.timeout))
    layout = plan["layout"]
    whole = layout["zero"] == 0
    shape = (layout["dp"] if whole else 1, 1 if whole else layout["dp"], layout["tp"])
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=("copies", "shards", "tp"))
    try:
        train(plan, given, mesh, device)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
    # Without the interpreter's own end: threads of gloo that still let go of tensors while it closes abort the process
    # (github.com/pytorch/pytorch/pull/179291), and torchrun would call a finished training failed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
