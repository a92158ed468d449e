"""Assertion details also for the helpers shared by all rows."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("bad_inputs.rows")
