"""Lets a script import torch and transformers, from .deps/venv if this interpreter lacks them."""

import importlib.util
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def enter():
    """Starts the script again with .deps/venv where needed; ends with 77 (skipped) without one."""
    if importlib.util.find_spec("transformers") and importlib.util.find_spec("torch"):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # folders only: nothing is ever downloaded
        return
    python = ROOT / ".deps/venv/bin/python"
    if python.exists() and not os.path.samefile(sys.prefix, ROOT / ".deps/venv"):
        os.execv(python, [str(python), *sys.argv])
    print("skipped: transformers is not here: scripts/setup.sh --python brings it")
    sys.exit(77)
