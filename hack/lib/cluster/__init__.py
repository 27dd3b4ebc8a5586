"""What hack/cluster is made of. Needs nothing but the standard library of Python 3.11 or newer."""
