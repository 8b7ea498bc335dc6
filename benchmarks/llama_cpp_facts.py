"""What weigh's formulas need to know of a GGUF file: as `weigh cost` understands it, else by the `gguf` package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFReader

from weigh.codecs import from_ggml
from weigh.engines import llama_cpp
from weigh.engines.llama_cpp.decoder import Decoder, Layer
from weigh.families.identify import identify
from weigh.formats import read
from weigh.types import Device, Job, Piece, State, Tensor, Workload


@dataclass(frozen=True)
class Facts:
    """A model as the formulas see it."""

    tensors: tuple[Tensor, ...]
    states: tuple[State, ...]
    decoder: Decoder
    window: int | None
    merges: int | None


def _tensors(reader: GGUFReader, file: str) -> tuple[Tensor, ...]:
    found = []
    for one in reader.tensors:
        codec = from_ggml(int(one.tensor_type))
        assert codec is not None
        shape = tuple(int(axis) for axis in reversed(one.shape))
        piece = Piece(file, int(one.data_offset), int(one.n_bytes))
        found.append(Tensor(one.name, shape, codec.id, (piece,)))
    return tuple(found)


def _windowed(architecture: str, layer: int) -> bool:
    """The patterns that llama.cpp gives these architectures (src/models/gemma2.cpp, gemma3.cpp)."""
    return {"gemma2": layer % 2 == 0, "gemma3": layer % 6 < 5}.get(architecture, False)


def read_facts(path: Path) -> Facts:
    """The model on the very way that `weigh cost` takes; only an architecture that no family knows is read here."""
    model = identify(read(path))
    host = Device("host", "host", "", "host")
    if model.refusal is not None or llama_cpp.refuses(model, host) is not None:
        return _without_a_family(path)
    tensors = model.inventory.tensors
    job = Job(model, tensors, Workload(), host)
    states = llama_cpp.states(model)
    window = next((state.window for state in states if state.window is not None), None)
    return Facts(tensors, states, llama_cpp.decoder(job), window, llama_cpp.merges(model))


def _without_a_family(path: Path) -> Facts:
    """Tensors, states and layers of a decoder by its metadata alone."""
    reader = GGUFReader(path)

    def value(key: str, default: Any = None) -> Any:
        held = reader.get_field(key)
        return default if held is None else held.contents()

    architecture = value("general.architecture")

    def dimension(key: str, default: int = 0) -> int:
        return int(value(f"{architecture}.{key}", default))

    heads = dimension("attention.head_count")
    kv_heads = dimension("attention.head_count_kv", heads)
    width = dimension("embedding_length")
    head_dim = dimension("attention.key_length", width // heads)
    tensors = _tensors(reader, path.name)
    shapes = {one.name: one.shape for one in tensors}
    window = dimension("attention.sliding_window") or None
    layers, states = [], []
    for number in range(dimension("block_count")):
        start = f"blk.{number}."
        held = {name.removeprefix(start): shape for name, shape in shapes.items() if name.startswith(start)}
        windowed = window is not None and _windowed(architecture, number)
        layers.append(Layer(heads, kv_heads, head_dim, head_dim, held, windowed))
        states.append(State("kv", head_dim, head_dim, kv_heads, window if windowed else None))
    outer = {name: shape for name, shape in shapes.items() if not name.startswith("blk.")}
    used = dimension("expert_used_count")
    decoder = Decoder(architecture, tuple(layers), width, shapes["token_embd.weight"][0], outer, used)
    merges = len(value("tokenizer.ggml.merges", []))
    return Facts(tensors, tuple(states), decoder, window if any(one.windowed for one in layers) else None, merges)
