"""A learner's networks: one that tenfold knows layer by layer, and one that it does not."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as learners write it


class Net(nn.Module):
    """A list of layers, whose first attribute is its last layer."""

    def __init__(self, hidden=16, dropout=0.0):
        super().__init__()
        self.fc2 = nn.Linear(hidden, 10)
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(4 * 4 * 4, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        """Logits."""
        x = self.pool(F.relu(self.bn(self.conv(x))))
        x = x.view(-1, 4 * 4 * 4)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


class Curved(nn.Module):
    """No list of layers that tenfold knows."""

    def __init__(self, hidden=16, dropout=0.0):
        super().__init__()
        self.fc1 = nn.Linear(64, hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x):
        """Logits."""
        return self.fc2(self.dropout(torch.tanh(self.fc1(x.flatten(1)))))
