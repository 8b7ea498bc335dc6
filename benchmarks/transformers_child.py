"""Run one model in transformers and count every byte that PyTorch allocates, in a process of its own.

Run as `python benchmarks/transformers_child.py ORDER` with the order as JSON: `folder` of a model, or `configuration`
for one with random weights, `dtype`, `attention`, `batch`, `prompt`, `steps`. The last line of stdout is a JSON object
of bytes: weights, the cache at the end, and the most that was allocated at once by forward passes as `generate` runs
them. Allocations are the events that PyTorch's profiler gets from the CPU allocator: sizes as asked for.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any


def build(order: dict[str, Any]) -> Any:
    """The model with its own weights, or with random ones in the sizes of a configuration."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    how = {"dtype": getattr(torch, order["dtype"]), "attn_implementation": order["attention"]}
    if "folder" in order:
        loaded: Any = AutoModelForCausalLM.from_pretrained(order["folder"], **how)
        return loaded.eval()
    sizes = dict(order["configuration"])
    config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
    kind: Any = AutoModelForCausalLM if order["steps"] else AutoModel
    return kind.from_config(config, **how).eval()


def passes(model: Any, ids: Any, steps: int) -> Any:
    """The prompt and then `steps` tokens one by one, as greedy `generate` runs them; gives the cache."""
    import torch

    with torch.no_grad():
        if not steps:
            model(ids)
            return None
        given = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=steps + 1,
            do_sample=False,
            return_dict_in_generate=True,
        )
        return given.past_key_values


def held(cache: Any) -> int:
    """Bytes of the arrays that a cache points to, each once; of a view what it keeps alive."""
    import torch

    seen: dict[int, int] = {}
    waiting, known = [cache], set()
    while waiting:
        one = waiting.pop()
        if id(one) in known:
            continue
        known.add(id(one))
        if isinstance(one, torch.Tensor):
            seen[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif hasattr(one, "__dict__"):
            waiting += vars(one).values()
    return sum(seen.values())


def allocations(run: Any) -> list[int]:
    """Sizes in the order in which they were asked for; what is given back is negative."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def highest(sizes: list[int]) -> tuple[int, Counter[int]]:
    """The most at once, and the sizes that it consists of."""
    now, most, place = 0, 0, 0
    for number, size in enumerate(sizes):
        now += size
        if now > most:
            most, place = now, number
    live: Counter[int] = Counter()
    for size in sizes[: place + 1]:
        live[abs(size)] += 1 if size > 0 else -1
    return most, live


def resident(name: str = "VmRSS") -> int:
    """Bytes of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> int:
    order = json.loads(sys.argv[1])
    import torch
    import transformers

    torch.manual_seed(0)
    imported = resident()
    model = build(order)
    if order["steps"]:
        # Random weights may end a text at any token.
        model.generation_config.eos_token_id = None
    weights = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in model.state_dict().values()}
    ids = torch.randint(3, 1000, (order["batch"], order["prompt"]))
    # Of the first passes some allocate what stays: tables of rotations, kernels' own memory.
    passes(model, ids[:, :2], min(1, order["steps"]))
    running = resident()
    kept: list[Any] = []
    most, live = highest(allocations(lambda: kept.append(passes(model, ids, order["steps"]))))
    said = {
        "weights": sum(weights.values()),
        "state": held(kept[0]),
        "peak": most,
        "imported": imported,
        "running": running,
        "resident_peak": resident("VmHWM"),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "live": sorted(((size, count) for size, count in live.items() if count > 0), reverse=True)[:16],
    }
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
