"""Small models of llama's shape with random weights, in any codec that ggml runs: something to measure an engine with.

What the values are makes no difference to how long a step takes, so one stretch of random blocks is written again and
again. A codec that is to be measured has the places of its scales in `SCALES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from weigh import codecs
from weigh.formats import gguf_write
from weigh.formats.gguf_write import Typed
from weigh.types import NewTensor, WeighError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCALES: Mapping[str, tuple[int, ...]] = {
    "q4_0": (0,),
    "q4_1": (0, 2),
    "q5_0": (0,),
    "q5_1": (0, 2),
    "q8_0": (0,),
    "q2_k": (80, 82),
    "q3_k": (108,),
    "q4_k": (0, 2),
    "q5_k": (0, 2),
    "q6_k": (208,),
    "iq4_nl": (0,),
    "iq4_xs": (0,),
}
"""Where half-precision scales stand in a block (ggml-common.h). Everything else in a block may be any bits."""
FLOATS = ("f32", "f16", "bf16")

_SCALE = 0.0005
"""Of a block: small, so that no sum leaves half precision."""
_POOL = 2**18
"""Values of the stretch that is written again and again; it divides by every block."""
_BYTES = 256
"""Tokens of a byte-level vocabulary; more are made up."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of a model; the head is the embedding."""

    codec: str
    layers: int
    width: int = 1024
    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 64
    hidden: int = 2816
    vocabulary: int = 264
    context: int = 16384

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Those of a layer, rows first."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "attn_q": (wide, self.width),
            "attn_k": (narrow, self.width),
            "attn_v": (narrow, self.width),
            "attn_output": (self.width, wide),
            "ffn_gate": (self.hidden, self.width),
            "ffn_up": (self.hidden, self.width),
            "ffn_down": (self.width, self.hidden),
        }

    @property
    def layer_parameters(self) -> int:
        """Of the matrices of a layer."""
        return sum(rows * columns for rows, columns in self.matrices().values())

    @property
    def layer_bytes(self) -> int:
        """Of the matrices of a layer, as stored."""
        codec = codecs.by_id(self.codec)
        return self.layer_parameters // codec.block * codec.block_bytes


def write(shape: Shape, path: Path) -> Path:
    """The model as a GGUF file. Errors: WeighError SAMPLE-CODEC for a codec whose blocks are not known here."""
    pool = _pool(shape.codec)
    layer = shape.matrices()
    tensors = [_table(shape)]
    for number in range(shape.layers):
        start = f"blk.{number}."
        tensors += [_ones(f"{start}{name}.weight", shape.width) for name in ("attn_norm", "ffn_norm")]
        tensors += [
            NewTensor(f"{start}{name}.weight", size, shape.codec, partial(_repeated, pool, shape.codec, size))
            for name, size in layer.items()
        ]
    tensors.append(_ones("output_norm.weight", shape.width))
    gguf_write.write(path, tensors, _metadata(shape))
    return path


def _metadata(shape: Shape) -> dict[str, str | Typed]:
    tokens = _vocabulary(shape.vocabulary)
    counts = {
        "context_length": shape.context,
        "embedding_length": shape.width,
        "block_count": shape.layers,
        "feed_forward_length": shape.hidden,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "rope.dimension_count": shape.head_dim,
        "vocab_size": shape.vocabulary,
    }
    return {
        "general.architecture": "llama",
        "general.name": "weigh bench",
        **{f"llama.{key}": Typed("u32", value) for key, value in counts.items()},
        "llama.attention.layer_norm_rms_epsilon": Typed("f32", 1e-5),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": Typed("string", tokens),
        "tokenizer.ggml.token_type": Typed("i32", [3] + [1] * (len(tokens) - 1)),
        # A byte-level tokenizer needs a merge to be one.
        "tokenizer.ggml.merges": Typed("string", ["a b"]),
        "tokenizer.ggml.bos_token_id": Typed("u32", 0),
        "tokenizer.ggml.eos_token_id": Typed("u32", 0),
    }


def _vocabulary(size: int) -> list[str]:
    """A special token, the printable characters that stand for bytes, then words until there are `size`."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(_BYTES, 2 * _BYTES))
    letters = [chr(byte if byte in plain else next(spare)) for byte in range(_BYTES)]
    words = ["<end>", *letters, "ab"]
    return [*words, *(f"word{number}" for number in range(size - len(words)))]


def _ones(name: str, size: int) -> NewTensor:
    import numpy as np

    return NewTensor(name, (size,), "f32", lambda: [np.ones(size, "<f4").tobytes()])


def _table(shape: Shape) -> NewTensor:
    """The embedding, which is the head too: in half precision, so that one small vocabulary suits every codec."""
    size = (shape.vocabulary, shape.width)
    return NewTensor("token_embd.weight", size, "f16", partial(_repeated, _pool("f16"), "f16", size))


def _repeated(pool: bytes, codec: str, shape: tuple[int, ...]) -> Iterator[memoryview]:
    """The bytes of a tensor, out of the pool."""
    left = codecs.nbytes(codecs.by_id(codec), shape)
    whole = memoryview(pool)
    while left:
        chunk = whole[: min(left, len(whole))]
        left -= len(chunk)
        yield chunk


def _pool(codec: str) -> bytes:
    """Random blocks of a codec that decode to small numbers."""
    import numpy as np

    random = np.random.default_rng(0)
    if codec in FLOATS:
        return _floats(codec, random)
    if codec not in SCALES:
        known = ", ".join((*FLOATS, *SCALES))
        raise WeighError(f"no sample of `{codec}` can be made", rule="SAMPLE-CODEC", hint=known, exit_code=2)
    kind = codecs.by_id(codec)
    blocks = random.integers(0, 256, (_POOL // kind.block, kind.block_bytes), np.uint8)
    scale = np.frombuffer(np.float16(_SCALE).tobytes(), np.uint8)
    for place in SCALES[codec]:
        blocks[:, place : place + 2] = scale
    return blocks.tobytes()


def _floats(codec: str, random: np.random.Generator) -> bytes:
    import numpy as np

    values: NDArray[np.float32] = random.standard_normal(_POOL, np.float32) * np.float32(0.02)
    if codec == "bf16":
        return (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype("<f2" if codec == "f16" else "<f4").tobytes()
