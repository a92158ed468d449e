"""Softmax regression on Fashion-MNIST, from raw tensors."""

from __future__ import annotations

import torch
from pictures import options, read
from torch import Tensor
from torch.utils.data import DataLoader

W = torch.normal(0, 0.01, size=(784, 10), requires_grad=True)
b = torch.zeros(10, requires_grad=True)


class Accumulator:
    def __init__(self, n: int) -> None:
        self.data = [0.0] * n

    def add(self, *args: float) -> None:
        self.data = [a + float(b) for a, b in zip(self.data, args, strict=True)]


def softmax(x: Tensor) -> Tensor:
    exponentials = torch.exp(x)
    return exponentials / exponentials.sum(1, keepdim=True)


def net(x: Tensor) -> Tensor:
    return softmax(torch.matmul(x.reshape((-1, W.shape[0])), W) + b)


def cross_entropy(y_hat: Tensor, y: Tensor) -> Tensor:
    return -torch.log(y_hat[range(len(y_hat)), y])


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    return float((y_hat.argmax(dim=1) == y).sum().item())


def evaluate_accuracy(loader: DataLoader) -> float:
    metric = Accumulator(2)
    with torch.no_grad():
        for x, y in loader:
            metric.add(accuracy(net(x), y), y.numel())
    return metric.data[0] / metric.data[1]


def sgd(lr: float, batch_size: int) -> None:
    with torch.no_grad():
        for parameter in (W, b):
            parameter -= lr * parameter.grad / batch_size
            parameter.grad.zero_()


def main() -> None:
    chosen = options(__doc__, epochs=10)
    train_loader = DataLoader(
        read(chosen.data, train=True), batch_size=256, shuffle=True, num_workers=chosen.workers
    )
    test_loader = DataLoader(
        read(chosen.data, train=False), batch_size=256, num_workers=chosen.workers
    )
    for epoch in range(chosen.epochs):
        metric = Accumulator(3)
        for x, y in train_loader:
            y_hat = net(x)
            loss = cross_entropy(y_hat, y)
            loss.sum().backward()
            sgd(0.1, x.shape[0])
            metric.add(loss.sum().item(), accuracy(y_hat, y), y.numel())
        loss, hits, n = metric.data
        print(
            f"epoch {epoch + 1}: loss {loss / n:.4f}, train accuracy {hits / n:.4f}, "
            f"test accuracy {evaluate_accuracy(test_loader):.4f}"
        )
    torch.save({"W": W, "b": b}, chosen.save)


if __name__ == "__main__":
    main()
