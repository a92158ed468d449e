"""A multilayer perceptron on Fashion-MNIST."""

from __future__ import annotations

import torch
from pictures import options, read
from torch import Tensor, nn
from torch.utils.data import DataLoader


class NeuralNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_relu_stack(self.flatten(x))


def train_loop(
    loader: DataLoader, model: nn.Module, loss_fn: nn.Module, optimizer: torch.optim.Optimizer
) -> float:
    size = len(loader.dataset)
    model.train()
    for batch, (x, y) in enumerate(loader):
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()
        if batch % 100 == 0:
            print(f"loss: {value:>7f}  [{batch * 64 + len(x):>5d}/{size:>5d}]")
    return value


def test_loop(loader: DataLoader, model: nn.Module, loss_fn: nn.Module) -> None:
    model.eval()
    test_loss = correct = 0.0
    with torch.no_grad():
        for x, y in loader:
            pred = model(x)
            test_loss += loss_fn(pred, y).item()
            correct += (pred.argmax(1) == y).type(torch.float).sum().item()
    print(f"accuracy {correct / len(loader.dataset):.4f}, loss {test_loss / len(loader):.4f}")


def main() -> None:
    chosen = options(__doc__, epochs=5)
    train_loader = DataLoader(
        read(chosen.data, train=True), batch_size=64, num_workers=chosen.workers
    )
    test_loader = DataLoader(
        read(chosen.data, train=False), batch_size=64, num_workers=chosen.workers
    )
    model = NeuralNetwork()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for epoch in range(chosen.epochs):
        print(f"epoch {epoch + 1}")
        loss = train_loop(train_loader, model, loss_fn, optimizer)
        test_loop(test_loader, model, loss_fn)
    torch.save(
        {
            "epoch": epoch,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "loss": loss,
        },
        chosen.save,
    )


if __name__ == "__main__":
    main()
