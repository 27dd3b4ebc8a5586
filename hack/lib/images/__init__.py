"""hack/images: container images from the checkout, without a container engine.

An image is three layers: a Debian base with Python (mmdebstrap), the Python dependencies of uv.lock (uv), our source.
Each is cached under the hash of what it is made from, so a change of our source rewrites the last, small one.
umoci puts them together.
"""
