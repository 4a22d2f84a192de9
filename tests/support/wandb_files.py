"""Reads what wandb writes where there is no network: records of its protocol in LevelDB's log format."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER, BLOCK = 7, 32_768
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, parts = path.read_bytes(), HEADER, b""
    assert content[:4] == b":W&B"
    while place + HEADER <= len(content):
        if (room := BLOCK - place % BLOCK) < HEADER:
            place += room
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + HEADER : place + HEADER + size]
        place += HEADER + size
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def history(path: Path) -> list[dict[str, Any]]:
    """The rows that were logged."""
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records(path)
        if record.WhichOneof("record_type") == "history"
    ]


def runs(path: Path) -> list[Any]:
    """What the run says of itself: its id, project, group and configuration."""
    return [record.run for record in records(path) if record.WhichOneof("record_type") == "run"]
