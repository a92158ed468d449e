"""A LeNet on MNIST."""

from __future__ import annotations

import torch
from pictures import options, read
from torch import Tensor, nn
from torch.utils.data import DataLoader


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 120, 5),
            nn.ReLU(),
        )
        self.fc = nn.Sequential(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.conv(x), 1))


def accuracy(net: nn.Module, loader: DataLoader) -> float:
    correct = total = 0
    net.eval()
    with torch.no_grad():
        for images, labels in loader:
            correct += (net(images).argmax(dim=1) == labels).sum().item()
            total += labels.size(0)
    return correct / total


def main() -> None:
    chosen = options(__doc__, epochs=10)
    train_loader = DataLoader(
        read(chosen.data, train=True), batch_size=64, shuffle=True, num_workers=chosen.workers
    )
    test_loader = DataLoader(
        read(chosen.data, train=False), batch_size=64, num_workers=chosen.workers
    )
    net = LeNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(chosen.epochs):
        net.train()
        running = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
        print(f"epoch {epoch + 1}: loss {running / len(train_loader):.4f}")
    print(f"train accuracy {accuracy(net, train_loader):.5f}")
    print(f"test accuracy {accuracy(net, test_loader):.5f}")
    torch.save(net.state_dict(), chosen.save)


if __name__ == "__main__":
    main()
