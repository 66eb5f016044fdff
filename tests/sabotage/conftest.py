"""What takes minutes is collected on demand alone: `make sabotage`."""

import os

collect_ignore = [] if os.environ.get("TILLROLL_SLOW") == "1" else ["test_it_turns_red.py"]
