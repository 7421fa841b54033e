"""Cross-entropy of the reply's tokens, without holding all logits at once.

With 49,152 tokens the head and its softmax are a quarter of a small model's
work. Logits are made in slices of some rows, and the gradient with them, so
that a slice stays in the cache; and only for the tokens that the task's own
text contains and a random sample of the others, new for each step, which keeps
the rest of the vocabulary from drifting up. Evaluation reads the whole head.
"""

import torch

SLICE = 128  # rows of logits at a time
SAMPLE = 2048  # of the tokens that the task's text does not contain


class _Summed(torch.autograd.Function):
    """Sum of -log softmax(hidden Wt)[target]; hidden: [n, width], weight: [v, width]."""

    @staticmethod
    def forward(ctx, hidden, weight, targets):
        gradient = torch.empty_like(hidden)
        total = 0.0
        for at in range(0, len(hidden), SLICE):
            part = slice(at, at + SLICE)
            logits = (hidden[part] @ weight.T).float()
            target = targets[part, None]
            norm = logits.logsumexp(-1, keepdim=True)
            total = total + (norm - logits.gather(1, target)).sum()
            share = logits.sub_(norm).exp_()
            share.scatter_add_(1, target, share.new_full(target.shape, -1.0))
            torch.mm(share.to(weight.dtype), weight, out=gradient[part])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, grad):
        return ctx.saved_tensors[0] * grad, None, None


class Vocabulary:
    """The rows of the head that a step needs."""

    def __init__(self, head, sequences, stop: int, seed: int):
        size = head.weight.shape[0]
        seen = {stop, *(t for s in sequences for t in s.ids)}
        others = torch.ones(size, dtype=torch.bool)
        others[list(seen)] = False
        self._head = head
        self._others = others.nonzero()[:, 0]
        self._seen = torch.tensor(sorted(seen))
        self._place = torch.full((size,), -1, dtype=torch.long)
        self._place[self._seen] = torch.arange(len(self._seen))
        self._whole = head.bias is not None or len(seen) + SAMPLE > size * 0.7
        self._chance = torch.Generator().manual_seed(seed)
        self._weight = None if self._whole else head.weight[self._seen.to(head.weight.device)]

    def begin_step(self):
        """Draws the sample of the step."""
        if self._whole:
            self.weight = self._head.weight
            return
        drawn = self._others[torch.randint(len(self._others), (SAMPLE,), generator=self._chance)]
        self.weight = torch.cat([self._weight, self._head.weight[drawn.to(self._weight.device)]])

    def loss(self, hidden, targets):
        if self._whole and self._head.bias is not None:
            return torch.nn.functional.cross_entropy(self._head(hidden).float(), targets, reduction="sum")
        places = targets if self._whole else self._place.to(targets.device)[targets]
        return _Summed.apply(hidden, self.weight, places)
