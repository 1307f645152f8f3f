"""The sampler of this process, as `engine.name` says."""

from mutual_taught.config import blocks
from mutual_taught.sampling import vllm
from mutual_taught.sampling.sampler import Sampler
from mutual_taught.sampling.transformers import Transformers


def local_sampler(settings: blocks.Engine, context: int, tokens: blocks.Tokens) -> Sampler:
    """Make the sampler that `engine.name` names, in this process."""
    if settings.name == "vllm":
        return vllm.Vllm(settings, context)
    return Transformers(settings, tokens)
