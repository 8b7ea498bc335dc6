"""What TensorFlow Lite's operators do with the tensors that they are given: weights, settings, other forms of a tensor.

Operators by their number in `BuiltinOperator`, inputs counted from 0. To teach weigh another operator: a line in the
table that it belongs to. Sources: the schema (see `tflite`) for the numbers, for the inputs the kernels in
https://github.com/tensorflow/tensorflow/tree/master/tensorflow/lite/kernels.
"""

from __future__ import annotations

from collections.abc import Mapping

CUSTOM = 32
OLD_CODES = 127
"""The number that stands in the old field of an operator whose number does not fit it."""

_LSTM = (*range(1, 18), *range(20, 24))
"""Matrices and biases of the gates, the projection, the norms; 18 and 19 are the state."""
_RNN = (1, 2, 3)

WEIGHTS: Mapping[int, tuple[int, ...]] = {
    3: (1, 2),  # CONV_2D
    4: (1, 2),  # DEPTHWISE_CONV_2D
    7: (1,),  # EMBEDDING_LOOKUP
    9: (1, 2),  # FULLY_CONNECTED
    10: (2,),  # HASHTABLE_LOOKUP
    16: _LSTM,
    24: _RNN,
    27: (1, 2, 3),  # SVDF
    33: (4,),  # EMBEDDING_LOOKUP_SPARSE
    35: _RNN,  # UNIDIRECTIONAL_SEQUENCE_RNN
    44: _LSTM,  # UNIDIRECTIONAL_SEQUENCE_LSTM
    46: (*_RNN, 5, 6, 7, 10, 11),  # BIDIRECTIONAL_SEQUENCE_RNN
    52: (*range(1, 35), *range(40, 48)),  # BIDIRECTIONAL_SEQUENCE_LSTM
    54: (1,),  # PRELU
    67: (1, 3),  # TRANSPOSE_CONV
    126: (1,),  # BATCH_MATMUL
    132: (1, 2),  # CONV_3D
    141: (1, 3),  # CONV_3D_TRANSPOSE
    171: (1,),  # STABLEHLO_CONVOLUTION
    197: (1,),  # STABLEHLO_DOT_GENERAL
}
"""Inputs that are trained even where they hold a single value, or whole numbers without a scale."""

_BOTH = (0, 1)
SETTINGS: Mapping[int, tuple[int, ...]] = {
    15: (0,),  # LSH_PROJECTION
    55: _BOTH,  # MAXIMUM
    57: _BOTH,  # MINIMUM
    58: _BOTH,  # LESS
    60: (2,),  # PADV2
    61: _BOTH,  # GREATER
    62: _BOTH,  # GREATER_EQUAL
    63: _BOTH,  # LESS_EQUAL
    64: (1, 2),  # SELECT
    71: _BOTH,  # EQUAL
    72: _BOTH,  # NOT_EQUAL
    78: (1,),  # POW
    85: (2, 3),  # ONE_HOT
    90: (1,),  # FLOOR_DIV
    94: (1,),  # FILL
    95: (1,),  # FLOOR_MOD
    96: (0, 1, 2),  # RANGE
    120: (2, 3, 4, 5),  # NON_MAX_SUPPRESSION_V4
    121: (2, 3, 4, 5),  # NON_MAX_SUPPRESSION_V5
    123: (1, 2),  # SELECT_V2
    144: (1,),  # ASSIGN_VARIABLE: what a state begins with
    151: (0,),  # DYNAMIC_UPDATE_SLICE
    168: (0, 2),  # STABLEHLO_CLAMP
}
"""Inputs that are not trained: bounds, masks, the values that fill."""

PASSES: Mapping[int, int] = {
    6: 0,  # DEQUANTIZE
    22: 0,  # RESHAPE
    39: 0,  # TRANSPOSE
    43: 0,  # SQUEEZE
    45: 0,  # STRIDED_SLICE
    49: 1,  # SPLIT
    53: 0,  # CAST
    65: 0,  # SLICE
    69: 0,  # TILE
    70: 0,  # EXPAND_DIMS
    88: 0,  # UNPACK
    102: 0,  # SPLIT_V
    114: 0,  # QUANTIZE
    124: 0,  # DENSIFY
    130: 0,  # BROADCAST_TO
    159: 0,  # BITCAST
}
"""The outputs are this input in another form, or parts of it."""

IF, WHILE, CALL = 118, 119, 31
CALLED: Mapping[int, tuple[int, ...]] = {IF: (0, 1), WHILE: (0, 1), CALL: (0,)}
"""Fields of the operator's options that number the graphs that it runs; for WHILE the condition, then the body."""
BEFORE: Mapping[int, int] = {IF: 1, WHILE: 0, CALL: 0}
"""Inputs that the operator keeps for itself, before those that it hands on."""

VARIABLE, READ_VARIABLE, ASSIGN_VARIABLE = 142, 143, 144
