"""Files of CTranslate2 that must be refused, each with the rule that refuses it, and odd ones that must be read."""

from __future__ import annotations

import struct

from tests.hostile import craft_ctranslate2 as craft
from tests.hostile.cases import Case
from tests.hostile.craft_ctranslate2 import model, old, text, variable

W = variable("w", (2,))
SMALL = craft.small()
CTRANSLATE2 = (
    Case("version_7.bin", model([W], version=7), "CT2-VERSION"),
    Case("cut_in_values.bin", model([W], count=1)[:-6], "CT2-END"),
    Case("cut_in_name.bin", SMALL[:30], "CT2-END"),
    Case("cut_in_shape.bin", model([text("w") + b"\x08" + b"\1\0\0\0" * 3])[:-4], "CT2-END"),
    Case(
        "name_without_end.bin", model([W[:3] + b"x" + W[4:]]).replace(b"w\0", b"wx").replace(b"wx", b"wy"), "CT2-TEXT"
    ),
    Case("four_billion.bin", model([W], count=2**32 - 1), "CT2-COUNT"),
    Case("aliases_four_billion.bin", model([W])[:-4] + b"\xff" * 4, "CT2-COUNT"),
    Case("name_twice.bin", model([W, W]), "CT2-NAME"),
    Case("rank_200.bin", model([variable("w", (1,) * 200)]), "CT2-SHAPE"),
    Case("product.bin", model([variable("w", (2**32 - 1,) * 2, data=b"", said=0)]), "CT2-SHAPE"),
    Case("too_few_bytes.bin", model([variable("w", (2,), data=b"\0" * 7)]), "CT2-SIZE"),
    Case("bytes_beyond.bin", model([variable("w", (2**30,), said=2**32 - 4, data=b"\0" * 8)]), "CT2-SIZE"),
    Case("values_beyond.bin", model([variable("w", (2**20,), said=2**22, data=b"\0" * 8)]), "CT2-END"),
    Case("width_3.bin", model([old("w", (1,), 3, b"\0" * 3)], version=3), "CT2-TYPE"),
)
REFUSED = CTRANSLATE2

EXOTIC = (
    Case("small.bin", SMALL, ""),
    Case("no_variables.bin", model(), ""),
    Case("version_1.bin", model([old("encoder/w", (2,), 4, b"\0" * 8)], version=1), ""),
    Case("version_3.bin", model([old("w", (2, 2), 2, b"\0" * 8)], version=3), ""),
    Case("new_type.bin", model([variable("w", (2,), 77, b"\0" * 5)]), ""),
    Case("bytes_behind.bin", SMALL + struct.pack("<I", 0), ""),
    Case("alias_of_nothing.bin", model([W], {"a": "b"}), ""),
    Case("scale_of_no_row.bin", model([variable("w", (2,), craft.INT8), variable("w_scale", (3,))]), ""),
    Case("name_not_utf8.bin", model([variable(b"\xff\xfe", (2,))]), ""),
)
