"""An interval for a mean over conversations, as `policy/src/interval.rs` has it.

Clopper and Pearson 1934, through the incomplete beta function. Rows of one
conversation are not independent, so the conversations are counted; a fractional k
(a sum of their means) is allowed: among outcomes in [0, 1] of one mean the coin
varies most, so the bounds err on the wide side.
"""

from math import exp, lgamma, log, log1p

CONFIDENCE = 0.95


def clopper_pearson(k: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Two-sided, of k successes in n."""
    half = (1 + confidence) / 2
    low = _quantile(1 - half, k, n - k + 1) if k > 0 and n > 0 else 0.0
    high = _quantile(half, k + 1, n - k) if k < n and n > 0 else 1.0
    return low, high


def _quantile(p: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _incomplete_beta(middle, a, b) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised: I_x(a, b). The fraction converges fast below the mean; above it
    the mirror does."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _below_the_mean(1 - x, b, a)
    return _below_the_mean(x, a, b)


def _below_the_mean(x: float, a: float, b: float) -> float:
    """The continued fraction of DLMF 8.17.22, by Lentz's method."""
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    away = lambda v: v if abs(v) >= 1e-300 else 1e-300
    c, d = 1.0, 1 / away(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / away(1 + even * d), away(1 + even / c)
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / away(1 + odd * d), away(1 + odd / c)
        fraction *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return front * fraction
