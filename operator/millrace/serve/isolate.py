"""Keeps what the runtime is made of away from user code.

User code may need other versions of the packages that the runtime imports, in the same process. So these lie in a folder of
their own; when all are imported they are forgotten: an import of user code finds its own, or where it has none, ours.
"""

from __future__ import annotations

import sys


def forget(folder: str) -> None:
    """Forget all modules from below that folder, and look for further ones there last.

    Whoever has imported them keeps them; nothing of the runtime is imported after this.
    """
    for name, module in list(sys.modules.items()):
        if name != "__main__" and (getattr(module, "__file__", None) or "").startswith(folder + "/"):
            del sys.modules[name]
    sys.path[:] = [path for path in sys.path if path != folder] + [folder]
