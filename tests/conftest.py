"""Settings of all tests.

Property tests draw new examples on a developer's machine and the same ones in CI: a change must not be turned away for
a fault that it did not bring. Deadlines are off, because these machines are shared and noisy.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
