"""What works inside a run's pod: stage, main's runtime and collect. docs/protocol.md states how they work together.

This package and millrace.data run in an image without pydantic, kopf and kubernetes, and start in milliseconds:
what is heavy is imported where it is used.
"""
