"""A small convolutional network on CIFAR-10."""

from __future__ import annotations

import time

import torch
from pictures import options, read
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 3)
        self.fc1 = nn.Linear(16 * 6 * 6, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(functional.relu(self.conv1(x)))
        x = self.pool(functional.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = functional.relu(self.fc1(x))
        x = functional.relu(self.fc2(x))
        return self.fc3(x)


def main() -> None:
    chosen = options(__doc__, epochs=100)
    train_loader = DataLoader(
        read(chosen.data, train=True), batch_size=10, shuffle=True, num_workers=chosen.workers
    )
    test_loader = DataLoader(
        read(chosen.data, train=False), batch_size=8, num_workers=chosen.workers
    )
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(chosen.epochs):
        started, running, correct = time.time(), 0.0, 0
        for images, labels in train_loader:
            optimizer.zero_grad()
            outputs = net(images)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            correct += (outputs.argmax(1) == labels).sum().item()
        print(
            f"epoch {epoch + 1}: loss {running / len(train_loader):.5f}, "
            f"accuracy {correct / len(train_loader.dataset):.2f}, "
            f"{time.time() - started:.1f} s"
        )
    torch.save(net.state_dict(), chosen.save)
    correct = 0
    with torch.no_grad():
        for images, labels in test_loader:
            correct += (net(images).argmax(1) == labels).sum().item()
    print(f"test accuracy {correct / len(test_loader.dataset):.4f}")


if __name__ == "__main__":
    main()
