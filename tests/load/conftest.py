"""The runs take long and need Locust: TILLROLL_SLOW=1 asks for them."""

import os

collect_ignore = [] if os.environ.get("TILLROLL_SLOW") == "1" else ["test_short_run.py"]
