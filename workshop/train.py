#!/usr/bin/python3
"""Trains quire-tiny within a budget of wall time, or the draft model: first on the corpus, then on quire-tiny's output.

    train.py tiny  DATA.npz CHECKPOINT.pt MINUTES
    train.py draft DATA.npz CHECKPOINT.pt MINUTES TEACHER.pt

Two processes share the weights. Each computes on one core, which is twice as fast as two threads on every small
matrix. Both compute gradients, the gradients are added, and each process updates its half of the weights. The schedule
follows the spent share of the budget, so the learning rate always ends at zero. A checkpoint is written every three
minutes. If one exists, training continues from it. `kill -STOP` and `kill -CONT` on the process group pause and continue
the training; a pause counts as ten seconds at most.
"""
import os
os.environ["OMP_NUM_THREADS"] = "1"
import sys
import time

import torch
from torch import multiprocessing
from torch.nn import functional as F

from bpe import SPECIALS
from data import Batches
from network import DRAFT, TINY, Network, Shape

PAD = SPECIALS.index("<|pad|>")
WORKERS = 2
MICRO = 1024                               # tokens in a micro-batch; this size fits the cache
MICROS = 2                                 # micro-batches of a worker in a step; they have different lengths, so different tasks
PREPARATION = 0.45                         # share of the budget in which the draft model learns from the corpus, which is cheaper
RATES = {"tiny": (0.02, 0.004), "draft": (0.02, 0.006)}     # Muon for matrices, Adam for the rest


def orthogonal(matrix):
    """Returns about the nearest orthogonal matrix, by five Newton-Schulz steps."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if wide is matrix else x.T


class Muon(torch.optim.Optimizer):
    """Momentum with an orthogonal step for each matrix, so that all directions learn at the same speed."""

    def __init__(self, weights, lr, momentum=0.95, decay=0.05):
        super().__init__(weights, dict(lr=lr, momentum=momentum, decay=decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                step = orthogonal(weight.grad.lerp(state["momentum"], group["momentum"]))
                scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * group["decay"]).add_(step, alpha=-group["lr"] * scale)


def rate(share):
    """Returns the learning rate's factor: it rises over the first 2 %, stays, and falls to zero over the last 60 %."""
    return max(0.0, min(share / 0.02, 1.0, (1 - share) / 0.6))


def loss_of(network, batch, teacher):
    """Cross-entropy with the corpus. With a teacher: cross-entropy with the teacher's distribution."""
    ids, where, targets = batch
    logits = network.head(network.hidden(ids).flatten(0, 1)[where])
    if teacher is None:
        return F.cross_entropy(logits, targets, reduction="sum")
    with torch.no_grad():
        wanted = teacher.head(teacher.hidden(ids).flatten(0, 1)[where])
    # half of the loss is the teacher's most likely token: a draft model must agree with it
    return (0.5 * F.cross_entropy(logits, wanted.softmax(-1), reduction="sum")
            + 0.5 * F.cross_entropy(logits, wanted.argmax(-1), reduction="sum"))


def load(path):
    """Loads a network from a checkpoint."""
    saved = torch.load(path)
    network = Network(Shape(**saved["shape"]))
    network.load_state_dict(saved["weights"])
    return network.eval()


def work(worker, kind, network, shared, barrier, data, path, budget, teacher):
    """Runs one of the two processes. `shared` holds the gradients, token counts and losses of all, and the clock."""
    torch.set_num_threads(1)
    gradients, counts, losses, clock = shared
    teacher = load(teacher) if teacher else None
    named = list(network.named_parameters())
    views, offset = [], 0                  # the gradients of every weight by worker, as views of the shared buffer
    for _, weight in named:
        views.append([gradients[other, offset:offset + weight.numel()].view_as(weight) for other in range(WORKERS)])
        offset += weight.numel()
    mine = [number for number in range(len(named)) if number % WORKERS == worker]
    matrix = [number for number in mine if named[number][1].dim() == 2 and "embd" not in named[number][0]]
    others = [number for number in mine if number not in matrix]
    optimizers = [Muon([named[number][1] for number in matrix], RATES[kind][0]),
                  torch.optim.Adam([named[number][1] for number in others], RATES[kind][1], betas=(0.9, 0.98))]
    notes = f"{path}.worker{worker}"
    step, tokens = 0, 0
    if os.path.exists(path) and os.path.exists(notes):
        saved = torch.load(notes)
        step, tokens = saved["step"], saved["tokens"]
        for optimizer, state in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)

    def save():
        states = [optimizer.state_dict() for optimizer in optimizers]
        torch.save(dict(step=step, tokens=tokens, optimizers=states), notes)
        if worker == 0:
            torch.save(dict(shape=vars(network.shape), weights=network.state_dict(), spent=float(clock)), path + ".new")
            os.replace(path + ".new", path)
        barrier.wait()

    batches = iter(Batches(data, MICRO, PAD, seed=1000 * worker + step))
    average, saved_at, shown = None, float(clock), float(clock)
    while float(clock) < budget:
        began = time.monotonic()
        for _, weight in named:
            weight.grad = None
        total = count = 0
        for _ in range(MICROS):
            batch = next(batches)
            loss = loss_of(network, batch, teacher if float(clock) > budget * PREPARATION else None)
            loss.backward()
            total, count, tokens = total + loss.item(), count + len(batch[2]), tokens + batch[0].numel()
        for (_, weight), view in zip(named, views):
            view[worker].copy_(weight.grad)
        counts[worker], losses[worker] = count, total
        barrier.wait()
        for number in mine:
            named[number][1].grad = sum(views[number]) / counts.sum()
        for optimizer, base in zip(optimizers, RATES[kind]):
            for group in optimizer.param_groups:
                group["lr"] = base * rate(float(clock) / budget)
            optimizer.step()
        loss = float(losses.sum() / counts.sum())
        barrier.wait()
        if worker == 0:
            clock += min(time.monotonic() - began, 10.0)
        barrier.wait()
        step += 1
        average = loss if average is None else average + 0.02 * (loss - average)
        if worker == 0 and float(clock) - shown > 30:
            shown = float(clock)
            print(f"{shown / 60:6.1f} min  step {step:5}  tokens {WORKERS * tokens / 1e6:6.2f} M  loss {average:.4f}", flush=True)
        if float(clock) - saved_at > 180:
            saved_at = float(clock)
            save()
    save()


def main(kind, data, path, minutes, teacher=None):
    torch.manual_seed(1)
    network, clock = Network({"tiny": TINY, "draft": DRAFT}[kind]), torch.zeros((), dtype=torch.float64)
    if os.path.exists(path):
        network, clock = load(path), clock + torch.load(path)["spent"]
    size = sum(weight.numel() for weight in network.parameters())
    print(f"{kind}: {size:,} parameters", flush=True)
    shared = [torch.zeros(WORKERS, size), torch.zeros(WORKERS), torch.zeros(WORKERS), clock]
    for tensor in (network, *shared):
        tensor.share_memory() if tensor is network else tensor.share_memory_()
    barrier = multiprocessing.Barrier(WORKERS)
    arguments = (kind, network, shared, barrier, data, path, float(minutes) * 60, teacher)
    workers = [multiprocessing.Process(target=work, args=(worker, *arguments)) for worker in range(WORKERS)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()
    sys.exit(max(abs(process.exitcode) for process in workers))


if __name__ == "__main__":
    main(*sys.argv[1:])
