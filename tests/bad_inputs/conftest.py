"""Failures of what every row must pass are explained as those of the tests themselves."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("bad_inputs.rows")
