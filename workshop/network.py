"""The network: a Llama (RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied head) small enough for two cores.

Rotary positions rotate neighbouring pairs (0,1), (2,3) ... of a head. GGUF's `llama` architecture expects this, so the
export needs no permutation.
"""
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Shape:
    """The sizes of a model, as in its GGUF metadata."""
    vocabulary: int = 2048
    hidden: int = 192
    layers: int = 5
    heads: int = 6
    kv_heads: int = 3
    ffn: int = 512
    context: int = 1024
    rope_base: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head_dim(self):
        return self.hidden // self.heads


TINY = Shape()
DRAFT = Shape(hidden=64, layers=2, heads=2, kv_heads=1, ffn=224)


class Norm(nn.Module):
    """Root-mean-square norm with a learned gain."""

    def __init__(self, size, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x):
        return x * (torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon)) * self.weight


def rotation(shape):
    """Returns cos and sin for every position and pair of a head: [context, head_dim / 2]."""
    half = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angle = torch.arange(shape.context, dtype=torch.float32)[:, None] * shape.rope_base ** -half
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Rotates the pairs of every head by their position. x: [batch, heads, time, head_dim]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Block(nn.Module):
    """Attention, then feed-forward. Each reads the normed residual stream and adds to it."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head_dim
        self.attn_norm = Norm(shape.hidden, shape.epsilon)
        self.attn_q = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.attn_k = nn.Linear(shape.hidden, kv, bias=False)
        self.attn_v = nn.Linear(shape.hidden, kv, bias=False)
        self.attn_output = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.ffn_norm = Norm(shape.hidden, shape.epsilon)
        self.ffn_gate = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.ffn_up = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.ffn_down = nn.Linear(shape.ffn, shape.hidden, bias=False)

    def attend(self, x, turn, mask, past):
        batch, time, _ = x.shape
        heads, kv_heads, size = self.shape.heads, self.shape.kv_heads, self.shape.head_dim
        q = rotate(self.attn_q(x).view(batch, time, heads, size).transpose(1, 2), *turn)
        k = rotate(self.attn_k(x).view(batch, time, kv_heads, size).transpose(1, 2), *turn)
        v = self.attn_v(x).view(batch, time, kv_heads, size).transpose(1, 2)
        if past is not None:
            if past:
                k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
            past[:] = k, v
        # the query heads of one kv head are joined along the time axis
        grouped = q.reshape(batch, kv_heads, -1, size)
        scores = (grouped * size ** -0.5) @ k.transpose(2, 3)
        if mask is not None:
            scores = (scores.view(batch, heads, time, -1) + mask).view_as(scores)
        out = (scores.softmax(-1) @ v).view(batch, heads, time, size)
        return self.attn_output(out.transpose(1, 2).reshape(batch, time, heads * size))

    def forward(self, x, turn, mask, past):
        x = x + self.attend(self.attn_norm(x), turn, mask, past)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Network(nn.Module):
    """Token ids in, logits out."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.hidden)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.hidden, shape.epsilon)
        cos, sin = rotation(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if name == "token_embd.weight":
                nn.init.normal_(weight, std=0.05)
            elif weight.dim() == 2:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
                if "attn_output" in name or "ffn_down" in name:
                    weight.data *= 0.1

    def hidden(self, ids, cache=None):
        """Returns the residual stream after the last norm. `cache` has one list for each layer, empty at first."""
        start = cache[0][0].shape[2] if cache and cache[0] else 0
        time = ids.shape[1]
        turn = self.cos[start:start + time], self.sin[start:start + time]
        mask = torch.full((time, start + time), float("-inf")).triu(start + 1) if time > 1 else None
        x = self.token_embd(ids)
        for number, block in enumerate(self.blk):
            x = block(x, turn, mask, None if cache is None else cache[number])
        return self.output_norm(x)

    def head(self, hidden):
        return F.linear(hidden, self.token_embd.weight)

    def forward(self, ids, cache=None):
        return self.head(self.hidden(ids, cache))

    @torch.no_grad()
    def greedy(self, prompt, end, limit=512):
        """Continues a prompt with the most likely token (ties: the lower id) until `end`, the limit or the context."""
        cache = [[] for _ in self.blk]
        out, logits = [], self(torch.tensor([prompt]), cache)[0, -1]
        while True:
            out.append(int(logits.argmax()))
            if out[-1] == end or len(out) >= limit or len(prompt) + len(out) >= self.shape.context:
                return out
            logits = self(torch.tensor([out[-1:]]), cache)[0, -1]
