"""Runs the tests of the crates that compute on a device, on that device: reference_tests.py wgpu."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CRATES = {"gram-clip", "gram-prompt", "gram-meta", "gram-tune"}
CARGO = "cargo test --release --workspace --features wgpu --no-run --message-format=json"


def executables() -> list[tuple[Path, str]]:
    """Folder and program of every test of these crates, built by the same command as all tests."""
    built = subprocess.run(CARGO.split(), stdout=subprocess.PIPE, check=True)
    found = []
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            folder = Path(message["manifest_path"]).parent
            if folder.name in CRATES:
                found.append((folder, message["executable"]))
    return found


def main() -> None:
    device = sys.argv[1]
    # Properties hold for any draw: a few show that a device keeps them.
    environment = os.environ | {"GRAM_DEVICE": device, "PROPTEST_CASES": "4"}
    # A software driver asks for a folder of the session, and complains without one.
    environment.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())
    programs = executables()
    folders = {folder.name for folder, _ in programs}
    assert folders == CRATES, f"no tests of {CRATES - folders}"
    for folder, program in programs:
        print(f"== {folder.name}: {Path(program).name} on {device}", flush=True)
        subprocess.run([program], cwd=folder, env=environment, check=True)


main()
