"""How fast layouts are searched: 175 billion parameters on 1,024 devices, beside calculon's time a plan.

    python -m benchmarks.plan_search [PYTHON FOLDER]

PYTHON runs calculon (github.com/calculon-ai/calculon, Apache-2.0) from its checkout in FOLDER; its `pip install` needs
are those of that checkout. CPU seconds of one thread, the least of several runs.
"""

from __future__ import annotations

import subprocess
import sys
import time

from weigh.commands.setting import locate
from weigh.commands.source import load
from weigh.cost.train.layout import Training
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.cost.train.search import Task, search

RUNS = 5
CALCULON = """
import logging, sys, time
sys.path.insert(0, ".")
import calculon
from calculon.llm import *
model = Llm.Application(calculon.read_json_file("models/gpt3-175B.json"))
system = System(calculon.read_json_file("systems/a100_80g.json"))
plan = calculon.read_json_file("validation/seqsel/tab5/gpt3-175B_seqsel.json")
plan.update(num_procs=1024, data_par=16, batch_size=1536)
log = logging.getLogger()
least = float("inf")
for _ in range(50):
    start = time.process_time()
    one = Llm(model, log)
    one.compile(system, Llm.Execution.from_json(plan))
    one.run(system)
    least = min(least, time.process_time() - start)
print(least)
"""


def ours() -> tuple[int, float]:
    """Legal layouts, and CPU seconds to rank them all."""
    place = locate("a100x1024")
    capacity = None if place.capacity is None else place.capacity / place.cluster.count
    model, step = load("gpt-3-175b"), Training(1536, 2048)
    task = Task(model, step, place.cluster, capacity, find_optimizer("adamw"), find_precision("bf16"), {})
    legal, least = 0, float("inf")
    for _ in range(RUNS):
        start = time.process_time()
        legal = search(task).legal
        least = min(least, time.process_time() - start)
    return legal, least


def main(arguments: list[str]) -> None:
    legal, seconds = ours()
    print(f"weigh: {legal:,} layouts in {seconds:.3f} CPU s, {1e6 * seconds / legal:.2f} us a layout")
    if arguments:
        python, folder = arguments
        done = subprocess.run([python, "-c", CALCULON], cwd=folder, capture_output=True, text=True, check=True)
        each = float(done.stdout)
        print(f"calculon: {1e3 * each:.2f} ms a plan, so {each * legal:,.0f} s for as many")


if __name__ == "__main__":
    main(sys.argv[1:])
