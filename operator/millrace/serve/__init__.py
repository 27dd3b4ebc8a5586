"""The serving runtime: process 1 of a service's pod, in which user code answers HTTP. Contract: docs/protocol.md.

It runs in images of users' Python versions (3.11 or later) and imports nothing of the rest but millrace.protocol and the
part of the batch runtime that reads the plan and finds the handler. What is imported from elsewhere (uvicorn, httptools,
uvloop, python-multipart) lies in the same folder as this package, away from what user code imports (isolate.py).
"""
