"""PEFT's LoRA on every linear layer, with a lean forward and backward.

PEFT keeps the structure, names and files. Its forward for a bfloat16 base casts
activations to the adapter's float32 and back in every layer, which costs about
as much as the base's own product on CPU; here the small products run in the
base's type, the gradient of A and B is summed in float32.
"""

import math

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear as LoraLinear


class _LowRank(torch.autograd.Function):
    """y = x Wt + s (x At) Bt; x: [.., in], W: [out, in], A: [r, in], B: [out, r]."""

    @staticmethod
    def forward(ctx, x, weight, bias, a, b, scale):
        flat = x.reshape(-1, x.shape[-1])
        low, high = a.to(x.dtype), b.to(x.dtype) * scale
        inner = flat @ low.T
        y = torch.nn.functional.linear(flat, weight, bias)
        y.addmm_(inner, high.T)
        ctx.save_for_backward(flat, weight, low, high, inner)
        ctx.scale, ctx.shape = scale, x.shape
        return y.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx, grad):
        flat, weight, low, high, inner = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        through = grad @ high
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (grad @ weight).addmm_(through, low).view(ctx.shape)
        to_a = (through.T @ flat).float()
        to_b = (grad.T @ inner).float() * ctx.scale
        return to_x, None, None, to_a, to_b, None


def _forward(self, x, *args, **kwargs):
    name = self.active_adapters[0]
    layer = self.base_layer
    if self.disable_adapters:
        return torch.nn.functional.linear(x, layer.weight, layer.bias)
    return _LowRank.apply(
        x, layer.weight, layer.bias, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
    )


def linear_layers(model) -> list[str]:
    """The last words of all linear layers but the head."""
    head = model.get_output_embeddings()
    return sorted(
        {n.rsplit(".", 1)[-1] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head}
    )


def attach(model, rank: int, alpha: int, seed: int, name: str):
    """Wraps the model; only the adapter's tensors (float32) have gradients."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=linear_layers(model),
    )
    wrapped = get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path = name
    for module in wrapped.modules():
        if isinstance(module, LoraLinear) and type(module.base_layer) is torch.nn.Linear:
            module.forward = _forward.__get__(module)
    return wrapped


def tensors(wrapped) -> dict:
    """The adapter's tensors by PEFT's file names (no adapter name in them)."""
    return {n.replace(".default.", "."): p for n, p in wrapped.named_parameters() if p.requires_grad}


def snapshot(wrapped) -> dict:
    return {n: p.detach().clone() for n, p in tensors(wrapped).items()}


@torch.no_grad()
def restore(wrapped, saved: dict):
    for name, tensor in tensors(wrapped).items():
        tensor.copy_(saved[name])


def finite(total: float) -> bool:
    return math.isfinite(total)
