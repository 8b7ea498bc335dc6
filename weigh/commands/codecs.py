"""`weigh codecs`: the types in which parameters are stored."""

from __future__ import annotations

from weigh.codecs import CODECS
from weigh.report.answer import Answer


def run(search: str | None = None) -> Answer:
    """A row for each codec whose id or name holds `search`."""
    rows = [
        {
            "id": codec.id,
            "name": codec.name,
            "block": codec.block,
            "block_bytes": codec.block_bytes,
            "bits": codec.bits,
            "decodes": codec.decode is not None,
            "ggml_type": codec.ggml_type,
            "safetensors": codec.safetensors,
            "reference": codec.reference,
        }
        for codec in CODECS
        if not search or search.lower() in f"{codec.id} {codec.name}".lower()
    ]
    return Answer("codecs", {"search": search}, {"codecs": rows})
