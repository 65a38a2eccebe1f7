"""The two names of xformers that the official code calls for sparse attention, on torch's own attention.

Where xformers is installed for the GPU, it is used. Elsewhere (a CPU, a torch that it was not built for) these stand
in: the same numbers, block by block, slower.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class BlockDiagonalMask:
    """Queries of a block see that block's keys alone."""

    def __init__(self, queries: list[int], keys: list[int]) -> None:
        """Lengths of the blocks."""
        self.queries = queries
        self.keys = keys

    @classmethod
    def from_seqlens(cls, q_seqlen: list[int], kv_seqlen: list[int] | None = None) -> BlockDiagonalMask:
        """As xformers has it."""
        return cls(list(q_seqlen), list(q_seqlen if kv_seqlen is None else kv_seqlen))


def memory_efficient_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_bias: BlockDiagonalMask | None = None
) -> torch.Tensor:
    """Attention over (B, M, H, K), with or without blocks; as xformers has it."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    def whole(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        return scaled_dot_product_attention(q, k, v).transpose(1, 2)

    if attn_bias is None:
        return whole(query, key, value)
    lengths = (attn_bias.queries, attn_bias.keys, attn_bias.keys)
    parts = [torch.functional.split(x, n, 1) for x, n in zip((query, key, value), lengths, strict=True)]
    return torch.cat([whole(q, k, v) for q, k, v in zip(*parts, strict=True)], 1)


def modules() -> dict[str, Any]:
    """Return modules by name that stand for xformers."""
    package, ops = types.ModuleType("xformers"), types.ModuleType("xformers.ops")
    fmha = types.ModuleType("xformers.ops.fmha")
    fmha.__dict__["BlockDiagonalMask"] = BlockDiagonalMask
    ops.__dict__.update(fmha=fmha, memory_efficient_attention=memory_efficient_attention)
    package.__dict__["ops"] = ops
    return {"xformers": package, "xformers.ops": ops, "xformers.ops.fmha": fmha}
