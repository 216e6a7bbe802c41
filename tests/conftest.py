"""Every test's house: a home of its own, plain static files, and a broker that lives and dies with the process."""

from __future__ import annotations

import os
import tempfile

# Before Django reads its settings: no test touches the installation in ./var, and nothing rings at a real broker.
os.environ["PREFLOOP_HOME"] = tempfile.mkdtemp(prefix="prefloop-tests-")
os.environ["CELERY_BROKER_URL"] = "memory://"
