"""A wide two-block convolutional network on MNIST, with validation."""

from __future__ import annotations

import torch
from pictures import options, read
from torch import Tensor, nn
from torch.utils.data import DataLoader, random_split


def block(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding="same"), nn.ReLU(), nn.MaxPool2d(2)
    )


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block1 = block(1, 64, 11)
        self.block2 = block(64, 128, 5)
        self.fc = nn.Sequential(
            nn.Linear(6272, 2048),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(2048, 1024),
            nn.ReLU(),
            nn.Linear(1024, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.block2(self.block1(x)), 1))


def main() -> None:
    chosen = options(__doc__, epochs=10)
    train_set, val_set = random_split(read(chosen.data, train=True), [48_000, 12_000])
    train_loader = DataLoader(train_set, batch_size=10, shuffle=True, num_workers=chosen.workers)
    val_loader = DataLoader(val_set, batch_size=10, num_workers=chosen.workers)
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=1e-4)
    running, step = 0.0, 0
    for epoch in range(chosen.epochs):
        net.train()
        total = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            running, step, total = running + loss.item(), step + 1, total + loss.item()
            if step % 100 == 0:
                print(f"step {step}: loss {running / step:.4f}")
        net.eval()
        val_loss = 0.0
        with torch.no_grad():
            for images, labels in val_loader:
                val_loss += criterion(net(images), labels).item()
        print(
            f"epoch {epoch + 1}: train loss {total / len(train_loader):.4f}, "
            f"validation loss {val_loss / len(val_loader):.4f}"
        )
    torch.save(net.state_dict(), chosen.save)


if __name__ == "__main__":
    main()
