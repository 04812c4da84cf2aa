#!/usr/bin/env python3
"""Loads a checkpoint of ours with transformers and computes its cross-entropy on a data set.

  scripts/compare_transformers.py runs/shakespeare/checkpoints/step-000100 \
      --data data/shakespeare/validation --sequence-length 256 [--generate 40]

Prints `cross_entropy: <nats per token> tokens: <count>`, which `moesaic eval` must equal: both take
windows of sequence_length + 1 tokens with stride sequence_length over the token stream of the
Megatron .bin/.idx pair, inputs all but the last and targets all but the first token of a window;
a shorter rest of the stream is not used. Exit 0: done, 1: the checkpoint does not load cleanly,
65: bad data, 66: no data, 77: no transformers (`scripts/setup.sh --python`).
"""

import argparse
import pathlib
import struct
import sys

import transformers_environment

transformers_environment.enter()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, pipeline  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

# Megatron's index: type code -> element type of the .bin file.
ELEMENT_TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f8", 7: "<f4", 8: "<u2"}


def read_tokens(prefix):
    """The whole token stream of PREFIX.bin, as PREFIX.idx describes it."""
    index_path, data_path = pathlib.Path(f"{prefix}.idx"), pathlib.Path(f"{prefix}.bin")
    for path in (index_path, data_path):
        if not path.is_file():
            print(f"compare_transformers: no such file: {path}", file=sys.stderr)
            sys.exit(66)
    index = index_path.read_bytes()
    magic, version, code, num_sequences, _ = struct.unpack_from("<9sQBQQ", index)
    if magic != b"MMIDIDX\x00\x00" or version != 1 or code not in ELEMENT_TYPES:
        print(f"compare_transformers: {index_path} is not a Megatron index", file=sys.stderr)
        sys.exit(65)
    lengths = np.frombuffer(index, "<i4", num_sequences, offset=34)
    tokens = np.fromfile(data_path, ELEMENT_TYPES[code])
    if int(lengths.sum(dtype=np.int64)) != len(tokens):
        print(f"compare_transformers: {index_path} says {lengths.sum()} tokens, "
              f"{data_path} has {len(tokens)}", file=sys.stderr)
        sys.exit(65)
    return torch.from_numpy(tokens.astype(np.int64))


def load(folder):
    """The model in float32; ends with 1 when a weight is missing, unexpected or mismatched."""
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True)
    wrong = {what: names for what, names in info.items() if names}
    if wrong:
        print(f"compare_transformers: {folder} does not load cleanly: {wrong}", file=sys.stderr)
        sys.exit(1)
    print(f"loaded {type(model).__name__}: nothing missing, unexpected or mismatched")
    return model.eval()


@torch.no_grad()
def cross_entropy(model, tokens, sequence_length, batch_size):
    """Mean over all targets of all windows (float64 sum of float32 terms), and their number."""
    windows = tokens.unfold(0, sequence_length + 1, sequence_length)
    total = 0.0
    for batch in windows.split(batch_size):
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        terms = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
        total += terms.double().sum().item()
    num_targets = windows.shape[0] * sequence_length
    return total / num_targets, num_targets


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a step-NNNNNN folder")
    parser.add_argument("--data", required=True, metavar="PREFIX", help="PREFIX.bin and PREFIX.idx")
    parser.add_argument("--sequence-length", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=8, help="windows at once")
    parser.add_argument("--generate", type=int, default=0, metavar="N",
                        help="also run the text-generation pipeline for N tokens")
    parser.add_argument("--prompt", default="ROMEO:")
    options = parser.parse_args()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()

    tokens = read_tokens(options.data)
    if len(tokens) <= options.sequence_length:
        print(f"compare_transformers: {options.data} has {len(tokens)} tokens, one window needs "
              f"{options.sequence_length + 1}", file=sys.stderr)
        return 65
    model = load(options.checkpoint)
    value, count = cross_entropy(model, tokens, options.sequence_length, options.batch_size)
    print(f"cross_entropy: {value:.9f} tokens: {count}")
    if options.generate:
        generate = pipeline("text-generation", model=options.checkpoint, dtype=torch.float32)
        result = generate(options.prompt, max_new_tokens=options.generate, do_sample=False)
        print(f"generated: {result[0]['generated_text']!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
