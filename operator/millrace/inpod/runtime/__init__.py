"""Process 1 of main: runs user code in a child and seals how it ended.

Standard library only, Python 3.9 or later, and nothing of the rest but millrace.protocol: this folder is also brought into
images that are not ours (see inpod/bundle.py). Each module that is imported before the child starts delays user code, so
none of them may import dataclasses, inspect, pathlib, subprocess, tempfile or typing.
"""
