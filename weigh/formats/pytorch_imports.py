"""The names that a checkpoint's pickle may ask for, each with what stands for it here. Nothing is ever imported.

The list is of exact pairs of module and name; everything else is refused. To allow another: a line below, with a
function that checks the arguments and gives a record of `pytorch_values`, and a case in the tests.
The names are those that torch itself writes: torch/_utils.py, torch/storage.py, torch/serialization.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from weigh.formats.pytorch_values import Array, Budget, DType, Import, Instance, Plain, Sparse, Storage, View

Args = tuple[Any, ...]

DTYPES: Final[Mapping[str, DType]] = {
    "float64": DType("f64", 8), "double": DType("f64", 8), "float32": DType("f32", 4), "float": DType("f32", 4),
    "float16": DType("f16", 2), "half": DType("f16", 2), "bfloat16": DType("bf16", 2),
    "float8_e4m3fn": DType("f8_e4m3", 1), "float8_e5m2": DType("f8_e5m2", 1),
    "float8_e4m3fnuz": DType("f8_e4m3fnuz", 1), "float8_e5m2fnuz": DType("f8_e5m2fnuz", 1),
    "float8_e8m0fnu": DType("f8_e8m0", 1), "float4_e2m1fn_x2": DType("unknown:float4_e2m1fn_x2", 1),
    "int64": DType("i64", 8), "long": DType("i64", 8), "int32": DType("i32", 4), "int": DType("i32", 4),
    "int16": DType("i16", 2), "short": DType("i16", 2), "int8": DType("i8", 1), "uint8": DType("u8", 1),
    "uint16": DType("u16", 2), "uint32": DType("u32", 4), "uint64": DType("u64", 8), "bool": DType("bool", 1),
    "complex64": DType("c64", 8), "cfloat": DType("c64", 8), "complex32": DType("unknown:complex32", 4),
    "chalf": DType("unknown:complex32", 4), "complex128": DType("unknown:complex128", 16),
    "cdouble": DType("unknown:complex128", 16),
    "qint8": DType("i8", 1, True), "quint8": DType("u8", 1, True), "qint32": DType("i32", 4, True),
    "quint4x2": DType("unknown:quint4x2", 1, True), "quint2x4": DType("unknown:quint2x4", 1, True),
    **{f"{sign}int{bits}": DType(f"unknown:{sign}int{bits}", 1) for sign in ("", "u") for bits in range(1, 8)},
}  # fmt: skip
"""By torch's name. Of a quantized type the numbers are counted as they are stored, without scale and zero point."""

STORAGES: Final[Mapping[str, str]] = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128", "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
}  # fmt: skip

LAYOUTS = ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged")
SCHEMES = ("per_tensor_affine", "per_channel_affine", "per_channel_affine_float_qparams")


# ---------------------------------------------------------------------------------------------------- tensors


def _numbers(budget: Budget, found: Any, what: str) -> tuple[int, ...]:
    """A tuple of sizes or strides: few, whole and not negative. Looked at before it is walked, for it may be long."""
    if type(found) not in (tuple, list) or len(found) > budget.limits.rank:
        raise budget.wrong(f"the {what} of a tensor is no tuple of at most {budget.limits.rank} numbers")
    if not all(type(number) is int and 0 <= number < 2**63 for number in found):
        raise budget.wrong(f"the {what} of a tensor holds something else than whole numbers, 0 or more")
    return tuple(found)


def _view(budget: Budget, storage: Any, offset: Any, size: Any, strides: Any, dtype: DType | None = None) -> View:
    if type(storage) is not Storage:
        raise budget.wrong("a tensor is made of something else than a storage")
    if type(offset) is not int or not 0 <= offset < 2**63:
        raise budget.wrong("a tensor begins at something else than a whole number, 0 or more")
    shape, steps = _numbers(budget, size, "shape"), _numbers(budget, strides, "strides")
    if len(shape) != len(steps):
        raise budget.wrong("a tensor has another number of strides than of dimensions")
    return View(storage, dtype or storage.dtype, offset, shape, steps)


def _tensor(budget: Budget, args: Args) -> View:
    """torch._utils._rebuild_tensor: storage, offset, size, stride (and more, which holds no values)."""
    if len(args) < 4:
        raise budget.wrong("a tensor is made of too few values")
    storage, offset, size, strides = args[:4]
    return _view(budget, storage, offset, size, strides)


def _typed_tensor(budget: Budget, args: Args) -> View:
    """torch._utils._rebuild_tensor_v3: bytes, and the type of the numbers as the seventh value."""
    if len(args) < 7:
        raise budget.wrong("a tensor is made of too few values")
    storage, offset, size, strides = args[:4]
    return _view(budget, storage, offset, size, strides, _dtype(budget, args[6]))


def _dtype(budget: Budget, found: Any) -> DType:
    if type(found) is not Import or type(found.value) is not DType:
        raise budget.wrong("the type of a tensor is none of torch's")
    return found.value


def _meta_tensor(budget: Budget, args: Args) -> View:
    """torch._utils._rebuild_meta_tensor_no_storage: dtype, size, stride."""
    if len(args) < 3:
        raise budget.wrong("a tensor is made of too few values")
    shape, strides = _numbers(budget, args[1], "shape"), _numbers(budget, args[2], "strides")
    return View(None, _dtype(budget, args[0]), 0, shape, strides)


def _parameter(budget: Budget, args: Args) -> View | Sparse:
    """torch._utils._rebuild_parameter: the tensor, and what autograd needs."""
    if not args or type(args[0]) not in (View, Sparse):
        raise budget.wrong("a parameter is made of something else than a tensor")
    made: View | Sparse = args[0]
    return made


def _sparse(budget: Budget, args: Args) -> Sparse:
    """torch._utils._rebuild_sparse_tensor: layout, and indices, values, size (and more)."""
    data = args[1] if len(args) == 2 else ()
    if type(data) is not tuple or len(data) > 8:
        raise budget.wrong("a sparse tensor is made of something else than tensors")
    tensors = [part for part in data if type(part) is View]
    names = ("indices", "values") if len(tensors) == 2 else ("compressed_indices", "plain_indices", "values")
    if len(tensors) != len(names):
        raise budget.wrong("a sparse tensor is made of something else than tensors")
    members = {name: replace(view, index=name != "values") for name, view in zip(names, tensors, strict=True)}
    return Sparse(members)


def _of_type(budget: Budget, args: Args) -> Any:
    """torch._tensor._rebuild_from_type_v2: a function of this list, the class, the arguments, attributes."""
    if len(args) != 4 or type(args[0]) is not Import or args[0].call not in _TENSOR_CALLS or type(args[2]) is not tuple:
        raise budget.wrong("a tensor of a class of its own is made in no known way")
    call = args[0].call
    return call(budget, args[2]) if call is not None else None


_TENSOR_CALLS = (_tensor, _typed_tensor, _meta_tensor, _parameter, _sparse)


# ------------------------------------------------------------------------------------------------- containers


def _ordered(budget: Budget, args: Args) -> dict[Any, Any]:
    """collections.OrderedDict, empty or of pairs."""
    made: dict[Any, Any] = {}
    for pair in _items(budget, args):
        if type(pair) not in (tuple, list) or len(pair) != 2:
            raise budget.wrong("a dictionary is made of something else than pairs")
        made[key(budget, pair[0])] = pair[1]
    return made


def _defaults(budget: Budget, args: Args) -> dict[Any, Any]:
    """collections.defaultdict of a plain factory."""
    if len(args) > 1 or (args and args[0] is not None and type(args[0]) is not Import):
        raise budget.wrong("a defaultdict is made of something else than a type")
    return {}


def _counter(budget: Budget, args: Args) -> dict[Any, Any]:
    if len(args) > 1 or (args and type(args[0]) is not dict):
        raise budget.wrong("a Counter is made of something else than a dictionary")
    return args[0] if args else {}


def _items(budget: Budget, args: Args) -> list[Any] | tuple[Any, ...]:
    if not args:
        return ()
    if len(args) > 1 or type(args[0]) not in (list, tuple):
        raise budget.wrong("a container is made of something else than a list")
    found: list[Any] | tuple[Any, ...] = args[0]
    budget.spend(len(found))
    return found


def _sequence(budget: Budget, args: Args) -> list[Any]:
    """set, frozenset, list, torch.Size and TorchScript's lists: which one makes no difference here."""
    return list(_items(budget, args))


def _tuple(budget: Budget, args: Args) -> tuple[Any, ...]:
    return tuple(_items(budget, args))


def _tagged(budget: Budget, args: Args) -> Any:
    """torch.jit._pickle.restore_type_tag: a container and the name of its type."""
    if len(args) != 2 or type(args[1]) is not str:
        raise budget.wrong("a container of TorchScript has no name of a type")
    return args[0]


def key(budget: Budget, found: Any) -> Any:
    """A key of a dictionary, if it can be looked up in a bounded time: a tuple may hold itself a billion times."""
    if type(found) in (str, int, float, bool, bytes, type(None), Plain, Import):
        return found
    if type(found) is tuple and len(found) <= 64 and all(type(part) in (str, int, float, bool) for part in found):
        return found
    raise budget.wrong("a key of a dictionary is neither text nor a number")


# ------------------------------------------------------------------------------------------------- the others


def _harmless(what: str) -> Callable[[Budget, Args], Plain]:
    return lambda _budget, _args: Plain(what)


def _encoded(budget: Budget, args: Args) -> bytes:
    """_codecs.encode: how bytes are written by protocol 2."""
    if len(args) != 2 or type(args[0]) is not str or args[1] not in ("latin1", "latin-1"):
        raise budget.wrong("bytes are made of something else than Latin-1 text")
    budget.spend(1, len(args[0]))
    try:
        return args[0].encode("latin-1")
    except UnicodeEncodeError as cause:
        raise budget.wrong("bytes are made of text that is not Latin-1") from cause


def _bytes(budget: Budget, args: Args) -> bytes:
    if args and type(args[0]) is str and len(args) == 2:
        return _encoded(budget, args)
    if len(args) > 1 or (args and type(args[0]) is not bytes):
        raise budget.wrong("bytes are made of something else")
    return args[0] if args else b""


def _array(_budget: Budget, _args: Args) -> Array:
    """numpy's _reconstruct: an empty array that BUILD fills."""
    return Array()


def filled(budget: Budget, array: Array, state: Any) -> None:
    """The state of a NumPy array: version, shape, type, order, bytes."""
    if type(state) is not tuple or len(state) not in (4, 5):
        raise budget.wrong("a NumPy array has no proper state")
    array.shape = _numbers(budget, state[-4], "shape")


def _instance(budget: Budget, args: Args) -> Instance:
    return Instance("", dict(enumerate(_items(budget, (args,)))))


def storage(budget: Budget, pid: Any, found: dict[str, DType]) -> Storage:
    """A storage outside: ('storage', type, key, device, numbers, and the window where it is one).

    `found` gets its type. Error: PICKLE-STORAGE.
    """
    if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
        raise budget.wrong("the pickle names something outside that is no storage", "PICKLE-STORAGE")
    _, kind, name, _, count, *window = pid
    if type(kind) is not Import or type(name) is not str or type(count) is not int or not 0 <= count < 2**63:
        raise budget.wrong("a storage has no type, key or size", "PICKLE-STORAGE")
    if type(kind.value) is not DType or not kind.name.endswith("Storage"):
        raise budget.wrong(f"{kind.name!r} is no type of storage", "PICKLE-STORAGE")
    if found.setdefault(name, kind.value) is not kind.value:
        raise budget.wrong(f"the storage {name[:100]!r} has two types", "PICKLE-STORAGE")
    begin, length = _window(budget, count, window[0] if window else None)
    return Storage(name, kind.value, count, begin, length)


def _window(budget: Budget, count: int, window: Any) -> tuple[int, int]:
    """First number and numbers: of the whole storage, or of the part (key, first, numbers) that is looked at."""
    if window is None:
        return 0, count
    if type(window) is not tuple or len(window) != 3 or not all(type(number) is int for number in window[1:]):
        raise budget.wrong("the window of a storage is not told properly", "PICKLE-STORAGE")
    _, begin, length = window
    if not (0 <= begin <= count and 0 <= length <= count - begin):
        raise budget.wrong("the window of a storage lies outside it", "PICKLE-STORAGE")
    return begin, length


def _made(module: str, names: tuple[str, ...] | str, call: Callable[[Budget, Args], Any] | None) -> list[Import]:
    return [Import(module, name, call) for name in ((names,) if isinstance(names, str) else names)]


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_LISTED: tuple[Import, ...] = (
    *_made("torch._utils", ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_qtensor"), _tensor),
    *_made("torch._utils", "_rebuild_tensor_v3", _typed_tensor),
    *_made("torch._utils", "_rebuild_meta_tensor_no_storage", _meta_tensor),
    *_made("torch._utils", ("_rebuild_parameter", "_rebuild_parameter_with_state"), _parameter),
    *_made("torch._utils", "_rebuild_sparse_tensor", _sparse),
    *_made("torch._tensor", "_rebuild_from_type_v2", _of_type),
    *_made("torch.nn.parameter", ("Parameter", "Buffer"), _parameter),
    *_made("torch", "Tensor", None),
    *_made("torch._tensor", "Tensor", None),
    *_made("torch", "Size", _tuple),
    *_made("torch", "device", _harmless("device")),
    *_made("torch.serialization", "_get_layout", _harmless("layout")),
    *_made("torch", (*LAYOUTS, *SCHEMES), None),
    *_made("torch.jit._pickle", ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist"), _sequence),
    *_made("torch.jit._pickle", "restore_type_tag", _tagged),
    *(Import("torch", name, None, dtype) for name, dtype in DTYPES.items()),
    *(Import("torch", f"{kind}Storage", None, DTYPES[name]) for kind, name in STORAGES.items()),
    Import("torch.storage", "UntypedStorage", None, DTYPES["uint8"]),
    Import("torch", "UntypedStorage", None, DTYPES["uint8"]),
    *_made("collections", "OrderedDict", _ordered),
    *_made("collections", "defaultdict", _defaults),
    *_made("collections", "Counter", _counter),
    *(kind for module in ("builtins", "__builtin__") for kind in (
        *_made(module, ("set", "frozenset", "list"), _sequence),
        *_made(module, ("dict",), _ordered),
        *_made(module, "tuple", _tuple),
        *_made(module, ("int", "float", "bool", "str", "complex"), _harmless("number")),
        *_made(module, ("bytes", "bytearray"), _bytes),
    )),
    *_made("_codecs", "encode", _encoded),
    *(kind for module in _NUMPY for kind in (
        *_made(module, "scalar", _harmless("number")),
        *_made(module, "_reconstruct", _array),
    )),
    *_made("numpy", "dtype", _harmless("dtype")),
    *_made("numpy", "ndarray", None),
)  # fmt: skip
ALLOWED: Final[Mapping[tuple[str, str], Import]] = {(kind.module, kind.name): kind for kind in _LISTED}


def find(module: str, name: str, *, script: bool) -> Import | None:
    """What stands for an import, None where it is not allowed.

    Only in a TorchScript archive (`script`) may a class of the archive's own code be named; its code is not looked at.
    """
    found = ALLOWED.get((module, name))
    if found is None and script and (module == "__torch__" or module.startswith("__torch__.")):
        return Import(module, name, _instance)
    return found
