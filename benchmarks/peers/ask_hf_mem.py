"""hf-mem, whose addresses are those of the hub: they are sent to HF_ENDPOINT instead, nothing else is changed."""

import asyncio
import json
import os
import sys

import httpx2
from hf_mem.run import arun

hub = os.environ["HF_ENDPOINT"]
there = httpx2.AsyncClient.get


async def here(self, url, **others):
    return await there(self, str(url).replace("https://huggingface.co", hub), **others)


httpx2.AsyncClient.get = here
told = asyncio.run(arun(model_id="org/model", experimental=True, max_model_len=int(sys.argv[2]), batch_size=1))
print(
    json.dumps(
        {"weights": told.memory, "parameters": told.memory // 2, "state": told.kv_cache, "total": told.total_memory}
    )
)
