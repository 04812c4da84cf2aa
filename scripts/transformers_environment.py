"""Lets a script import torch and transformers, from .deps/venv if this interpreter lacks them."""

import importlib.util
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


VENV = ROOT / ".deps/venv"


def has_packages():
    return bool(importlib.util.find_spec("transformers") and importlib.util.find_spec("torch"))


def available():
    """Whether enter() would go on, here or in .deps/venv (complete: setup.sh has finished it)."""
    return has_packages() or (VENV / "complete").exists()


def enter():
    """Starts the script again with .deps/venv where needed; ends with 77 (skipped) without one."""
    if has_packages():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # folders only: nothing is ever downloaded
        return
    if available() and not os.path.samefile(sys.prefix, VENV):
        python = VENV / "bin/python"
        os.execv(python, [str(python), *sys.argv])
    print("skipped: transformers is not here: scripts/setup.sh --python brings it")
    sys.exit(77)


if __name__ == "__main__":  # exit 0 where the scripts can run
    sys.exit(not available())
