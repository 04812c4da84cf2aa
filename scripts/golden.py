#!/usr/bin/env python3
"""Makes and checks the OLMoE folders of tests/golden with transformers (tests/golden/README.md).

  scripts/golden.py --check tests/golden/olmoe ...     recomputes all numbers of existing folders
  scripts/golden.py --write DIR --case olmoe --seed 1  makes a folder from random weights

The check takes config.json, moe.yaml, model.safetensors and the batch from the folder; all else is
computed here and compared. Exit 0: all within the noise stated below, 1: not, 77: no transformers.
Needs `scripts/setup.sh --python`. Capacity, dropping, the switch formula and the z-loss are plain
PyTorch on top of the Hugging Face model, by a hook on its routers.
"""

import argparse
import dataclasses
import math
import pathlib
import sys
import tempfile

import transformers_environment

transformers_environment.enter()

import torch  # noqa: E402
import yaml  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForCausalLM, OlmoeConfig  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

IGNORED = -100
NUM_UPDATES = 10
# Float32 noise between implementations. Scalars and logits: of max(1, largest reference);
# gradients: of the tensor's largest; weights: root mean square of the difference. The last is the
# tightest: AdamW magnifies an entry whose gradient is near its eps. Another order of the sums in
# load_balance_loss moved one of 1,024 entries by 2.3e-5 (gradient 6e-8), 7.2e-7 for its tensor.
NOISE = {"logits": 8e-7, "gradients": 1.5e-6, "adamw_losses": 1e-6, "final": 7e-7}


# --- the model ---------------------------------------------------------------------


@dataclasses.dataclass
class MoeOptions:
    """The `moe:` section of a case."""

    scope: str
    load_balance_coef: float
    z_loss_coef: float
    capacity_factor: float | None
    policy: str

    @staticmethod
    def read(path):
        section = yaml.safe_load(path.read_text())["moe"]
        balance, capacity = section["load_balance"], section["capacity"]
        if balance["formula"] != "switch" or balance["scope"] not in ("sequence", "global"):
            raise ValueError(f"{path}: only the switch formula per sequence or global is here")
        if capacity["group"] != "sequence" or capacity["policy"] not in ("position", "probability"):
            raise ValueError(f"{path}: only a capacity per sequence, by position or probability")
        return MoeOptions(balance["scope"], balance["coef"], section["router_z_loss_coef"],
                          capacity["factor"], capacity["policy"])


def kept_choices(ids, weights, num_experts, factor, policy):
    """Which choices [B,S,K] fit into C = ceil(factor*S*K/E) places of each expert and sequence."""
    num_sequences, length, top_k = ids.shape
    capacity = math.ceil(factor * length * top_k / num_experts)
    kept = torch.zeros_like(ids, dtype=torch.bool)
    for sequence in range(num_sequences):
        for expert in range(num_experts):
            token, choice = torch.where(ids[sequence] == expert)  # in token order
            if policy == "probability":  # stable: ties go to the earlier token
                order = weights[sequence, token, choice].sort(descending=True, stable=True).indices
                token, choice = token[order], choice[order]
            kept[sequence, token[:capacity], choice[:capacity]] = True
    return kept


class RouterHooks:
    """Applies MoeOptions to every router of a Hugging Face OLMoE and keeps what it decided."""

    def __init__(self, model, options):
        self.options = options
        self.num_experts = model.config.num_experts
        self.num_sequences = 0
        self.logits, self.ids, self.dropped = [], [], []
        for layer in model.model.layers:
            layer.mlp.gate.register_forward_hook(self.after_router)

    def start(self, num_sequences):
        self.num_sequences = num_sequences
        self.logits, self.ids, self.dropped = [], [], []

    def after_router(self, _module, _inputs, output):
        logits, weights, ids = output
        by_sequence = (self.num_sequences, -1)
        ids_BSK = ids.unflatten(0, by_sequence)
        self.logits.append(logits.unflatten(0, by_sequence))
        self.ids.append(ids_BSK)
        if self.options.capacity_factor is None:
            return output
        kept = kept_choices(ids_BSK, weights.detach().unflatten(0, by_sequence), self.num_experts,
                            self.options.capacity_factor, self.options.policy).flatten(0, 1)
        self.dropped.append(int((~kept).sum()))
        return logits, weights * kept, ids  # a weight of zero: no output and no gradient

    def load_balance_loss(self):
        """switch: E/(K*T) sum_e n_e mean_p_e of a group; the mean over groups, then layers."""
        layers = []
        for logits_BSE, ids_BSK in zip(self.logits, self.ids):
            if self.options.scope == "global":
                logits_BSE, ids_BSK = logits_BSE.flatten(0, 1)[None], ids_BSK.flatten(0, 1)[None]
            _, num_tokens, top_k = ids_BSK.shape
            probabilities_GE = logits_BSE.float().softmax(-1).mean(1)
            counts_GE = torch.nn.functional.one_hot(ids_BSK, self.num_experts).sum((1, 2))
            fractions_GE = counts_GE / (top_k * num_tokens)
            layers.append(self.num_experts * (fractions_GE * probabilities_GE).sum(-1).mean())
        return torch.stack(layers).mean()

    def z_loss(self):
        return torch.stack([x.float().logsumexp(-1).square().mean() for x in self.logits]).mean()


class Case:
    """A golden folder's model and batch, ready to compute."""

    def __init__(self, folder, input_ids, labels):
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager",
            experts_implementation="eager").train()
        self.input_ids, self.labels = input_ids, labels
        moe_yaml = pathlib.Path(folder) / "moe.yaml"
        self.options = MoeOptions.read(moe_yaml) if moe_yaml.exists() else None
        self.hooks = RouterHooks(self.model, self.options) if self.options else None

    def forward(self, model_with_aux=True):
        """Returns the entries that one forward gives; `loss` carries the graph."""
        if self.hooks is None:
            out = self.model(input_ids=self.input_ids, labels=self.labels,
                             output_router_logits=model_with_aux)
            aux = {"aux_loss": out.aux_loss} if model_with_aux else {}
            return {"logits": out.logits, "loss": out.loss, **aux}
        self.hooks.start(len(self.input_ids))
        out = self.model(input_ids=self.input_ids, labels=self.labels, output_router_logits=False)
        aux_loss, z_loss = self.hooks.load_balance_loss(), self.hooks.z_loss()
        loss = (out.loss + self.options.load_balance_coef * aux_loss
                + self.options.z_loss_coef * z_loss)
        entries = {"logits": out.logits, "loss": loss, "aux_loss": aux_loss, "z_loss": z_loss}
        if self.options.capacity_factor is not None:
            entries["dropped_per_layer"] = torch.tensor(self.hooks.dropped)
        return entries

    def compute(self, model_with_aux=True):
        """Returns (reference entries, gradients, final weights), tensors under hub names."""
        entries = self.forward(model_with_aux)
        entries["loss"].backward()
        parameters = list(self.model.parameters())
        norms = torch.stack([p.grad.norm() for p in parameters])
        reference = {name: value.detach().reshape(value.shape or 1)
                     for name, value in entries.items()}
        reference["grad_norm"] = norms.norm().reshape(1)
        gradients = self.with_hub_names(lambda p: p.grad)

        optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), eps=1e-8,
                                      weight_decay=0.1)
        losses = []
        for _ in range(NUM_UPDATES):
            optimizer.zero_grad()
            loss = self.forward(model_with_aux)["loss"]
            losses.append(loss.detach())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        reference["adamw_losses"] = torch.stack(losses)
        return reference, gradients, self.with_hub_names(lambda p: p)

    def with_hub_names(self, value_of):
        """value_of(parameter) for every parameter, split and named as save_pretrained does."""
        values = [value_of(p).detach().clone() for p in self.model.parameters()]
        carrier = AutoModelForCausalLM.from_config(self.model.config, dtype=torch.float32)
        for parameter, value in zip(carrier.parameters(), values):
            parameter.data = value
        with tempfile.TemporaryDirectory() as folder:
            carrier.save_pretrained(folder)
            return load_file(f"{folder}/model.safetensors")


# --- --check -------------------------------------------------------------------------


def difference(kind, ours, reference):
    """The difference in the unit that NOISE[kind] bounds."""
    if ours.shape != reference.shape:
        raise ValueError(f"shape {tuple(ours.shape)}, the reference has {tuple(reference.shape)}")
    delta = (ours.double() - reference.double()).abs()
    largest = reference.double().abs().max().item()
    if not ours.isfinite().all():
        return math.inf
    if kind == "final":
        return delta.square().mean().sqrt().item()
    if kind == "gradients":
        if largest == 0.0:  # a reference of exactly zero means exactly zero
            return 0.0 if delta.max() == 0 else math.inf
        return delta.max().item() / largest
    return delta.max().item() / max(1.0, largest)


class Report:
    def __init__(self):
        self.good = True

    def line(self, what, worst, bound, where=""):
        good = worst <= bound
        self.good = self.good and good
        verdict = "ok" if good else "WRONG"
        print(f"  {what:<20} {worst:9.2e}  (at most {bound:.1e})  {verdict} {where}")

    def tensors(self, kind, ours, reference):
        """One line for the worst tensor of a file; both sides must have the same names."""
        missing = sorted(set(ours) ^ set(reference))
        if missing:
            self.good = False
            print(f"  {kind:<20} WRONG: only on one side: {', '.join(missing)}")
            return
        worst, name = max((difference(kind, ours[name], reference[name]), name) for name in ours)
        self.line(kind, worst, NOISE[kind], name)


def check(folder):
    folder = pathlib.Path(folder)
    print(folder)
    reference = load_file(folder / "reference.safetensors")
    case = Case(folder, reference.pop("input_ids"), reference.pop("labels"))
    ours, gradients, final = case.compute(model_with_aux="aux_loss" in reference)
    report = Report()
    if set(ours) != set(reference):
        report.good = False
        print(f"  WRONG: entries only on one side: {sorted(set(ours) ^ set(reference))}")
    for name in sorted(set(ours) & set(reference)):
        kind = name if name == "adamw_losses" else "logits"
        bound = 0.0 if name == "dropped_per_layer" else NOISE[kind]
        report.line(name, difference(kind, ours[name], reference[name]), bound)
    report.tensors("gradients", gradients, load_file(folder / "gradients.safetensors"))
    report.tensors("final", final, load_file(folder / "final.safetensors"))
    return report.good


# --- --write ---------------------------------------------------------------------------

SMALL = dict(vocab_size=128, hidden_size=32, intermediate_size=24, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=4, num_experts=8, num_experts_per_tok=3,
             max_position_embeddings=64, initializer_range=0.08, use_cache=False,
             output_router_logits=True, pad_token_id=None, bos_token_id=None, eos_token_id=None)


def moe_section(scope, coef, z_loss_coef, factor, policy):
    return {"load_balance": {"formula": "switch", "scope": scope, "coef": coef},
            "router_z_loss_coef": z_loss_coef,
            "capacity": {"factor": factor, "group": "sequence", "policy": policy}}


# case -> (what differs from SMALL, the moe: section or None)
CASES = {
    "olmoe": ({}, None),
    "olmoe_gqa_clip": (
        dict(num_key_value_heads=2, clip_qkv=0.5, intermediate_size=16, num_experts=6,
             num_experts_per_tok=2, norm_topk_prob=True, rms_norm_eps=1e-6,
             tie_word_embeddings=True, router_aux_loss_coef=0.02,
             rope_parameters={"rope_theta": 500000.0, "rope_type": "default"}), None),
    "olmoe_switch": ({}, moe_section("sequence", 0.01, 0.001, None, "position")),
    "olmoe_capacity_position": ({}, moe_section("sequence", 0.01, 0.001, 1.0, "position")),
    "olmoe_capacity_probability": ({}, moe_section("global", 0.02, 0.0, 0.75, "probability")),
}


def write(folder, case_name, seed):
    folder = pathlib.Path(folder)
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"golden: {folder} is not empty")
    changes, moe = CASES[case_name]
    config = OlmoeConfig(**{**SMALL, **changes, "output_router_logits": moe is None})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # a weight of one would hide that it is forgotten
                parameter.normal_(1.0, 0.2)
            elif moe and name.endswith("mlp.gate.weight"):  # skewed enough that experts overflow
                parameter.normal_(0.0, 0.5)
    model.save_pretrained(folder)
    if moe:
        head = "# the `moe:` section under which these numbers were computed\n"
        (folder / "moe.yaml").write_text(head + yaml.safe_dump({"moe": moe}, sort_keys=False))
    input_ids = torch.randint(0, config.vocab_size, (4, 24))
    labels = input_ids.clone()
    labels[1, :5] = IGNORED
    if moe:
        labels[3] = IGNORED  # a sequence, and with four data ranks a rank, without a target
    reference, gradients, final = Case(folder, input_ids, labels).compute()
    batch = {"input_ids": input_ids, "labels": labels}
    save_file({**batch, **reference}, folder / "reference.safetensors")
    save_file(gradients, folder / "gradients.safetensors")
    save_file(final, folder / "final.safetensors")
    print(f"{folder}: {case_name}, seed {seed}, loss {reference['loss'].item():.6f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", nargs="+", metavar="DIR", help="folders to recompute")
    parser.add_argument("--write", metavar="DIR", help="a new folder to make")
    parser.add_argument("--case", choices=CASES, default="olmoe", help="with --write")
    parser.add_argument("--seed", type=int, default=1, help="with --write")
    options = parser.parse_args()
    if bool(options.check) == bool(options.write):
        parser.error("one of --check and --write is needed")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # the same sums on every number of cores
    if options.write:
        write(options.write, options.case, options.seed)
        return 0
    results = {folder: check(folder) for folder in options.check}
    print(f"golden: {sum(results.values())} of {len(results)} folders recomputed and equal")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
