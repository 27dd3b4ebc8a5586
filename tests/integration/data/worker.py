"""One attempt of a run in a process of its own, as collect does it: two outputs, one zipped, one file by file.

Reads a JSON object from argv[1]: entry, uid, attempt, outcome, tree, seconds. Prints what was published, or the reason
of the failure.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict

from millrace.data import Attempt, Credentials, DataError, commit, open_store, take_over, upload_output

ZIP_KEY, FOLDER_KEY = "scores/a.zip", "files/b/"


def main() -> int:
    """Exit code 0 and the outputs, or 3 and the reason."""
    task = json.loads(sys.argv[1])
    deadline = time.monotonic() + task.get("seconds", 60)
    stores = {0: open_store(task["entry"], Credentials(*task["keys"]))}
    attempt = Attempt(run_uid=task["uid"], number=task["attempt"], stores=stores, record=0)
    outputs = [
        {"name": "a", "path": task["tree"], "store": 0, "key": ZIP_KEY, "archive": "Zip"},
        {"name": "b", "path": task["tree"], "store": 0, "key": FOLDER_KEY, "archive": "None"},
    ]
    try:
        published = take_over(attempt, deadline=deadline)
        if published is None:
            pending = [upload_output(attempt, output, deadline=deadline) for output in outputs]
            published = commit(attempt, task.get("outcome", "success"), pending, deadline=deadline)
    except DataError as error:
        print(json.dumps({"reason": error.reason}))
        return 3
    print(json.dumps({"outputs": [asdict(output) for output in published]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
