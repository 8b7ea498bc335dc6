"""Where layouts are specified: the pages that were opened, pinned to what they said then."""

GGML_TYPES = "https://github.com/ggml-org/ggml/blob/d99724f2b141fed9e1a9f402213506c081433465/include/ggml.h#L389"
"""The numbers of the ggml types, removed ones included."""

GGML_BLOCKS = "https://github.com/ggml-org/ggml/blob/d99724f2b141fed9e1a9f402213506c081433465/src/ggml-common.h"
"""The block structs; a codec adds the line."""

GGML_DECODERS = "https://github.com/ggml-org/ggml/blob/d99724f2b141fed9e1a9f402213506c081433465/src/ggml-quants.c"
"""`dequantize_row_*`; a codec adds the line."""

SAFETENSORS = (
    "https://github.com/huggingface/safetensors/blob/24b0b2857fef49be734b9ab72ce97c09bb25f5b9"
    "/safetensors/src/tensor.rs#L811"
)
"""The dtypes of a safetensors header and their bits."""

ML_DTYPES = "https://github.com/jax-ml/ml_dtypes/blob/b793a6e2864ce20b6680df2fd480a5cd2a75fa82/README.md"
"""Exponent, mantissa, bias and special values of the small floating-point types; a codec adds the anchor."""

TORCH_FLOAT4 = (
    "https://github.com/pytorch/pytorch/blob/05f814fecfca7d2a17f28cbe7e1cb2d8d4c13230"
    "/torch/headeronly/util/Float4_e2m1fn_x2.h"
)
"""Which of two 4-bit floats lies in the low half of the byte."""
