"""One token a row, by an exponential race among the nucleus; noise is keyed, not streamed."""

import torch
from torch import Tensor

# Candidates looked at: sorting a vocabulary is dear, and nuclei that wide are rare.
TOPS = (256, 4096, None)
CACHED = 1 << 19  # logits: 2 MB in float32

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # splitmix64's
BITS = 52  # of a uniform number; with the half that keeps it off 0 and 1 they fill a float64


def keys_at(seeds: Tensor, position: int) -> Tensor:
    """Derive the key of each response's next token from its seed and the token's position.

    It is number `position` of the splitmix64 stream that begins at the seed: a place of its own,
    not a state that is carried on, so that what was drawn before decides nothing.

    Args:
        seeds: int64, shape (rows,).
        position: of the token in the response, from 0.

    Returns:
        int64, shape (rows,).
    """
    return _mix(seeds + _signed(GOLDEN * (position + 1)))


def exponentials(keys: Tensor, ids: Tensor) -> Tensor:
    """Give each candidate its own exponential number, by only its row's key and its token id.

    Token v takes number v of the key's splitmix64 stream. The same token has the same noise
    whatever the model thinks of it and wherever it ranks: that couples the draws of two policies.

    Args:
        keys: int64, shape (rows,).
        ids: token ids, int64, shape (rows, candidates).

    Returns:
        float64 above 0, of mean 1, shape (rows, candidates).
    """
    mixed = _mix(keys[:, None] + _signed(GOLDEN) * (ids + 1))
    uniform = (_shifted(mixed, 64 - BITS).double() + 0.5) / (1 << BITS)
    return -uniform.log()


def draw_tokens(logits: Tensor, keys: Tensor, temperature: float, top_p: float) -> Tensor:
    """Draw one token a row: the candidate of the nucleus whose exponential clock rings first.

    The nucleus is the smallest set of most probable tokens whose probability reaches top_p; of
    equally probable ones those of lowest id are in. Candidate v rings at time E_v / p_v, E_v
    exponential; the first is v with probability p_v / sum of p. (The same as the largest of
    log p_v + Gumbel noise.) Where candidates stand among each other decides nothing.

    Args:
        logits: shape (rows, vocabulary); counted in float32.
        keys: of each row's next token, int64, shape (rows,).
        temperature: divides the logits.
        top_p: size of the nucleus.

    Returns:
        Token ids, shape (rows,).

    Source: ours; the paper names only temperature and top-p.
    """
    drawn = torch.empty_like(keys)
    rows = torch.arange(len(keys), device=keys.device)
    for top in TOPS:
        wide = []
        for part in torch.split(rows, few(logits)):
            scaled = logits.index_select(0, part).float().div_(temperature)
            drawn[part], wider = _draw_among(scaled, keys[part], top_p, top)
            wide.append(part[wider])
        rows = torch.cat(wide)
        if not len(rows):
            break
    return drawn


def few(logits: Tensor) -> int:
    """Say how many rows of logits to look at together: on a CPU those that fit into its caches."""
    return max(1, CACHED // logits.shape[1]) if logits.device.type == "cpu" else len(logits)


def _draw_among(
    scaled: Tensor, keys: Tensor, top_p: float, top: int | None
) -> tuple[Tensor, Tensor]:
    """Draw among the most probable tokens: `top` of them, or all.

    Returns:
        Token ids, and whether the nucleus may be wider, bool, both of shape (rows,).
    """
    if top is None or top >= scaled.shape[1]:
        values, ids = scaled.sort(dim=1, descending=True, stable=True)
    else:
        values, ids = _ordered(*scaled.topk(top, dim=1))
    probs = (values - scaled.logsumexp(dim=1, keepdim=True)).exp()
    kept = nucleus(probs, top_p)
    drawn = _first(probs * kept, ids, keys)
    if values.shape[1] == scaled.shape[1]:
        return drawn, torch.zeros_like(drawn, dtype=torch.bool)
    # A nucleus that takes the last candidate may go on behind it, and equals of the last that topk
    # left out may have lower ids.
    return drawn, (kept & (values == values[:, -1:])).any(dim=1)


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Tell which tokens are in: those before which less than top_p lies.

    Args:
        probs: the most probable first, shape (rows, candidates).
        top_p: what the set's probability is to reach.

    Returns:
        bool, shape (rows, candidates).
    """
    return probs.cumsum(dim=1) - probs < top_p


def _ordered(values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Order what topk gives by value, then by id: of equal values topk promises no order."""
    by_id = ids.argsort(dim=1)
    values, ids = values.gather(1, by_id), ids.gather(1, by_id)
    values, by_value = values.sort(dim=1, descending=True, stable=True)
    return values, ids.gather(1, by_value)


def _first(probs: Tensor, ids: Tensor, keys: Tensor) -> Tensor:
    """Name the token whose clock rings first; those of probability 0 never ring."""
    times = exponentials(keys, ids) / probs.double()
    return ids.gather(1, times.argmin(dim=1, keepdim=True)).squeeze(1)


def _mix(state: Tensor) -> Tensor:
    """Scatter 64-bit numbers, one to one (Steele, Lea and Flood, 2014); products wrap round."""
    state = (state ^ _shifted(state, 30)) * _signed(FIRST)
    state = (state ^ _shifted(state, 27)) * _signed(SECOND)
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """Shift right as unsigned numbers do: torch's own shift repeats the sign."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """Give the number whose 64 bits are the same in torch, which knows only signed ones."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
