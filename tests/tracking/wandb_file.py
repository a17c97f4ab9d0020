"""What a .wandb file holds, read without W&B's own reader, which comes and goes between its versions."""

import json
import struct
import time


def wandb_records(path):
    """All records of a finished run's file, which W&B's service may still be writing."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        records = list(log_records(path.read_bytes()))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.1)
    raise TimeoutError(f"{path} has no end")


def log_records(data):
    """Protocol buffers in blocks of 32 KiB, the format of LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    offset, parts, block = 7, b"", 32768
    while offset + 7 <= len(data):
        if block - offset % block < 7:
            offset += block - offset % block
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        offset += 7
        if offset + length > len(data):
            return
        parts += data[offset : offset + length]
        offset += length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


def kind(records, name):
    """The records of one kind."""
    return [getattr(record, name) for record in records if record.WhichOneof("record_type") == name]


def values(items):
    """Names and values of a history row, a summary or a configuration; a dot leads into a nested one."""
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
