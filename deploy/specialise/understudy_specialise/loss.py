"""Cross-entropy of the reply's tokens, without holding all logits at once.

With 49,152 tokens the head and its softmax are a quarter of a small model's
work. Logits are made in slices of some rows, and the gradient with them, so
that a slice stays in the cache; and only for the tokens that the task's own
text contains and a random sample of the others, new for each step, which keeps
the rest of the vocabulary from drifting up. Evaluation reads the whole head.

Where the provider told how likely other tokens were, the target is not one token
but a mixture: `own` of it the token that was written, the rest by `shares`.
"""

from typing import NamedTuple

import torch

SLICE = 128  # rows of logits at a time
SAMPLE = 2048  # of the tokens that the task's text does not contain


class Soft(NamedTuple):
    """What a target holds beside the written token, sorted by row."""

    own: torch.Tensor  # [n]: the written token's weight
    rows: torch.Tensor  # [m]: which target
    places: torch.Tensor  # [m]: which token
    shares: torch.Tensor  # [m]: its weight; own + shares is 1 for each target


class _Summed(torch.autograd.Function):
    """Sum of -log softmax(hidden Wt)[target]; hidden: [n, width], weight: [v, width]."""

    @staticmethod
    def forward(ctx, hidden, weight, targets, soft=None):
        gradient = torch.empty_like(hidden)
        total = 0.0
        for at in range(0, len(hidden), SLICE):
            part = slice(at, at + SLICE)
            logits = (hidden[part] @ weight.T).float()
            target = targets[part, None]
            norm = logits.logsumexp(-1, keepdim=True)
            own = logits.new_ones(target.shape) if soft is None else soft.own[part, None]
            total = total + (norm - own * logits.gather(1, target)).sum()
            others = None
            if soft is not None:
                first, last = torch.searchsorted(soft.rows, torch.tensor([at, at + SLICE], device=targets.device)).tolist()
                others = (soft.rows[first:last] - at, soft.places[first:last])
                total = total - (soft.shares[first:last] * logits[others]).sum()
            share = logits.sub_(norm).exp_()
            share.scatter_add_(1, target, -own)
            if others is not None:
                share.index_put_(others, -soft.shares[first:last], accumulate=True)
            torch.mm(share.to(weight.dtype), weight, out=gradient[part])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, grad):
        return ctx.saved_tensors[0] * grad, None, None, None


class Vocabulary:
    """The rows of the head that a step needs. `distil`: how much of a target is
    what the provider nearly said, where it told."""

    def __init__(self, head, sequences, stop: int, seed: int, distil: float = 0.0):
        self._head, self._distil = head, distil
        self._chance = torch.Generator().manual_seed(seed)
        self._known = {stop}
        self.meet(sequences)

    def meet(self, sequences):
        """Takes in the tokens of an epoch's rows."""
        size = self._head.weight.shape[0]
        seen = self._known | {t for s in sequences for t in s.ids}
        if self._distil:
            seen |= {id_ for s in sequences for _, shares in s.soft for id_, _ in shares}
        if len(seen) == len(self._known):
            return
        self._known = seen
        others = torch.ones(size, dtype=torch.bool)
        others[list(seen)] = False
        self._others = others.nonzero()[:, 0]
        known = torch.tensor(sorted(seen))
        self._place = torch.full((size,), -1, dtype=torch.long)
        self._place[known] = torch.arange(len(known))
        self._whole = self._head.bias is not None or len(seen) + SAMPLE > size * 0.7
        self._weight = None if self._whole else self._head.weight[known.to(self._head.weight.device)]

    def begin_step(self):
        """Draws the sample of the step."""
        if self._whole:
            self.weight = self._head.weight
            return
        drawn = self._others[torch.randint(len(self._others), (SAMPLE,), generator=self._chance)]
        self.weight = torch.cat([self._weight, self._head.weight[drawn.to(self._weight.device)]])

    def loss(self, hidden, targets, soft=()):
        """`soft`: for some targets, in order, (index, ((id, share), …))."""
        mixed = self._mixed(len(targets), soft, targets.device) if self._distil and soft else None
        places = targets if self._whole else self._place.to(targets.device)[targets]
        if self._whole and self._head.bias is not None:
            logits = self._head(hidden).float()
            if mixed is None:
                return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            aim = torch.zeros_like(logits).scatter_(1, targets[:, None], mixed.own[:, None])
            aim.index_put_((mixed.rows, mixed.places), mixed.shares, accumulate=True)
            return torch.nn.functional.cross_entropy(logits, aim, reduction="sum")
        return _Summed.apply(hidden, self.weight, places, mixed)

    def _mixed(self, n: int, soft, device) -> Soft:
        own = torch.ones(n)
        own[[at for at, _ in soft]] = 1 - self._distil
        rows = torch.tensor([at for at, shares in soft for _ in shares])
        ids = torch.tensor([id_ for _, shares in soft for id_, _ in shares])
        shares = torch.tensor([self._distil * share for _, shares in soft for _, share in shares])
        places = ids if self._whole else self._place[ids]
        return Soft(own.to(device), rows.to(device), places.to(device), shares.to(device))
