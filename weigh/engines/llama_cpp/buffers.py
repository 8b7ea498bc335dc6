"""The buffers that llama.cpp allocates when it loads a model on a CPU: weights, KV cache, compute, output.

Each function gives the bytes behind one line of llama.cpp's log, so that a prediction can be held against it:
`CPU_Mapped model buffer size`, `CPU_REPACK model buffer size`, `CPU KV buffer size`, `CPU compute buffer size`,
`CPU  output buffer size`. They take plain facts (tensors, states, settings) and know no family.

Source: llama.cpp as packed in xllamacpp 2026.10.11549; the file is named in each function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from weigh.codecs import by_id
from weigh.engines.llama_cpp.allocator import ALIGNMENT, Graph, peak_bytes, peaks
from weigh.engines.llama_cpp.decoder import Decoder, Run, decoder_graph, shortened
from weigh.numbers import Number, larger, smaller, up
from weigh.once import once
from weigh.types import Piece, State, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CELLS = 256
"""Contexts and windows are rounded up to a multiple of this (src/llama-context.cpp, src/llama-kv-cache-iswa.cpp)."""

PER_SEQUENCE = frozenset({"conv", "shift", "recurrent", "pending"})
"""Kinds of state that are kept in float32, one row a sequence slot (src/llama-memory-recurrent.cpp)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How llama.cpp is started, as far as memory depends on it."""

    context: Number = 8192
    """Tokens a sequence; llama.cpp's own `n_ctx` is that of all sequences together."""
    sequences: Number = 1
    key_codec: str = "f16"
    value_codec: str = "f16"
    batch: int = 2048
    micro_batch: int = 512
    flash: bool = True
    """On or automatic: on a CPU automatic always turns it on."""
    unified: bool = False
    """All sequences share one cache."""
    outputs: int = 0
    """Tokens of a micro-batch whose logits are kept; 0 = one a sequence, as the server asks for."""
    threads: int = 2

    @property
    def streams(self) -> Number:
        """Separate caches."""
        return 1 if self.unified else self.sequences

    @property
    def cells(self) -> Number:
        """Of one cache that keeps everything."""
        return up(self.context * (self.sequences if self.unified else 1), CELLS)

    @property
    def tokens(self) -> Number:
        """Largest micro-batch: never more than the batch, which is never more than the context asked for."""
        return smaller(min(self.micro_batch, self.batch), self.context * self.sequences)

    def window_cells(self, window: int) -> Number:
        """Of one cache that keeps a window: room for the window (each sequence's) and the tokens coming in."""
        return up(smaller(self.cells, window * (self.sequences if self.unified else 1) + self.tokens), CELLS)


def _row_bytes(values: int, codec: str) -> int:
    kind = by_id(codec)
    return -(-values // kind.block) * kind.block_bytes


# ------------------------------------------------------------------------------------------------------ state


def state_bytes(states: Sequence[State], settings: Settings) -> Number:
    """KV cache and recurrent state: the sum of the `KV buffer size` and `RS buffer size` lines.

    A layer with attention keeps cells x streams rows of kv_heads x key_width keys and as many values, each tensor
    rounded up to 32 bytes. Cells are the context, or window + micro-batch where the layer has a window, rounded up
    to 256. Without flash attention values are stored transposed, and all layers take the widest layer's rows.
    Latent attention (MLA) keeps the latent row with the rotated part of the key and no values. Convolutions and
    recurrences keep their rows in float32, as many a sequence as they say. A state shared with another layer's takes
    nothing.
    Source: src/llama-kv-cache.cpp, src/llama-kv-cache-iswa.cpp, src/llama-context.cpp (padding),
    src/llama-memory-recurrent.cpp.
    Ignores: cross attention, of which no architecture is modelled; windows that the architecture does not honour
    (the caller drops them). The cell bookkeeping is part of the overhead.
    Off by: 0 for kv states; latent and recurrent ones were not measured.
    """
    own = [state for state in states if not state.shared_with]
    widest = max((state.heads * state.value_width for state in own if state.kind == "kv"), default=0)
    total = 0
    for state, layers in Counter(own).items():
        if state.kind in PER_SEQUENCE:
            total += layers * up(state.row * state.rows_after(settings.context) * 4 * settings.sequences, ALIGNMENT)
            continue
        cells = settings.cells if state.window is None else settings.window_cells(state.window)
        cells //= state.rate
        row = _row_bytes(state.heads * state.key_width, settings.key_codec)
        total += layers * up(row * cells * settings.streams, ALIGNMENT)
        if state.kind == "kv":
            width = state.heads * state.value_width if settings.flash else widest
            total += layers * up(_row_bytes(width, settings.value_codec) * cells * settings.streams, ALIGNMENT)
    return total


# ----------------------------------------------------------------------------------------------------- weights

_REPACKED: Mapping[str, tuple[tuple[str, int], ...]] = {
    "q4_0": (("avx2", 8), ("i8mm", 4), ("dotprod", 4)),
    "q4_k": (("avx2", 8), ("i8mm", 8), ("dotprod", 8)),
    "q2_k": (("avx512f", 8),),
    "q5_k": (("i8mm", 8), ("dotprod", 8)),
    "q6_k": (("i8mm", 8), ("dotprod", 8)),
    "iq4_nl": (("avx2", 8), ("dotprod", 4)),
    "mxfp4": (("avx2", 8), ("dotprod", 4)),
    "q8_0": (("i8mm", 4), ("dotprod", 4)),
    "q1_0": (("i8mm", 4), ("dotprod", 4)),
}
"""Codec to (instruction set, rows must be a multiple of): `ggml_repack_get_optimal_repack_type` in
ggml/src/ggml-cpu/repack.cpp. Left out: RISC-V, s390x, and the AMX and KleidiAI buffers, which stand in front of
this one where a build has them."""

_LOOKED_UP = ("token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.", "ssm_conv1d.")
"""Read row by row or convolved, never multiplied: stay as they are."""


def is_repacked(name: str, codec: str, shape: Sequence[int], features: frozenset[str]) -> bool:
    """Whether llama.cpp keeps a rearranged copy of a weight for faster matrix products.

    It does so for weights that are multiplied, of two axes (or three: experts), in a codec for which the build has
    a kernel, if the rows divide by the kernel's width. `features` are the instruction sets that llama.cpp was
    *built* for and the CPU has: a wheel built for AVX2 uses no AVX-512 anywhere.
    Source: ggml/src/ggml-cpu/repack.cpp; src/llama-model-loader.cpp (which operation a weight is used with).
    """
    if len(shape) not in (2, 3) or shape[-2] == 1 or any(part in name for part in _LOOKED_UP):
        return False
    return any(need in features and shape[-2] % rows == 0 for need, rows in _REPACKED.get(codec, ()))


def weight_buffers(tensors: Sequence[Tensor], features: frozenset[str]) -> Mapping[str, int]:
    """`mapped` and `repacked`: the sums of the `CPU_Mapped` and `CPU_REPACK model buffer size` lines.

    With memory mapping (the default) nothing is copied: of each file the mapped buffer is the range from the
    first to the last byte of the tensors that stay as they are, whatever lies between, repacked tensors included.
    Repacked tensors are copied, each rounded up to 32 bytes. Without `output.weight` the embedding serves as the
    head too, and is copied as well if its codec is repacked.
    Source: src/llama-model-loader.cpp (`get_mapping_range`, `create_tensor`), src/llama-model.cpp (`load_tensors`).
    Ignores: tensors that the architecture does not use, if they lie at an end of a file.
    Off by: 0.
    """
    repacked = 0
    plain: list[Piece] = []
    tied = not any(tensor.name == "output.weight" for tensor in tensors)
    for tensor in tensors:
        size = up(tensor.nbytes, ALIGNMENT)
        if tied and tensor.name == "token_embd.weight" and is_repacked("output.", tensor.codec, tensor.shape, features):
            repacked += size
        if is_repacked(tensor.name, tensor.codec, tensor.shape, features):
            repacked += size
        else:
            plain += tensor.pieces
    return {"mapped": sum(_span(plain)), "repacked": repacked}


def _span(pieces: Iterable[Piece]) -> list[int]:
    """Of each file, bytes from the first piece's start to the last one's end."""
    ordered = sorted(pieces, key=lambda piece: piece.file)
    spans = []
    for _, group in groupby(ordered, key=lambda piece: piece.file):
        held = list(group)
        spans.append(max(piece.offset + piece.nbytes for piece in held) - min(piece.offset for piece in held))
    return spans


def in_one_file(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Tensors as a GGUF file would hold them: one after another, each at a multiple of 32 bytes.

    For models that are not GGUF yet. The order decides only what the mapped range includes.
    """
    placed = []
    offset = 0
    for tensor in tensors:
        placed.append(replace(tensor, pieces=(Piece("model.gguf", offset, tensor.nbytes),)))
        offset = up(offset + tensor.nbytes, ALIGNMENT)
    return tuple(placed)


# ------------------------------------------------------------------------------------------- compute and output


def output_buffer_bytes(vocabulary: int, settings: Settings) -> Number:
    """Logits of the last token of each sequence in float32: vocabulary x sequences x 4.

    Source: src/llama-context.cpp (`output_reserve`). Ignores: embeddings as output, and batches that ask for the
    logits of more tokens, for which the buffer grows. Off by: 0.
    """
    return vocabulary * settings.sequences * 4


def _rotation(widths: set[int], codec: str, grows: bool) -> int:
    """Size of the Hadamard matrix that precedes quantization, for heads of one width that divides by 64."""
    if by_id(codec).block == 1 or len(widths) != 1:
        return 0
    width = widths.pop()
    if width % 64:
        return 0
    size = 64
    while grows and width % (2 * size) == 0:
        size *= 2
    return size


def runs(decoder: Decoder, settings: Settings, window: int | None) -> tuple[Run, Run]:
    """The two graphs that llama.cpp reserves for: the largest prompt micro-batch, and one token a sequence."""
    streams, sequences = settings.streams, settings.sequences
    prompt = Run(
        tokens=up(settings.tokens, sequences),
        streams=streams,
        outputs=smaller(settings.tokens, sequences if settings.outputs == 0 else settings.outputs),
        cells=settings.cells,
        window_cells=settings.window_cells(window) if window is not None else 0,
        flash=settings.flash,
        rotate_keys=_rotation({layer.key_width for layer in decoder.layers}, settings.key_codec, grows=True),
        rotate_values=_rotation({layer.value_width for layer in decoder.layers}, settings.value_codec, grows=False),
    )
    return prompt, replace(prompt, tokens=sequences, outputs=sequences)


def compute_buffer_bytes(decoder: Decoder, settings: Settings, window: int | None = None) -> Number:
    """Intermediate arrays of the largest micro-batch: the `compute buffer size` line.

    The larger of the two reserved graphs, each laid out by ggml's allocator (`allocator`). With T tokens in
    the micro-batch, the terms that decide are, in float32: the stream of width x T (four to six copies: the
    residual, the layer's own, and inputs for vectors in place of ids), hidden x T twice in a gated layer (used
    experts times that with experts), the mask of cells x T (2 bytes with flash attention, else 4), heads x cells
    x T scores without flash attention, and vocabulary x outputs logits.
    Source: src/llama-context.cpp (`sched_reserve`, `graph_reserve`) and the modules named above.
    Ignores: GPUs, LoRA adapters, control vectors, samplers in the graph, embeddings as output.
    Off by: 0 for the architectures in `EXACT`; not measured for others.
    """
    alike = replace(settings, context=0, sequences=0, threads=0)
    if isinstance(settings.context, int) and isinstance(settings.sequences, int):
        return _of_one(decoder, settings.context, settings.sequences, alike, window)
    import numpy as np

    grids = (np.asarray(settings.context, np.int64), np.asarray(settings.sequences, np.int64))
    contents = tuple((grid.shape, grid.tobytes()) for grid in grids)
    return _of_many(decoder, contents, alike, window)


@once(4096)
def _of_one(decoder: Decoder, context: int, sequences: int, alike: Settings, window: int | None) -> Number:
    return _largest(decoder, replace(alike, context=context, sequences=sequences), window)


@once(8)
def _of_many(
    decoder: Decoder, contents: tuple[tuple[tuple[int, ...], bytes], ...], alike: Settings, window: int | None
) -> Number:
    """Of arrays of contexts and sequences: a sweep asks for the same ones for every device and form of the weights."""
    import numpy as np

    context, sequences = (np.frombuffer(held, np.int64).reshape(shape) for shape, held in contents)
    return _largest(decoder, replace(alike, context=context, sequences=sequences), window)


def _largest(decoder: Decoder, settings: Settings, window: int | None) -> Number:
    short = shortened(decoder)
    prompt, step = (_peak(short, run) for run in runs(short, settings, window))
    return larger(prompt, step)


def _peak(decoder: Decoder, run: Run) -> Number:
    """Of one graph, or of many whose tokens, sequences and cells are arrays: each different one is laid out once."""
    sizes = (run.tokens, run.streams, run.outputs, run.cells, run.window_cells)
    if all(isinstance(size, int) for size in sizes):
        return peak_bytes(decoder_graph(decoder, run))
    import numpy as np

    spread = np.broadcast_arrays(*sizes)
    different, where = np.unique(np.stack([size.ravel() for size in spread]), axis=1, return_inverse=True)

    def graph_of(numbers: NDArray[np.intp]) -> Graph:
        tokens, streams, outputs, cells, window_cells = different[:, numbers]
        some = replace(run, tokens=tokens, streams=streams, outputs=outputs, cells=cells, window_cells=window_cells)
        return decoder_graph(decoder, some)

    return peaks(different.shape[1], graph_of)[where].reshape(spread[0].shape)
