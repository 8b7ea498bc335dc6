"""Codecs of sound: EnCodec and DAC, convolutions that shorten the samples to frames and back. A token is a frame.

Paths of parts are what transformers calls their tensors. A convolution runs for each frame as often as the strides
behind it multiply to.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from weigh.families.config import Config
from weigh.families.encoder import class_of
from weigh.parts import Array, Conv, Embedding, Linear, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

RATIOS = 32
"""More strides than any recording can be shortened by."""


class _Sound:
    """Convolutions over time, with a norm of the weight or of what it gives, or none."""

    def __init__(self, norm: str) -> None:
        self.norm = norm

    def conv(
        self, path: str, inputs: int, outputs: int, kernel: int, runs: int, *, first: bool = False
    ) -> Iterator[Part]:
        """One that reads `kernel` points."""
        sizes = Conv(inputs, outputs, kernel, runs, extent=(kernel,), input_gradient=not first)
        yield from self._held(path, sizes, outputs)

    def wider(self, path: str, inputs: int, outputs: int, kernel: int, runs: int) -> Iterator[Part]:
        """One that writes `kernel` points for each that it reads: its weight is (inputs, outputs, kernel)."""
        yield from self._held(path, Conv(outputs, inputs, kernel, runs, extent=(kernel,)), outputs)

    def _held(self, path: str, sizes: Conv, outputs: int) -> Iterator[Part]:
        """The weight, as directions and a length for each where it is normed, and the bias."""
        if self.norm == "weight_norm":
            yield part(f"{path}.length", Array((sizes.outputs, 1, 1), role="conv"))
            yield part(f"{path}.direction", sizes)
        else:
            yield part(path, sizes)
        yield part(path, Embedding(1, outputs, role="conv", bias=True))
        if self.norm == "time_group_norm":
            yield part(path.removesuffix(".conv") + ".norm", Norm(outputs, bias=True))


def encodec(config: Config) -> Architecture:
    """Residual blocks and strides, two recurrent layers, and the same backwards; the codebooks are buffers.

    The FLOPs leave out the search in the codebooks, which depends on the bandwidth asked for.
    Source: transformers 5.23, models/encodec/{configuration,modeling}_encodec.py.
    """
    class_of(config, ("EncodecModel",), default="EncodecModel", what="the codec")
    ratios = _ratios(config, "upsampling_ratios", (8, 5, 4, 2))
    sound = _Sound(config.choice("norm_type", ("weight_norm", "time_group_norm"), default="weight_norm"))
    filters = config.integer("num_filters")
    width = config.integer("hidden_size")
    channels = config.integer("audio_channels", default=1)
    kernels = (config.integer("kernel_size", default=7), config.integer("last_kernel_size", default=7))
    residual = config.integer("num_residual_layers", maximum=1000)
    block = _Block(config, sound)
    parts: list[Part] = []
    runs = prod(ratios)
    parts += sound.conv("encoder.layers.0.conv", channels, filters, kernels[0], runs, first=True)
    index, now = 1, filters
    for ratio in ratios[::-1]:
        for _ in range(residual):
            parts += block.parts(f"encoder.layers.{index}", now, runs)
            index += 1
        runs //= ratio
        parts += sound.conv(f"encoder.layers.{index + 1}.conv", now, 2 * now, 2 * ratio, runs)
        index, now = index + 2, 2 * now
    parts += _lstm(config, f"encoder.layers.{index}.lstm", now)
    parts += sound.conv(f"encoder.layers.{index + 2}.conv", now, width, kernels[1], 1)
    parts += sound.conv("decoder.layers.0.conv", width, now, kernels[0], 1)
    parts += _lstm(config, "decoder.layers.1.lstm", now)
    index = 2
    for ratio in ratios:
        parts += sound.wider(f"decoder.layers.{index + 1}.conv", now, now // 2, 2 * ratio, runs)
        runs, now, index = runs * ratio, now // 2, index + 2
        for _ in range(residual):
            parts += block.parts(f"decoder.layers.{index}", now, runs)
            index += 1
    parts += sound.conv(f"decoder.layers.{index + 1}.conv", now, channels, kernels[1], runs)
    parts += _codebooks(config, width, prod(ratios))
    return Architecture(tuple(parts), {"width": width}, tuple(config.warnings), tuple(config.assumed))


def _ratios(config: Config, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
    found = config.integers(key, default=default, minimum=1)
    if not 0 < len(found) <= RATIOS or max(found) > 2**16:
        raise WeighError(f"`{key}` should be 1 to {RATIOS} strides", rule="CONFIG-RANGE", path=config.source or None)
    return found


class _Block:
    """EnCodec's residual block: through a part of the width, and a way around."""

    def __init__(self, config: Config, sound: _Sound) -> None:
        self.sound = sound
        self.compress = config.integer("compress", default=2)
        self.kernel = config.integer("residual_kernel_size", default=3)
        self.around = config.switch("use_conv_shortcut", default=True)

    def parts(self, path: str, width: int, runs: int) -> Iterator[Part]:
        narrow = max(width // self.compress, 1)
        yield from self.sound.conv(f"{path}.block.1.conv", width, narrow, self.kernel, runs)
        yield from self.sound.conv(f"{path}.block.3.conv", narrow, width, 1, runs)
        if self.around:
            yield from self.sound.conv(f"{path}.shortcut.conv", width, width, 1, runs)


def _lstm(config: Config, path: str, width: int) -> Iterator[Part]:
    """Four gates, each from the input and from what was said last, with a bias for both."""
    for layer in range(config.integer("num_lstm_layers", default=2, maximum=1000)):
        for source in ("ih", "hh"):
            yield part(f"{path}.{source}.{layer}", Linear(width, 4 * width, bias=True, role="ssm"))


def _codebooks(config: Config, width: int, frame: int) -> Iterator[Part]:
    """As many as the highest bandwidth needs: codes of `codebook_size` for each frame of the samples."""
    size = config.integer("codebook_size", default=1024, minimum=2)
    deep = config.integer("codebook_dim", default=width)
    rate = -(-config.integer("sampling_rate", default=24000) // frame)
    highest = _highest(config)
    count = int(1000 * highest // (rate * (size - 1).bit_length()))
    if count > 10_000:
        raise WeighError("more than 10,000 codebooks", rule="CONFIG-RANGE", path=config.source or None)
    held = (("inited", (1,)), ("cluster_size", (size,)), ("embed", (size, deep)), ("embed_avg", (size, deep)))
    for i in range(count):
        for name, shape in held:
            yield part(f"quantizer.layers.{i}.codebook.{name}", Array(shape, role="buffer"))


def _highest(config: Config) -> float:
    """The last of `target_bandwidths`, in kbit/s."""
    listed = config.values.get("target_bandwidths", (1.5, 3.0, 6.0, 12.0, 24.0))
    if (
        not isinstance(listed, list | tuple)
        or not listed
        or any(isinstance(each, bool) or not isinstance(each, int | float) or not 0 < each < 1e6 for each in listed)
    ):
        raise config.variant("target_bandwidths", "a list of positive numbers", listed)
    return float(listed[-1])


def dac(config: Config) -> Architecture:
    """Residual units of dilated convolutions between strides; each codebook is searched in a few dimensions.

    Source: transformers 5.23, models/dac/{configuration,modeling}_dac.py.
    """
    class_of(config, ("DacModel",), default="DacModel", what="the codec")
    ratios = _ratios(config, "downsampling_ratios", (2, 4, 8, 8))
    first = config.integer("encoder_hidden_size")
    wide = config.integer("decoder_hidden_size")
    width = first * 2 ** len(ratios)
    books = config.integer("n_codebooks", maximum=10_000)
    size = config.integer("codebook_size")
    deep = config.integer("codebook_dim", default=8)
    config.divide(wide, 2 ** len(ratios), "decoder_hidden_size / 2 for each stride")
    sound, runs, now = _Sound("none"), prod(ratios), first
    parts = [*sound.conv("encoder.conv1", 1, first, 7, runs, first=True)]
    for i, ratio in enumerate(ratios):
        path = f"encoder.block.{i}"
        parts += _units(sound, path, now, runs)
        parts.append(part(f"{path}.snake1.alpha", Array((1, now, 1))))
        runs //= ratio
        parts += sound.conv(f"{path}.conv1", now, 2 * now, 2 * ratio, runs)
        now *= 2
    parts.append(part("encoder.snake1.alpha", Array((1, now, 1))))
    parts += sound.conv("encoder.conv2", now, width, 3, 1)
    for i in range(books):
        path = f"quantizer.quantizers.{i}"
        parts += sound.conv(f"{path}.in_proj", width, deep, 1, 1)
        parts += sound.conv(f"{path}.out_proj", deep, width, 1, 1)
        parts.append(part(f"{path}.codebook", Linear(deep, size)))
    parts += sound.conv("decoder.conv1", width, wide, 7, 1)
    now = wide
    for i, ratio in enumerate(ratios[::-1]):
        path = f"decoder.block.{i}"
        parts.append(part(f"{path}.snake1.alpha", Array((1, now, 1))))
        parts += sound.wider(f"{path}.conv_t1", now, now // 2, 2 * ratio, runs)
        runs, now = runs * ratio, now // 2
        parts += _units(sound, path, now, runs)
    parts.append(part("decoder.snake1.alpha", Array((1, now, 1))))
    parts += sound.conv("decoder.conv2", now, 1, 7, runs)
    return Architecture(tuple(parts), {"width": width}, tuple(config.warnings), tuple(config.assumed))


def _units(sound: _Sound, path: str, width: int, runs: int) -> Iterator[Part]:
    """Three, with dilations of 1, 3 and 9."""
    for unit in (1, 2, 3):
        stem = f"{path}.res_unit{unit}"
        yield part(f"{stem}.snake1.alpha", Array((1, width, 1)))
        yield from sound.conv(f"{stem}.conv1", width, width, 7, runs)
        yield part(f"{stem}.snake2.alpha", Array((1, width, 1)))
        yield from sound.conv(f"{stem}.conv2", width, width, 1, runs)


def _encodec_names() -> dict[str, str]:
    """The recurrent layers are numbered within a tensor's name; with a norm of the weight it has the name of two."""
    found = {"*": "{path}"}
    for side in ("encoder", "decoder"):
        layer = side + ".layers.{}."
        for conv in ("conv", "block.{}.conv", "shortcut.conv"):
            for i, kind in enumerate(("length", "direction")):
                found[f"{layer}{conv}.{kind}.weight"] = f"{layer}{conv}.parametrizations.weight.original{i}"
        for source in ("ih", "hh"):
            for kind in ("weight", "bias"):
                found[f"{layer}lstm.{source}.{{}}.{kind}"] = f"{layer}lstm.{kind}_{source}_l{{}}"
    for name in ("inited", "cluster_size", "embed", "embed_avg"):
        codebook = f"quantizer.layers.{{}}.codebook.{name}"
        found[f"{codebook}.weight"] = codebook
    return found


def _dac_names() -> dict[str, str]:
    """The shape of an activation is held for each channel, without a word behind its name."""
    found = {"*": "{path}"}
    for side in ("encoder", "decoder"):
        snakes = (f"{side}.snake1", f"{side}.block.{{}}.snake1")
        units = tuple(f"{side}.block.{{}}.res_unit{unit}.snake{n}" for unit in (1, 2, 3) for n in (1, 2))
        found |= {f"{snake}.alpha.weight": f"{snake}.alpha" for snake in (*snakes, *units)}
    return found


ENCODEC = Family(
    id="encodec",
    model_types=("encodec",),
    build=encodec,
    names={"hf": _encodec_names()},
    sources=("https://arxiv.org/abs/2210.13438",),
)

DAC = Family(
    id="dac",
    model_types=("dac",),
    build=dac,
    names={"hf": _dac_names()},
    sources=("https://arxiv.org/abs/2306.06546",),
)
