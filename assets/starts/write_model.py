"""Writes into the headers of prompt files which model they are for; their tensors stay as they are, byte for byte.

    python ../../crates/gram-clip/tests/fixtures/make_fingerprints.py ../tiny      # prints the fingerprint of tiny
    python write_model.py tiny FINGERPRINT vpt.safetensors joint.safetensors
"""
import json
import pathlib
import sys


def write_model(path: pathlib.Path, source: str, fingerprint: str) -> None:
    """A safetensors file is the length of a JSON header, the header with its metadata, and the numbers."""
    file = path.read_bytes()
    length = int.from_bytes(file[:8], "little")
    header, numbers = json.loads(file[8 : 8 + length]), file[8 + length :]
    gram = json.loads(header["__metadata__"]["gram"])
    made_with = {"model": gram["model"], "fingerprint": fingerprint, "model_source": source}
    # The keys stand where gram writes them, after `program`.
    rest = {key: value for key, value in gram.items() if key not in made_with}
    gram = {key: rest.pop(key) for key in ("version", "program")} | made_with | rest
    header["__metadata__"]["gram"] = compact(gram)
    written = compact(header).encode()
    # Numbers begin at a multiple of eight bytes.
    written += b" " * (-len(written) % 8)
    path.write_bytes(len(written).to_bytes(8, "little") + written + numbers)


def compact(value: dict) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    source, fingerprint, *files = sys.argv[1:]
    for file in files:
        write_model(pathlib.Path(file), source, fingerprint)
